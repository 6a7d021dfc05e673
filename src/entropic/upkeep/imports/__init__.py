"""Results that were made elsewhere, in another store or without entropic, become results of this one."""
