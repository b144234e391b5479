"""Which node a pod goes to: filter, score, choose. Pure; the scheduler controller carries it out.

Source: kube-scheduler pkg/scheduler/schedule_one.go, framework/plugins/{noderesources,imagelocality,nodeaffinity,
tainttoleration}; kubelet-images spec 19.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from pullet.base.values import Value
from pullet.policy.scheduling_facts import Amounts, NodeFacts, PodDemand
from pullet.policy.scheduling_filters import Refusal, check_node, find_untolerated_taint, matches_term

MAX_SCORE = 100
_MIB = 1024 * 1024
_IMAGE_MIN_BYTES = 23 * _MIB
_IMAGE_MAX_BYTES_PER_CONTAINER = 1000 * _MIB
_TAINT_WEIGHT, _AFFINITY_WEIGHT = 3, 2  # the others weigh 1


class Assigned(Value):
    """The pod goes to this node; `scores` says how each feasible node did."""

    node_name: str
    scores: Mapping[str, int]


class Unassigned(Value):
    """No node will do; `message` is kube-scheduler's sentence."""

    message: str


SchedulingDecision: TypeAlias = Assigned | Unassigned


def choose_node(pod: PodDemand, nodes: Sequence[NodeFacts]) -> SchedulingDecision:
    """The feasible node with the highest score; equal scores go to fewer pods, then to the first name."""
    if not nodes:
        return Unassigned("no nodes available to schedule pods")
    refusals = {node.name: check_node(pod, node) for node in nodes}
    feasible = [node for node in nodes if refusals[node.name] is None]
    if not feasible:
        return Unassigned(_explain([refusal for refusal in refusals.values() if refusal is not None]))
    scores = _score(pod, feasible, nodes)
    best = min(feasible, key=lambda node: (-scores[node.name], node.pod_count, node.name))
    return Assigned(best.name, scores)


def _explain(refusals: Sequence[Refusal]) -> str:
    total = len(refusals)
    reasons = Counter(reason for refusal in refusals for reason in refusal.reasons)
    preemption = Counter(
        "Preemption is not helpful for scheduling"
        if refusal.is_final
        else "No preemption victims found for incoming pod"
        for refusal in refusals
    )
    return (
        f"0/{total} nodes are available: {_histogram(reasons)}. no new claims to deallocate, "
        f"preemption: 0/{total} nodes are available: {_histogram(preemption)}."
    )


def _histogram(counts: Mapping[str, int]) -> str:
    return ", ".join(sorted(f"{count} {reason}" for reason, count in counts.items()))


def _score(pod: PodDemand, feasible: Sequence[NodeFacts], nodes: Sequence[NodeFacts]) -> dict[str, int]:
    taints = _normalize({node.name: _prefer_no_schedule_count(pod, node) for node in feasible}, reverse=True)
    affinity = _normalize({node.name: _preferred_weight(pod, node) for node in feasible})
    return {
        node.name: _TAINT_WEIGHT * taints[node.name]
        + _AFFINITY_WEIGHT * affinity[node.name]
        + score_least_allocated(pod, node)
        + score_balanced(pod, node)
        + score_image_locality(pod, node, nodes)
        for node in feasible
    }


def score_least_allocated(pod: PodDemand, node: NodeFacts) -> int:
    """0–100: the mean share of cpu and memory that stays free."""
    free = [max(0.0, 1.0 - share) for share in _shares(pod.assumed, node)]
    return int(MAX_SCORE * sum(free) / len(free)) if free else 0


def score_balanced(pod: PodDemand, node: NodeFacts) -> int:
    """0–100: how alike the used shares of cpu and memory are."""
    shares = [min(1.0, share) for share in _shares(pod.assumed, node)]
    return int(MAX_SCORE * (1.0 - (max(shares) - min(shares)) / 2)) if shares else 0


def score_image_locality(pod: PodDemand, node: NodeFacts, nodes: Sequence[NodeFacts]) -> int:
    """0–100: how many bytes of the pod's images the node has, each image scaled by how many nodes have it."""
    if not pod.container_count or not nodes:
        return 0
    total = 0
    for image in pod.images:
        name = _with_default_tag(image)
        if name in node.images:
            having = sum(1 for other in nodes if name in other.images)
            total += node.images[name] * having // len(nodes)
    high = _IMAGE_MAX_BYTES_PER_CONTAINER * pod.container_count
    total = min(max(total, _IMAGE_MIN_BYTES), high)
    return MAX_SCORE * (total - _IMAGE_MIN_BYTES) // (high - _IMAGE_MIN_BYTES)


def _with_default_tag(image: str) -> str:
    return image if image.rfind(":") > image.rfind("/") else f"{image}:latest"


def _shares(assumed: Amounts, node: NodeFacts) -> list[float]:
    return [
        (node.assumed.get(name, 0) + assumed.get(name, 0)) / node.allocatable[name]
        for name in ("cpu", "memory")
        if node.allocatable.get(name)
    ]


def _prefer_no_schedule_count(pod: PodDemand, node: NodeFacts) -> int:
    return sum(
        1
        for taint in node.taints
        if find_untolerated_taint(pod, NodeFacts(name=node.name, taints=(taint,)), ("PreferNoSchedule",)) is not None
    )


def _preferred_weight(pod: PodDemand, node: NodeFacts) -> int:
    preferred: Iterable[Mapping[str, object]] = (
        pod.node_affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
    )
    total = 0
    for term in preferred:
        preference, weight = term.get("preference"), term.get("weight")
        if isinstance(preference, Mapping) and isinstance(weight, int) and matches_term(preference, node):
            total += weight
    return total


def _normalize(raw: Mapping[str, int], *, reverse: bool = False) -> dict[str, int]:
    highest = max(raw.values(), default=0)
    if not highest:
        return dict.fromkeys(raw, MAX_SCORE if reverse else 0)
    scaled = {name: MAX_SCORE * value // highest for name, value in raw.items()}
    return {name: MAX_SCORE - value for name, value in scaled.items()} if reverse else scaled
