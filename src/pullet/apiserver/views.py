"""A kind served under a second group: events.k8s.io/v1 shows the events of core/v1, and takes them.

Source: pkg/apis/events/v1/conversion.go.
"""

from __future__ import annotations

from pullet.base.jsonvalue import JsonObject
from pullet.kube.scheme import EVENTS_V1, Resource

# events.k8s.io/v1 field ↔ core/v1 field
_EVENT_FIELDS = {
    "note": "message",
    "regarding": "involvedObject",
    "reportingController": "reportingComponent",
    "deprecatedSource": "source",
    "deprecatedCount": "count",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
}
_FROM_CORE = {core: name for name, core in _EVENT_FIELDS.items()}


def view_of(resource: Resource, obj: JsonObject) -> JsonObject:
    """The stored object as `resource` shows it."""
    if resource is not EVENTS_V1:
        return obj
    return {_FROM_CORE.get(key, key): value for key, value in obj.items()} | {"apiVersion": EVENTS_V1.api_version}


def stored_form(resource: Resource, obj: JsonObject) -> JsonObject:
    """The object as it is stored, from how `resource` shows it."""
    if resource is not EVENTS_V1:
        return obj
    return {_EVENT_FIELDS.get(key, key): value for key, value in obj.items()} | {"apiVersion": "v1"}
