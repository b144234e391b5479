"""The quality-of-service class of a pod, from cpu and memory of its containers.

Source: kubernetes pkg/apis/core/v1/helper/qos/qos.go ComputePodQOS; pod-level resources, where given, decide alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from pullet.kube.container import QuantityText, ResourcesView
from pullet.kube.pod import PodView
from pullet.kube.quantity import parse_quantity

_COUNTED = ("cpu", "memory")


class QOSClass(StrEnum):
    """Who is evicted first (BestEffort) and last (Guaranteed)."""

    GUARANTEED = "Guaranteed"
    BURSTABLE = "Burstable"
    BEST_EFFORT = "BestEffort"


def compute_qos(pod: PodView) -> QOSClass:
    """Guaranteed: every container limits cpu and memory and requests just that. BestEffort: none asks for anything."""
    asks: list[ResourcesView]
    if pod.spec.resources.limits or pod.spec.resources.requests:
        asks = [pod.spec.resources]
    else:
        asks = [container.resources for container in (*pod.spec.containers, *pod.spec.init_containers)]
    if not any(_counted(each.limits) or _counted(each.requests) for each in asks):
        return QOSClass.BEST_EFFORT
    return QOSClass.GUARANTEED if all(_is_guaranteed(each) for each in asks) else QOSClass.BURSTABLE


def _is_guaranteed(resources: ResourcesView) -> bool:
    limits = _counted(resources.limits)
    requests = {**limits, **_counted(resources.requests)}  # absent requests default to the limits
    return set(limits) == set(_COUNTED) and all(
        parse_quantity(requests[name]).value == parse_quantity(limits[name]).value for name in _COUNTED
    )


def _counted(amounts: Mapping[str, QuantityText]) -> dict[str, QuantityText]:
    return {name: amounts[name] for name in _COUNTED if name in amounts and parse_quantity(amounts[name]).value > 0}
