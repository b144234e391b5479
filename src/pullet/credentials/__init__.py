"""Where registry credentials come from and which one is tried first."""
