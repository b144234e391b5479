"""What the scheduler knows of a pod and of a node, read once from raw objects.

Source: kube-scheduler pkg/scheduler/framework/types.go, k8s.io/component-helpers resource/helpers.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import msgspec

from pullet.base.jsonvalue import JsonObject
from pullet.base.values import Value
from pullet.kube.meta import labels_of, name_of
from pullet.kube.quantity import parse_quantity

Amounts: TypeAlias = dict[str, int]  # cpu in thousandths, everything else in whole units (bytes, counts)
HostPort: TypeAlias = tuple[str, str, int]  # protocol, address, port

_TERMINAL = ("Succeeded", "Failed")
# What a container that asks for nothing is taken to use when nodes are compared (not when they are filtered).
_ASSUMED: Amounts = {"cpu": 100, "memory": 200 * 1024 * 1024}


class PodDemand(Value, kw_only=True):
    """What a pod asks of a node."""

    name: str
    namespace: str
    node_name: str = ""
    node_selector: Mapping[str, str] = msgspec.field(default_factory=dict)
    node_affinity: Mapping[str, Any] = msgspec.field(default_factory=dict)
    tolerations: tuple[Mapping[str, Any], ...] = ()
    requests: Amounts = msgspec.field(default_factory=dict)
    assumed: Amounts = msgspec.field(default_factory=dict)  # requests with the assumed minimum per container
    host_ports: frozenset[HostPort] = frozenset()
    images: tuple[str, ...] = ()  # of init containers, containers and image volumes, as written
    container_count: int = 0  # init and regular


class NodeFacts(Value, kw_only=True):
    """A node with what the pods on it take."""

    name: str
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)
    taints: tuple[Mapping[str, Any], ...] = ()
    is_unschedulable: bool = False
    allocatable: Amounts = msgspec.field(default_factory=dict)
    requested: Amounts = msgspec.field(default_factory=dict)
    assumed: Amounts = msgspec.field(default_factory=dict)
    pod_count: int = 0
    host_ports: frozenset[HostPort] = frozenset()
    images: Mapping[str, int] = msgspec.field(default_factory=dict)  # name → size in bytes


def is_terminal(pod: JsonObject) -> bool:
    """Whether the pod ended and holds nothing of its node any more."""
    return (pod.get("status") or {}).get("phase") in _TERMINAL


def pod_demand(pod: JsonObject) -> PodDemand:
    """The demand of a raw pod.

    Raises:
        ValueError: a request is not a quantity.
    """
    spec = pod.get("spec") or {}
    containers = spec.get("containers") or []
    inits = spec.get("initContainers") or []
    references = [(volume.get("image") or {}).get("reference") for volume in spec.get("volumes") or []]
    return PodDemand(
        name=name_of(pod),
        namespace=(pod.get("metadata") or {}).get("namespace") or "",
        node_name=spec.get("nodeName") or "",
        node_selector=spec.get("nodeSelector") or {},
        node_affinity=(spec.get("affinity") or {}).get("nodeAffinity") or {},
        tolerations=tuple(spec.get("tolerations") or ()),
        requests=_pod_requests(spec, assume={}),
        assumed=_pod_requests(spec, assume=_ASSUMED),
        host_ports=frozenset(_host_ports(containers + [init for init in inits if _is_sidecar(init)])),
        images=tuple(image for image in [*(c.get("image") for c in inits + containers), *references] if image),
        container_count=len(containers) + len(inits),
    )


def node_facts(node: JsonObject, pods: Iterable[JsonObject]) -> NodeFacts:
    """A raw node with the demands of `pods` on it; ended pods count for nothing."""
    spec, status = node.get("spec") or {}, node.get("status") or {}
    demands = [pod_demand(pod) for pod in pods if not is_terminal(pod)]
    return NodeFacts(
        name=name_of(node),
        labels=labels_of(node),
        taints=tuple(spec.get("taints") or ()),
        is_unschedulable=bool(spec.get("unschedulable")),
        allocatable=_amounts(status.get("allocatable") or status.get("capacity") or {}),
        requested=_sum(demand.requests for demand in demands),
        assumed=_sum(demand.assumed for demand in demands),
        pod_count=len(demands),
        host_ports=frozenset(port for demand in demands for port in demand.host_ports),
        images={
            name: int(image.get("sizeBytes") or 0)
            for image in status.get("images") or ()
            for name in image.get("names") or ()
        },
    )


def _amounts(quantities: Mapping[str, Any]) -> Amounts:
    return {
        name: parse_quantity(value).milli_units if name == "cpu" else parse_quantity(value).units
        for name, value in quantities.items()
    }


def _pod_requests(spec: Mapping[str, Any], *, assume: Amounts) -> Amounts:
    """max(what runs together, the hungriest moment of initialisation), overridden by pod-level requests."""
    running = _sum(_container_requests(container, assume) for container in spec.get("containers") or ())
    sidecars: Amounts = {}
    starting: Amounts = {}
    for init in spec.get("initContainers") or ():
        requests = _container_requests(init, assume)
        if _is_sidecar(init):
            sidecars = _sum((sidecars, requests))
            starting = _max(starting, sidecars)
        else:
            starting = _max(starting, _sum((sidecars, requests)))
    total = _max(_sum((running, sidecars)), starting)
    total |= _amounts((spec.get("resources") or {}).get("requests") or {})
    return _sum((total, _amounts(spec.get("overhead") or {})))


def _container_requests(container: Mapping[str, Any], assume: Amounts) -> Amounts:
    resources = container.get("resources") or {}
    return assume | _amounts((resources.get("limits") or {}) | (resources.get("requests") or {}))


def _is_sidecar(init: Mapping[str, Any]) -> bool:
    return init.get("restartPolicy") == "Always"


def _host_ports(containers: Iterable[Mapping[str, Any]]) -> Iterable[HostPort]:
    for container in containers:
        for port in container.get("ports") or ():
            if port.get("hostPort"):
                yield port.get("protocol") or "TCP", port.get("hostIP") or "0.0.0.0", int(port["hostPort"])


def _sum(parts: Iterable[Amounts]) -> Amounts:
    total: Amounts = {}
    for part in parts:
        for name, amount in part.items():
            total[name] = total.get(name, 0) + amount
    return total


def _max(one: Amounts, other: Amounts) -> Amounts:
    return {name: max(one.get(name, 0), other.get(name, 0)) for name in one.keys() | other.keys()}
