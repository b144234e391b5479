"""Kubernetes API words: typed views, selectors, patches, reasons. Pure."""
