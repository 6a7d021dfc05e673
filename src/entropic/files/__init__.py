"""The results folder: where things lie, how an attempt writes, how a result comes to its place."""
