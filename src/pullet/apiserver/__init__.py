"""The Kubernetes API server: generic registry of resources over SQLite."""
