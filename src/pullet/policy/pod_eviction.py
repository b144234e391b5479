"""Which pod a node under pressure ends first, what it says about it, and which new ones it refuses.

Source: kubernetes pkg/kubelet/eviction/helpers.go (rankMemoryPressure, rankDiskPressureFunc, evictionMessage),
eviction_manager.go Admit; pkg/kubelet/types/pod_update.go IsCriticalPod.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

import msgspec

from pullet.base.values import Value
from pullet.kube.container import ResourcesView
from pullet.kube.pod import PodView
from pullet.kube.quantity import Quantity, parse_quantity
from pullet.policy.eviction import (
    INODES,
    MEMORY,
    MEMORY_PRESSURE,
    NOTHING,
    STORAGE,
    EvictionSignal,
    EvictionThreshold,
    Observation,
)
from pullet.policy.qos import QOSClass, compute_qos
from pullet.policy.scheduling_filters import tolerates
from pullet.policy.wording import go_list

SYSTEM_CRITICAL_PRIORITY = 2_000_000_000
_SOURCE = "kubernetes.io/config.source"
_MEMORY_TAINT = {"key": "node.kubernetes.io/memory-pressure", "effect": "NoSchedule"}


class DiskUse(Value):
    """Allocated bytes, and inodes."""

    size_bytes: int = 0
    inodes: int = 0

    def __add__(self, other: DiskUse) -> DiskUse:
        return DiskUse(self.size_bytes + other.size_bytes, self.inodes + other.inodes)


class ContainerUse(Value, kw_only=True):
    """What a container uses: its writable layer, its logs, its working set."""

    rootfs: DiskUse = DiskUse()
    logs: DiskUse = DiskUse()
    memory_bytes: int = 0


class PodUse(Value, kw_only=True):
    """What a pod uses; `containers` by name, `volumes` those that lie on the node's disk."""

    containers: Mapping[str, ContainerUse] = msgspec.field(default_factory=dict)
    volumes: DiskUse = DiskUse()


def is_critical(pod: PodView) -> bool:
    """Whether the pod is never evicted and never refused: static pods and those of system priority."""
    is_static = pod.metadata.annotations.get(_SOURCE, "api") != "api"
    return is_static or pod.spec.priority >= SYSTEM_CRITICAL_PRIORITY


def refusal(pod: PodView, conditions: Sequence[str]) -> str:
    """Why a node under these conditions does not take the pod; empty: it does.

    Under memory pressure alone only BestEffort pods that do not tolerate its taint are refused.
    """
    if not conditions or is_critical(pod):
        return ""
    if list(conditions) == [MEMORY_PRESSURE]:
        is_frugal = compute_qos(pod) is not QOSClass.BEST_EFFORT
        if is_frugal or any(tolerates(msgspec.to_builtins(each), _MEMORY_TAINT) for each in pod.spec.tolerations):
            return ""
    return f"The node had condition: {go_list(conditions)}. "


def eviction_order(
    pods: Sequence[tuple[PodView, PodUse]], signal: EvictionSignal, *, has_own_imagefs: bool
) -> list[tuple[PodView, PodUse]]:
    """Who goes first: pods above their requests, then the lower priority, then who is furthest above its request.

    `has_own_imagefs`: images and writable layers lie on another file system than volumes and logs, so that only what
    lies on the one that is short counts.
    """

    def rank(entry: tuple[PodView, PodUse]) -> tuple[bool, int, Decimal]:
        pod, use = entry
        above = _used(use, signal, has_own_imagefs=has_own_imagefs) - _requested(pod, signal.resource)
        return above <= 0, pod.spec.priority, -above

    return sorted(pods, key=rank)


def eviction_message(
    pod: PodView,
    use: PodUse,
    signal: EvictionSignal,
    thresholds: Sequence[EvictionThreshold],
    observations: Mapping[EvictionSignal, Observation],
) -> str:
    """What status and event say; `thresholds` are those that are met."""
    resource = signal.resource
    text = f"The node was low on resource: {resource}. "
    for threshold in thresholds:
        if threshold.signal.resource == resource:
            observed = observations[threshold.signal]
            available = Quantity(Decimal(observed.available), "DecimalSI" if resource == INODES else "BinarySI")
            text += f"Threshold quantity: {threshold.quantity(observed)}, available: {available}. "
            break
    for container in (*pod.spec.containers, *pod.spec.init_containers):
        container_use = use.containers.get(container.name)
        used = _container_used(container_use, resource) if container_use is not None else None
        request = _request(container.resources, resource)
        if used is not None and used > request.value:
            amount = Quantity(Decimal(used), "BinarySI")
            text += (
                f"Container {container.name} was using {amount}, request is {request}, "
                f"has larger consumption of {resource}. "
            )
    return text


def _container_used(use: ContainerUse, resource: str) -> int | None:
    match resource:
        case "memory":
            return use.memory_bytes
        case "ephemeral-storage":
            return (use.rootfs + use.logs).size_bytes
        case _:
            return None  # inodes are told of pods alone


def _used(use: PodUse, signal: EvictionSignal, *, has_own_imagefs: bool) -> int:
    containers = use.containers.values()
    if signal.resource == MEMORY:
        return sum(each.memory_bytes for each in containers)
    total = DiskUse()
    if signal.is_of_imagefs or not has_own_imagefs:
        total = sum((each.rootfs for each in containers), total)
    if not signal.is_of_imagefs or not has_own_imagefs:
        total = sum((each.logs for each in containers), total) + use.volumes
    return total.inodes if signal.resource == INODES else total.size_bytes


def _requested(pod: PodView, resource: str) -> Decimal:
    together = sum((_request(each.resources, resource).value for each in pod.spec.containers), Decimal(0))
    alone = (_request(each.resources, resource).value for each in pod.spec.init_containers)
    return max((together, *alone))


def _request(resources: ResourcesView, resource: str) -> Quantity:
    asked = resources.requests.get(resource) if resource in {MEMORY, STORAGE} else None
    return parse_quantity(asked) if asked is not None else NOTHING
