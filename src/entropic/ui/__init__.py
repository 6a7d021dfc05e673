"""The page `entropic ui`: what is stored, seen in a browser of this machine. It reads, and has no way to write."""
