"""Filtering, scoring and choosing nodes, and what kube-scheduler would say."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pullet.policy.scheduling import (
    Assigned,
    Unassigned,
    choose_node,
    score_balanced,
    score_image_locality,
    score_least_allocated,
)
from pullet.policy.scheduling_facts import NodeFacts, PodDemand, node_facts, pod_demand
from pullet.policy.scheduling_filters import Refusal, check_node, tolerates

GIB = 1024**3
MIB = 1024**2
ROOM = {"cpu": 4000, "memory": 8 * GIB, "pods": 110}


def node(name: str = "n1", **facts: Any) -> NodeFacts:
    return NodeFacts(name=name, **({"allocatable": ROOM} | facts))


def pod(**demand: Any) -> PodDemand:
    return PodDemand(name="p", namespace="ns", **demand)


def affinity(*expressions: dict[str, Any], fields: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    term = {"matchExpressions": list(expressions), "matchFields": fields or []}
    return {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}


DEDICATED = {"key": "dedicated", "value": "gpu", "effect": "NoSchedule"}
NO_MATCH = "node(s) didn't match Pod's node affinity/selector"


@pytest.mark.parametrize(
    ("demand", "facts", "reasons"),
    [
        (pod(), node(), None),
        (pod(), node(is_unschedulable=True), ("node(s) were unschedulable",)),
        (
            pod(tolerations=({"key": "node.kubernetes.io/unschedulable", "operator": "Exists"},)),
            node(is_unschedulable=True),
            None,
        ),
        (pod(node_name="other"), node(), ("node(s) didn't match the requested node name",)),
        (pod(), node(taints=(DEDICATED,)), ("node(s) had untolerated taint(s)",)),
        (pod(), node(taints=({"key": "soft", "effect": "PreferNoSchedule"},)), None),
        (pod(tolerations=({"key": "dedicated", "value": "gpu"},)), node(taints=(DEDICATED,)), None),
        (pod(tolerations=({"operator": "Exists"},)), node(taints=(DEDICATED,)), None),
        (pod(node_selector={"disk": "ssd"}), node(labels={"disk": "hdd"}), (NO_MATCH,)),
        (pod(node_selector={"disk": "ssd"}), node(labels={"disk": "ssd"}), None),
        (pod(node_affinity=affinity({"key": "zone", "operator": "In", "values": ["a"]})), node(), (NO_MATCH,)),
        (
            pod(node_affinity=affinity({"key": "zone", "operator": "NotIn", "values": ["a"]})),
            node(labels={"zone": "b"}),
            None,
        ),
        (
            pod(node_affinity=affinity({"key": "cores", "operator": "Gt", "values": ["4"]})),
            node(labels={"cores": "8"}),
            None,
        ),
        (pod(node_affinity=affinity({"key": "x", "operator": "Like", "values": ["a"]})), node(), (NO_MATCH,)),
        (pod(node_affinity=affinity()), node(), (NO_MATCH,)),
        (
            pod(node_affinity=affinity(fields=[{"key": "metadata.name", "operator": "In", "values": ["n1"]}])),
            node(),
            None,
        ),
        (
            pod(host_ports=frozenset({("TCP", "0.0.0.0", 80)})),
            node(host_ports=frozenset({("TCP", "127.0.0.1", 80)})),
            ("node(s) didn't have free ports for the requested pod ports",),
        ),
        (
            pod(host_ports=frozenset({("TCP", "127.0.0.2", 80)})),
            node(host_ports=frozenset({("TCP", "127.0.0.1", 80), ("UDP", "0.0.0.0", 80)})),
            None,
        ),
        (pod(requests={"cpu": 3000}), node(requested={"cpu": 1500}), ("Insufficient cpu",)),
        (
            pod(requests={"cpu": 5000, "memory": 9 * GIB}),
            node(pod_count=110),
            ("Too many pods", "Insufficient cpu", "Insufficient memory"),
        ),
        (pod(requests={"example.com/gpu": 1}), node(), ("Insufficient example.com/gpu",)),
        (pod(requests={"example.com/gpu": 0}), node(), None),
    ],
)
def test_the_first_filter_that_refuses_says_why(
    demand: PodDemand, facts: NodeFacts, reasons: tuple[str, ...] | None
) -> None:
    refusal = check_node(demand, facts)
    assert (refusal.reasons if refusal else None) == reasons


@pytest.mark.parametrize(
    ("demand", "facts", "is_final"),
    [
        (pod(requests={"cpu": 5000}), node(), True),  # more than the node has: preemption cannot help
        (pod(requests={"cpu": 3000}), node(requested={"cpu": 3000}), False),
        (pod(), node(taints=(DEDICATED,)), True),
    ],
)
def test_a_refusal_knows_whether_preemption_could_help(demand: PodDemand, facts: NodeFacts, is_final: bool) -> None:
    refusal = check_node(demand, facts)
    assert isinstance(refusal, Refusal)
    assert refusal.is_final is is_final


def test_nowhere_to_go_reads_like_kube_scheduler() -> None:
    nodes = [node("a", taints=(DEDICATED,)), node("b", requested={"cpu": 3900}), node("c", requested={"cpu": 3900})]
    assert choose_node(pod(requests={"cpu": 500}), nodes) == Unassigned(
        "0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 Insufficient cpu. no new claims to deallocate, "
        "preemption: 0/3 nodes are available: 1 Preemption is not helpful for scheduling, "
        "2 No preemption victims found for incoming pod."
    )
    assert choose_node(pod(), []) == Unassigned("no nodes available to schedule pods")


def test_empty_nodes_are_preferred_and_equal_ones_go_by_count_then_name() -> None:
    busy = node("a", requested={"cpu": 2000}, assumed={"cpu": 2000, "memory": 4 * GIB})
    chosen = choose_node(pod(assumed={"cpu": 100, "memory": 200 * MIB}), [busy, node("b")])
    assert isinstance(chosen, Assigned)
    assert chosen.node_name == "b"
    assert chosen.scores["b"] > chosen.scores["a"]
    twins = [node("z", pod_count=1), node("y"), node("x")]
    assert isinstance(chosen := choose_node(pod(), twins), Assigned)
    assert chosen.node_name == "x"


def test_soft_taints_and_preferred_affinity_outweigh_the_rest() -> None:
    tainted = node("a", taints=({"key": "k", "effect": "PreferNoSchedule"},))
    assert isinstance(chosen := choose_node(pod(), [tainted, node("b", assumed={"cpu": 3000})]), Assigned)
    assert chosen.node_name == "b"
    preference = {"matchExpressions": [{"key": "fast", "operator": "Exists"}]}
    wish = {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 5, "preference": preference}]}
    nodes = [node("a"), node("b", labels={"fast": ""}, assumed={"cpu": 2000})]
    assert isinstance(chosen := choose_node(pod(node_affinity=wish), nodes), Assigned)
    assert chosen.node_name == "b"


@pytest.mark.parametrize(
    ("images", "sizes", "containers", "score"),
    [
        (("nginx:1.17.1",), {"nginx:1.17.1": 23 * MIB}, 1, 0),
        (("nginx:1.17.1",), {"nginx:1.17.1": 1000 * MIB}, 1, 48),  # on one node of two: half the bytes count
        (("nginx",), {"nginx:latest": 2000 * MIB}, 1, 100),
        (("nginx",), {"docker.io/library/nginx:latest": 2000 * MIB}, 1, 0),  # names are compared as text
        (("localhost:5000/a",), {"localhost:5000/a:latest": 2000 * MIB}, 1, 100),
        (("a@sha256:00",), {"a@sha256:00": 4000 * MIB}, 1, 100),
        (("a:1", "b:1"), {"a:1": 1000 * MIB, "b:1": 1000 * MIB}, 2, 49),
    ],
)
def test_image_locality(images: tuple[str, ...], sizes: dict[str, int], containers: int, score: int) -> None:
    here, there = node("a", images=sizes), node("b")
    demand = pod(images=images, container_count=containers)
    assert score_image_locality(demand, here, [here, there]) == score
    assert score_image_locality(demand, there, [here, there]) == 0


@given(st.integers(0, 8000), st.integers(0, 16 * GIB), st.integers(1, 8000), st.integers(1, 16 * GIB))
def test_scores_stay_between_0_and_100(cpu: int, memory: int, room_cpu: int, room_memory: int) -> None:
    demand, facts = (
        pod(assumed={"cpu": cpu, "memory": memory}),
        node(allocatable={"cpu": room_cpu, "memory": room_memory}),
    )
    assert 0 <= score_least_allocated(demand, facts) <= 100
    assert 0 <= score_balanced(demand, facts) <= 100


def test_demand_adds_sidecars_and_takes_the_hungriest_start() -> None:
    def container(cpu: str, **more: Any) -> dict[str, Any]:
        return {"image": "i", "resources": {"requests": {"cpu": cpu}}, **more}

    spec = {
        "containers": [container("100m"), container("200m", ports=[{"hostPort": 80}])],
        "initContainers": [container("1", restartPolicy="Always"), container("2")],
        "overhead": {"cpu": "10m"},
        "volumes": [{"image": {"reference": "data:1"}}],
    }
    demand = pod_demand({"metadata": {"name": "p"}, "spec": spec})
    assert demand.requests == {"cpu": 3010}  # sidecar 1 + init 2, above 1.3 running
    assert demand.host_ports == {("TCP", "0.0.0.0", 80)}
    assert demand.images == ("i", "i", "i", "i", "data:1")
    assert demand.container_count == 4


def test_limits_stand_in_for_requests_and_pod_level_requests_win() -> None:
    container = {"resources": {"limits": {"memory": "1Gi"}}}
    assert pod_demand({"spec": {"containers": [container]}}).requests == {"memory": GIB}
    spec = {"containers": [container], "resources": {"requests": {"memory": "2Gi"}}}
    assert pod_demand({"spec": spec}).requests == {"memory": 2 * GIB}


def test_node_facts_count_living_pods_only() -> None:
    def placed(cpu: str, phase: str) -> dict[str, Any]:
        return {"spec": {"containers": [{"resources": {"requests": {"cpu": cpu}}}]}, "status": {"phase": phase}}

    raw = {
        "metadata": {"name": "n"},
        "status": {"allocatable": {"cpu": "2", "pods": "10"}, "images": [{"names": ["a:1"], "sizeBytes": 5}]},
    }
    facts = node_facts(raw, [placed("1", "Running"), placed("1", "Succeeded"), placed("500m", "Pending")])
    assert (facts.requested, facts.pod_count) == ({"cpu": 1500}, 2)
    assert facts.allocatable == {"cpu": 2000, "pods": 10}
    assert facts.images == {"a:1": 5}


@pytest.mark.parametrize(
    ("toleration", "covers"),
    [
        ({"key": "dedicated", "operator": "Equal", "value": "gpu", "effect": "NoSchedule"}, True),
        ({"key": "dedicated", "value": "gpu"}, True),
        ({"key": "dedicated", "operator": "Exists"}, True),
        ({"operator": "Exists"}, True),
        ({"operator": "Exists", "effect": "NoExecute"}, False),
        ({"key": "dedicated", "value": "cpu"}, False),
        ({"key": "other", "operator": "Exists"}, False),
        ({}, False),
    ],
)
def test_tolerations(toleration: dict[str, str], covers: bool) -> None:
    assert tolerates(toleration, DEDICATED) is covers
