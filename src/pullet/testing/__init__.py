"""Shipped test kit: fake clock, fake CRI, in-process registry, image builder."""
