"""Requests and limits as cgroup values.

Source: kubernetes pkg/kubelet/cm/helpers_linux.go, pkg/kubelet/qos/policy.go.
"""

from __future__ import annotations

from pullet.cri.types import LinuxContainerResources
from pullet.kube.container import ContainerView, QuantityText
from pullet.kube.pod import PodView
from pullet.kube.quantity import parse_quantity
from pullet.policy.qos import QOSClass, compute_qos

MIN_SHARES = 2
MAX_SHARES = 262144
SHARES_PER_CPU = 1024
QUOTA_PERIOD_US = 100_000
MIN_QUOTA_US = 1000
GUARANTEED_OOM_SCORE = -997
BEST_EFFORT_OOM_SCORE = 1000


def container_resources(
    pod: PodView, container: ContainerView, *, memory_capacity_bytes: int
) -> LinuxContainerResources:
    """The CRI resources; a container without a CPU request gets its limit as request, as the API defaults it."""
    limits, requests = container.resources.limits, container.resources.requests
    cpu_limit = _milli(limits.get("cpu"))
    cpu_request = _milli(requests.get("cpu")) if "cpu" in requests else cpu_limit
    return LinuxContainerResources(
        cpu_period=QUOTA_PERIOD_US if cpu_limit else 0,
        cpu_quota=max(cpu_limit * QUOTA_PERIOD_US // 1000, MIN_QUOTA_US) if cpu_limit else 0,
        cpu_shares=min(max(cpu_request * SHARES_PER_CPU // 1000, MIN_SHARES), MAX_SHARES),
        memory_limit_bytes=_units(limits.get("memory")),
        oom_score_adj=oom_score_adjust(pod, container, memory_capacity_bytes=memory_capacity_bytes),
    )


def oom_score_adjust(pod: PodView, container: ContainerView, *, memory_capacity_bytes: int) -> int:
    """Who is killed first when memory runs out: BestEffort, then Burstable by how little they asked for."""
    match compute_qos(pod):
        case QOSClass.GUARANTEED:
            return GUARANTEED_OOM_SCORE
        case QOSClass.BEST_EFFORT:
            return BEST_EFFORT_OOM_SCORE
        case _:
            requested = _units(container.resources.requests.get("memory") or container.resources.limits.get("memory"))
            share = 1000 - 1000 * requested // max(memory_capacity_bytes, 1)
            return min(max(share, 1000 + GUARANTEED_OOM_SCORE), BEST_EFFORT_OOM_SCORE - 1)


def _milli(quantity: QuantityText | None) -> int:
    return parse_quantity(quantity).milli_units if quantity is not None else 0


def _units(quantity: QuantityText | None) -> int:
    return parse_quantity(quantity).units if quantity is not None else 0
