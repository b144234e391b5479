"""The Kubernetes API as seen by its clients: raw objects, watches kept alive, events recorded.

Modules, in reading order: transport, errors, client, object_cache, reflector, event_recorder, event_series.
"""
