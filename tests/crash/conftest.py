from harness import server, template  # noqa: F401  (fixtures)
