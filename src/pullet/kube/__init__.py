"""Kubernetes API words. Pure.

Modules, in reading order:
raw objects: scheme (kinds, resources, verbs), meta (names, times, owners), quantity, duration, selector, status,
field_error, patch, strategic_merge, reasons (every reason string, once);
typed read views: view (how a raw object becomes one), container, volume, pod, node, secret, event.
"""
