"""Formats of results, by their suffix."""
