"""Executors: where attempts are executed. One small contract, one file for each way."""
