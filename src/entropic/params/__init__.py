"""Which sets are one experiment, and which values fit their columns."""
