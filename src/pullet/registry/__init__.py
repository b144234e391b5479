"""OCI distribution client. Blocking; called from worker threads."""
