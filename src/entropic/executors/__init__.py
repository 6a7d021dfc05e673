"""Executors: where attempts are executed. One small contract, one file for each way."""

import entropic.executors.generators as _generators  # noqa: F401  (it sees the forks of pools that are used before a sweep)
