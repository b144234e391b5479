"""What a DaemonSet needs next: which nodes get a pod, which pods go, how an update walks over the nodes. Pure.

Without surge a node's old pod is deleted first, at most maxUnavailable nodes at a time; with surge the new pod comes
beside the old one, on at most maxSurge nodes at a time, and the old one goes when the new one is available.
Source: kubernetes pkg/controller/daemon/{daemon_controller,update}.go, util/daemonset_util.go.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence, Set
from datetime import datetime
from typing import Any

import msgspec

from pullet.base.jsonvalue import JsonObject
from pullet.base.values import State, Value
from pullet.controllers.conditions import scaled_value
from pullet.controllers.history import REVISION_HASH_LABEL, hash_of_pod
from pullet.controllers.pods import is_available, is_ready, phase_of, pod_from_template
from pullet.kube.meta import is_deleting, metadata, name_of
from pullet.policy.scheduling_facts import NodeFacts, pod_demand
from pullet.policy.scheduling_filters import find_untolerated_taint, matches_node

_TOLERATED = (
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
)


class DaemonPlan(State):
    """Nodes that lack a pod, pods to delete, and those among them that ended by themselves."""

    create_on: list[str] = msgspec.field(default_factory=list)
    delete: list[JsonObject] = msgspec.field(default_factory=list)
    ended: list[JsonObject] = msgspec.field(default_factory=list)


class DaemonFacts(Value, kw_only=True):
    """What is decided about. `nodes`: whether a pod should be started there, and whether one may stay, by name.

    `pods` are those of each node, but for the ones that have ended and are being deleted. `patient`: nodes whose
    failed pod is left for a while yet.
    """

    daemonset: JsonObject
    nodes: Mapping[str, tuple[bool, bool]]
    pods: Mapping[str, Sequence[JsonObject]]
    revision_hash: str
    now: datetime
    patient: Set[str] = frozenset()

    @property
    def desired(self) -> int:
        """How many nodes should have a pod."""
        return sum(1 for should_run, _ in self.nodes.values() if should_run)

    def is_available(self, pod: JsonObject) -> bool:
        """Whether the pod has been ready for minReadySeconds."""
        return is_available(pod, int(self.daemonset["spec"].get("minReadySeconds") or 0), self.now)


def daemon_pod(daemonset: JsonObject, node_name: str, revision_hash: str) -> JsonObject:
    """The pod for one node: bound to it by affinity, tolerating what nodes go through."""
    pod = pod_from_template(daemonset, daemonset["spec"].get("template") or {}, generate_name=f"{name_of(daemonset)}-")
    meta, spec = pod["metadata"], pod["spec"]
    meta["labels"] = dict(meta.get("labels") or {}) | {REVISION_HASH_LABEL: revision_hash}
    spec["tolerations"] = [*(spec.get("tolerations") or ()), *_added_tolerations(spec)]
    fields = [{"key": "metadata.name", "operator": "In", "values": [node_name]}]
    affinity = copy.deepcopy(spec.get("affinity") or {})
    node_affinity = affinity.setdefault("nodeAffinity", {})
    required = node_affinity.setdefault("requiredDuringSchedulingIgnoredDuringExecution", {})
    terms = required.get("nodeSelectorTerms") or [{}]
    required["nodeSelectorTerms"] = [{**term, "matchFields": fields} for term in terms]
    spec["affinity"] = affinity
    return pod


def _added_tolerations(spec: Mapping[str, Any]) -> list[JsonObject]:
    added = [
        *_TOLERATED,
        *([("node.kubernetes.io/network-unavailable", "NoSchedule")] if spec.get("hostNetwork") else []),
    ]
    return [{"key": key, "operator": "Exists", "effect": effect} for key, effect in added]


def node_eligibility(daemonset: JsonObject, node: NodeFacts) -> tuple[bool, bool]:
    """Whether a pod should be started on the node, and whether one that is there may stay."""
    template = daemonset["spec"].get("template") or {}
    spec = dict(template.get("spec") or {})
    spec["tolerations"] = [*(spec.get("tolerations") or ()), *_added_tolerations(spec)]
    demand = pod_demand({"metadata": {}, "spec": spec})
    if not matches_node(demand, node):
        return False, False
    should_run = find_untolerated_taint(demand, node, ("NoSchedule", "NoExecute")) is None
    return should_run, find_untolerated_taint(demand, node, ("NoExecute",)) is None


def target_node(pod: Mapping[str, Any]) -> str:
    """The node a daemon pod is for, bound or not."""
    spec = pod.get("spec") or {}
    if spec.get("nodeName"):
        return str(spec["nodeName"])
    required = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    ) or {}
    for term in required.get("nodeSelectorTerms") or ():
        for item in term.get("matchFields") or ():
            if item.get("key") == "metadata.name" and item.get("values"):
                return str(item["values"][0])
    return ""


def plan_daemons(facts: DaemonFacts) -> DaemonPlan:
    """Bring every eligible node to one pod (to two while it surges), every other to none."""
    plan = DaemonPlan()
    for name, (should_run, may_stay) in facts.nodes.items():
        pods = facts.pods.get(name, ())
        alive = [pod for pod in pods if not is_deleting(pod)]
        if not may_stay:
            plan.delete += alive
            continue
        ended = [pod for pod in alive if phase_of(pod) in ("Failed", "Succeeded")]
        plan.ended += [pod for pod in ended if phase_of(pod) == "Succeeded" or name not in facts.patient]
        running = sorted((pod for pod in alive if pod not in ended), key=age)
        plan.delete += _excess(facts, running)
        if should_run and not pods:
            plan.create_on.append(name)
    plan.delete += plan.ended
    gone = [pod for name, pods in facts.pods.items() if name not in facts.nodes for pod in pods]
    plan.delete += [pod for pod in gone if not is_deleting(pod)]
    return plan


def _excess(facts: DaemonFacts, running: Sequence[JsonObject]) -> list[JsonObject]:
    """All but the oldest; with surge all but the oldest of either revision, and the old one once it is not needed."""
    if not _max_surge(facts):
        return list(running[1:])
    new = [pod for pod in running if hash_of_pod(pod) == facts.revision_hash]
    old = [pod for pod in running if hash_of_pod(pod) != facts.revision_hash]
    surplus = [*new[1:], *old[1:]]
    if new and old and (not is_ready(old[0]) or facts.is_available(new[0])):
        surplus.append(old[0])
    return surplus


def plan_update(facts: DaemonFacts) -> DaemonPlan:
    """The next steps towards the present revision, within what the strategy allows."""
    if (facts.daemonset["spec"].get("updateStrategy") or {}).get("type") == "OnDelete":
        return DaemonPlan()
    return _plan_surge(facts) if _max_surge(facts) else _plan_replacement(facts)


def _plan_replacement(facts: DaemonFacts) -> DaemonPlan:
    broken: list[JsonObject] = []
    candidates: list[JsonObject] = []
    unavailable = 0
    for name, (should_run, _) in facts.nodes.items():
        new, old = _by_revision(facts, name)
        if not should_run:
            continue
        if len(new) + len(old) != 1:
            unavailable += 1  # the other plan sees to it
        elif new:
            unavailable += not facts.is_available(new[0])
        elif not facts.is_available(old[0]):
            broken += old
            unavailable += 1
        else:
            candidates += old
    return DaemonPlan(delete=[*broken, *candidates[: max(0, _max_unavailable(facts) - unavailable)]])


def _plan_surge(facts: DaemonFacts) -> DaemonPlan:
    plan = DaemonPlan()
    candidates: list[str] = []
    leaving: list[JsonObject] = []
    surging = available = 0
    for name, (should_run, _) in facts.nodes.items():
        new, old = _by_revision(facts, name)
        if len(new) > 1 or len(old) > 1:
            surging += 1
            continue
        available += any(facts.is_available(pod) for pod in (old or new))
        if not old:
            continue
        if new and facts.is_available(new[0]):
            plan.delete += old
        elif new:
            surging += 1
        elif facts.is_available(old[0]):
            if should_run:
                candidates.append(name)
            else:
                leaving += old
        elif should_run:
            plan.create_on.append(name)
        else:
            plan.delete += old
    # where nothing should start any more the pod goes when there are enough without it
    plan.delete += leaving[: max(0, available - facts.desired)]
    plan.create_on += candidates[: max(0, _max_surge(facts) - surging)]
    return plan


def _by_revision(facts: DaemonFacts, node: str) -> tuple[list[JsonObject], list[JsonObject]]:
    alive = [pod for pod in facts.pods.get(node, ()) if not is_deleting(pod)]
    new = [pod for pod in alive if hash_of_pod(pod) == facts.revision_hash]
    return new, [pod for pod in alive if pod not in new]


def _rolling(facts: DaemonFacts) -> Mapping[str, Any]:
    strategy: Mapping[str, Any] = facts.daemonset["spec"].get("updateStrategy") or {}
    rolling: Mapping[str, Any] = strategy.get("rollingUpdate") or {}
    return rolling if strategy.get("type") != "OnDelete" else {}


def _max_surge(facts: DaemonFacts) -> int:
    return scaled_value(_rolling(facts).get("maxSurge"), facts.desired, default=0, round_up=True)


def _max_unavailable(facts: DaemonFacts) -> int:
    return scaled_value(_rolling(facts).get("maxUnavailable"), facts.desired, default=1, round_up=True) or 1


def age(pod: JsonObject) -> tuple[bool, str, str]:
    """Order of a node's pods: bound ones first, then the oldest."""
    return not (pod.get("spec") or {}).get("nodeName"), str(metadata(pod).get("creationTimestamp") or ""), name_of(pod)
