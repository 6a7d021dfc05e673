"""`python -m entropic`: the command line."""

from entropic.cli.app import main

main()
