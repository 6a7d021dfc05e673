"""What knows nothing of experiments: processes, how things look, passwords, records of failures, JSON."""
