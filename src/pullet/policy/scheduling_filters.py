"""Which nodes a pod may run on, and why not, in the words of kube-scheduler.

The filters run in the order of the default profile; the first that refuses a node ends its examination.
Source: kube-scheduler pkg/scheduler/framework/plugins: nodeunschedulable, nodename, tainttoleration, nodeaffinity,
nodeports, noderesources.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, get_args

from pullet.base.values import Value
from pullet.kube.selector import LabelRequirement, Operator
from pullet.policy.scheduling_facts import HostPort, NodeFacts, PodDemand

UNSCHEDULABLE_TAINT = "node.kubernetes.io/unschedulable"
_ANY_ADDRESS = "0.0.0.0"


class Refusal(Value):
    """Why a node will not do; `is_final` when removing other pods from it would not help."""

    reasons: tuple[str, ...]
    is_final: bool = True


def check_node(pod: PodDemand, node: NodeFacts) -> Refusal | None:
    """The refusal of the first filter that says no; None if the pod may run there."""
    if node.is_unschedulable and not _tolerates(pod, {"key": UNSCHEDULABLE_TAINT, "effect": "NoSchedule"}):
        return Refusal(("node(s) were unschedulable",))
    if pod.node_name and pod.node_name != node.name:
        return Refusal(("node(s) didn't match the requested node name",))
    if find_untolerated_taint(pod, node, ("NoSchedule", "NoExecute")) is not None:
        return Refusal(("node(s) had untolerated taint(s)",))
    if not matches_node(pod, node):
        return Refusal(("node(s) didn't match Pod's node affinity/selector",))
    if _ports_collide(pod.host_ports, node.host_ports):
        return Refusal(("node(s) didn't have free ports for the requested pod ports",), is_final=False)
    return _check_resources(pod, node)


def find_untolerated_taint(pod: PodDemand, node: NodeFacts, effects: tuple[str, ...]) -> Mapping[str, Any] | None:
    """The first taint with one of the effects that no toleration covers."""
    for taint in node.taints:
        if taint.get("effect") in effects and not _tolerates(pod, taint):
            return taint
    return None


def tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    """Whether one toleration covers one taint; empty key or effect means any."""
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if toleration.get("key") and toleration["key"] != taint.get("key"):
        return False
    if toleration.get("operator") == "Exists":
        return True
    return bool(toleration.get("key")) and (toleration.get("value") or "") == (taint.get("value") or "")


def matches_term(term: Mapping[str, Any], node: NodeFacts) -> bool:
    """Whether a node selector term holds: all its expressions and fields; an empty term holds nowhere."""
    expressions, fields = term.get("matchExpressions") or (), term.get("matchFields") or ()
    if not expressions and not fields:
        return False
    return all(_requirement(expression).matches(node.labels) for expression in expressions) and all(
        _requirement(expression).matches({"metadata.name": node.name}) for expression in fields
    )


def _requirement(expression: Mapping[str, Any]) -> LabelRequirement:
    operator = expression.get("operator")
    for known in get_args(Operator):
        if operator == known:
            return LabelRequirement(expression.get("key") or "", known, frozenset(expression.get("values") or ()))
    return LabelRequirement("", "Exists")  # an operator nobody knows matches nothing


def _tolerates(pod: PodDemand, taint: Mapping[str, Any]) -> bool:
    return any(tolerates(toleration, taint) for toleration in pod.tolerations)


def matches_node(pod: PodDemand, node: NodeFacts) -> bool:
    """Whether the pod's node selector and required node affinity hold."""
    if any(node.labels.get(key) != value for key, value in pod.node_selector.items()):
        return False
    required = pod.node_affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is None:
        return True
    return any(matches_term(term, node) for term in required.get("nodeSelectorTerms") or ())


def _ports_collide(wanted: Iterable[HostPort], taken: Iterable[HostPort]) -> bool:
    return any(
        (protocol == other_protocol and port == other_port and _ANY_ADDRESS in (address, other_address))
        or (protocol, address, port) == (other_protocol, other_address, other_port)
        for protocol, address, port in wanted
        for other_protocol, other_address, other_port in taken
    )


def _check_resources(pod: PodDemand, node: NodeFacts) -> Refusal | None:
    reasons: list[str] = []
    is_final = False
    if node.pod_count + 1 > node.allocatable.get("pods", 0):
        reasons.append("Too many pods")
    for name, amount in pod.requests.items():
        allocatable = node.allocatable.get(name, 0)
        if amount and amount > allocatable - node.requested.get(name, 0):
            reasons.append(f"Insufficient {name}")
            is_final = is_final or amount > allocatable
    return Refusal(tuple(reasons), is_final) if reasons else None
