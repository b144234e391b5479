"""A kind served a second time: under another group or version, with fields of other names, over the same objects.

events.k8s.io/v1 shows the events of core/v1; autoscaling/v1 shows the CPU target among the metrics of autoscaling/v2.
Source: kubernetes pkg/apis/events/v1/conversion.go, pkg/apis/autoscaling/v1/conversion.go.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pullet.apiserver.custom_objects import show_custom
from pullet.base.jsonvalue import JsonObject
from pullet.base.values import Value
from pullet.kube.inert_kinds import HORIZONTALPODAUTOSCALERS, HORIZONTALPODAUTOSCALERS_V1
from pullet.kube.scheme import EVENTS, EVENTS_V1, Resource

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
_CPU_PERCENT = "targetCPUUtilizationPercentage"


class _View(Value):
    """How a stored object is shown, and how what is sent becomes one."""

    show: Callable[[JsonObject], JsonObject]
    store: Callable[[JsonObject], JsonObject]


def _event(obj: JsonObject) -> JsonObject:
    return {_FROM_CORE.get(key, key): value for key, value in obj.items()} | {"apiVersion": EVENTS_V1.api_version}


def _core_event(obj: JsonObject) -> JsonObject:
    return {_EVENT_FIELDS.get(key, key): value for key, value in obj.items()} | {"apiVersion": EVENTS.api_version}


def _cpu_percent(metric: Any) -> int | None:
    resource = metric.get("resource") or {} if isinstance(metric, dict) else {}
    found = (resource.get("target") or {}).get("averageUtilization") if resource.get("name") == "cpu" else None
    return found if isinstance(found, int) else None


def _autoscaler_v1(obj: JsonObject) -> JsonObject:
    spec = dict(obj.get("spec") or {})
    metrics = spec.pop("metrics", None) or ()
    spec.pop("behavior", None)
    percents = [percent for metric in metrics if (percent := _cpu_percent(metric)) is not None]
    if percents:
        spec[_CPU_PERCENT] = percents[0]
    status = dict(obj.get("status") or {})
    for name in ("currentMetrics", "conditions"):
        status.pop(name, None)
    status.setdefault("currentReplicas", 0)
    status.setdefault("desiredReplicas", 0)
    return {**obj, "apiVersion": HORIZONTALPODAUTOSCALERS_V1.api_version, "spec": spec, "status": status}


def _autoscaler_v2(obj: JsonObject) -> JsonObject:
    spec = dict(obj.get("spec") or {})
    percent = spec.pop(_CPU_PERCENT, None)
    if percent is not None:
        target = {"type": "Utilization", "averageUtilization": percent}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    return {**obj, "apiVersion": HORIZONTALPODAUTOSCALERS.api_version, "spec": spec}


_VIEWS: dict[Resource, _View] = {
    EVENTS_V1: _View(_event, _core_event),
    HORIZONTALPODAUTOSCALERS_V1: _View(_autoscaler_v1, _autoscaler_v2),
}


def view_of(resource: Resource, obj: JsonObject) -> JsonObject:
    """The stored object as `resource` shows it."""
    if resource.custom:
        return show_custom(resource, obj)
    return _VIEWS[resource].show(obj) if resource.storage else obj


def stored_form(resource: Resource, obj: JsonObject) -> JsonObject:
    """The object as it is stored, from how `resource` shows it."""
    if resource.custom:
        return {**obj, "apiVersion": resource.custom.storage_api_version}
    return _VIEWS[resource].store(obj) if resource.storage else obj
