"""Kubernetes API words. Pure.

Modules, in reading order:
raw objects: resource (what a row says), scheme (the rows: kinds, resources, verbs), inert_kinds (rows that nothing acts
on), meta (names, times, owners), quantity, duration, selector, status, field_error, patch, strategic_merge, field_sets
and ownership (managedFields, server-side apply), reasons (every reason string, once);
typed read views: view (how a raw object becomes one), container, volume, pod, node, secret, event.
"""
