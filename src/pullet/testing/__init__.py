"""Shipped test kit, imported by tests alone.

Modules, in reading order: clock, images, registry_faults, fake_registry, cri_fakes.
"""
