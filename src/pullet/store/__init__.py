"""Local content: layers as mountable files, manifests, configs, metadata, leases."""
