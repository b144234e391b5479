"""The downward API: facts about the pod itself, for variables and files.

Source: kubernetes pkg/fieldpath, pkg/api/v1/resource/helpers.go, kubelet_pods.go podFieldSelectorRuntimeValue.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import ROUND_CEILING

import msgspec

from pullet.base.values import Value
from pullet.kube.container import ContainerView, ResourceFieldSelectorView
from pullet.kube.pod import PodView
from pullet.kube.quantity import Quantity, parse_quantity
from pullet.node.container_errors import ContainerConfigError

_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['(.*)'\]")


class NodeFacts(Value, kw_only=True):
    """What the downward API says about the machine; allocatable stands in for limits that are not set."""

    name: str
    host_ips: tuple[str, ...] = ()
    allocatable: Mapping[str, str] = msgspec.field(default_factory=dict)


def field_value(pod: PodView, path: str, *, pod_ips: tuple[str, ...], node: NodeFacts) -> str:
    """The value of a `fieldRef`.

    Raises:
        ContainerConfigError: no such field.
    """
    subscript = _SUBSCRIPT.fullmatch(path)
    if subscript is not None:
        source = pod.metadata.labels if subscript[1] == "labels" else pod.metadata.annotations
        return source.get(subscript[2], "")
    ips = node.host_ips if pod.spec.host_network else pod_ips
    simple = {
        "metadata.name": pod.name,
        "metadata.namespace": pod.namespace,
        "metadata.uid": pod.uid,
        "spec.nodeName": pod.spec.node_name or node.name,
        "spec.serviceAccountName": pod.spec.service_account_name,
        "status.podIP": ips[0] if ips else "",
        "status.podIPs": ",".join(ips),
        "status.hostIP": node.host_ips[0] if node.host_ips else "",
        "status.hostIPs": ",".join(node.host_ips),
        "metadata.labels": _as_lines(pod.metadata.labels),
        "metadata.annotations": _as_lines(pod.metadata.annotations),
    }
    if path not in simple:
        raise ContainerConfigError(f"unsupported fieldPath: {path}")
    return simple[path]


def resource_value(
    pod: PodView, container: ContainerView | None, selector: ResourceFieldSelectorView, node: NodeFacts
) -> str:
    """The value of a `resourceFieldRef`, divided and rounded up; a missing limit is the node's allocatable.

    Raises:
        ContainerConfigError: no such container or resource.
    """
    if selector.container_name:
        container = pod.container(selector.container_name)
    if container is None:
        raise ContainerConfigError(f"container {selector.container_name} not found")
    kind, _, name = selector.resource.partition(".")
    if kind not in ("limits", "requests") or not name:
        raise ContainerConfigError(f"unsupported container resource : {selector.resource}")
    limits, requests = container.resources.limits, container.resources.requests
    if kind == "limits":
        written = limits.get(name) or node.allocatable.get(name)
    else:
        written = requests.get(name) or limits.get(name)
    amount = parse_quantity(written if written is not None else "0")
    divisor = parse_quantity(selector.divisor)
    by = divisor if divisor else Quantity(parse_quantity("1").value)
    return str(int((amount.value / by.value).to_integral_value(ROUND_CEILING)))


def _as_lines(values: Mapping[str, str]) -> str:
    return "\n".join(f'{key}="{_escape(value)}"' for key, value in sorted(values.items()))


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
