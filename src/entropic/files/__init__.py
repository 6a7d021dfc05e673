"""The results folder: where things are, how an attempt writes, how a result comes to its place."""
