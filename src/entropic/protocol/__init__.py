"""One run, from a key to its row: look up, claim, execute, finish, publish. See `docs/protocol.md`."""
