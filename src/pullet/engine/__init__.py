"""CRI in process: image service and runtime service."""
