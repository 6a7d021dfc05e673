"""Where a result comes from: the environment of its run, and the code that made it."""
