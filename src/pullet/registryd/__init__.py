"""Embedded OCI registry over the node content store."""
