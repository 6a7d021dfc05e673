"""Keeping a store in order: recovery, check and repair, gc, copies."""
