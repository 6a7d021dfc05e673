"""The command line `entropic`: parse, call the library, print. Imported by the command only."""
