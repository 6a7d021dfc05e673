"""Many runs: what is missing, who runs it, and how far it is."""
