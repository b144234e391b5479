"""Kubernetes API words. Pure.

Modules, in reading order:
raw objects: resource (what a row says), custom_kind, scheme (the rows: kinds, resources, verbs), inert_kinds (rows
that nothing acts on), custom_rows (rows that definitions make), meta (names, times, owners), quantity, duration,
selector, status, field_error, patch, strategic_merge, json_path, structural (pruning and defaults by a schema),
field_sets and ownership (managedFields, server-side apply), reasons (every reason string, once);
typed read views: view (how a raw object becomes one), container, volume, pod, node, secret, event.
"""
