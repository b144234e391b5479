"""Plans of ReplicaSets, DaemonSets and StatefulSets: facts in, next steps out."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.controllers.workload_objects import NOW, names, pod

from pullet.base.jsonvalue import JsonObject
from pullet.controllers.daemonset import daemon_pod, node_eligibility, plan_daemons, plan_update, target_node
from pullet.controllers.history import REVISION_HASH_LABEL
from pullet.controllers.pods import decide_claims, deletion_order
from pullet.controllers.replicaset import plan_replicas, replica_set_status
from pullet.controllers.statefulset import plan_statefulset, stateful_pod, stateful_status
from pullet.kube.selector import label_selector_from
from pullet.kube.status import ForbiddenError
from pullet.policy.scheduling_facts import NodeFacts

# --- ReplicaSet ---


def replica_set(replicas: int | None, **spec: Any) -> JsonObject:
    meta = {"name": "rs", "namespace": "ns", "uid": "rs", "generation": 3}
    return {"metadata": meta, "spec": {"replicas": replicas, "template": {"metadata": {"labels": {"a": "b"}}}} | spec}


def test_missing_pods_are_created_and_ended_ones_do_not_count() -> None:
    pods = [pod("a"), pod("b", "Failed"), pod("c", deleting=True)]
    plan = plan_replicas(replica_set(3), pods, [])
    assert (plan.create, plan.delete) == (2, [])
    assert plan_replicas(replica_set(None), [], []).create == 1  # unset means one


def test_the_cheapest_pods_go_first() -> None:
    pods = [
        pod("ready-long"),
        pod("ready-short", ready_for=5),
        pod("unready", ready=False),
        pod("pending", "Pending"),
        pod("unassigned", "Pending", node=""),
        pod("cheap", meta={"annotations": {"controller.kubernetes.io/pod-deletion-cost": "-5"}}),
    ]
    order = names(deletion_order(pods))
    assert order == ["unassigned", "pending", "unready", "cheap", "ready-short", "ready-long"]
    assert names(plan_replicas(replica_set(4), pods, []).delete) == order[:2]


def test_a_crowded_node_gives_up_a_pod_first() -> None:
    pods = [pod("alone", node="n2"), pod("crowded", node="n1")]
    sibling = pod("sibling", node="n1")
    assert names(plan_replicas(replica_set(1), pods, [sibling]).delete) == ["crowded"]


def test_replica_set_status_counts() -> None:
    labelled = {"labels": {"a": "b", "c": "d"}}
    pods = [pod("a", meta=labelled, ready_for=5), pod("b", meta=labelled), pod("c", ready=False), pod("d", "Failed")]
    status = replica_set_status(replica_set(3, minReadySeconds=60), pods, None, is_deleting_pods=False, now=NOW)
    assert status == {
        "replicas": 3, "fullyLabeledReplicas": 2, "readyReplicas": 2, "availableReplicas": 1, "observedGeneration": 3,
    }  # fmt: skip


def test_a_refusal_becomes_a_condition_and_goes_with_success() -> None:
    error = ForbiddenError('pods "x" is forbidden: no')
    status = replica_set_status(replica_set(1), [], error, is_deleting_pods=False, now=NOW)
    (condition,) = status["conditions"]
    assert (condition["type"], condition["reason"], condition["message"]) == (
        "ReplicaFailure",
        "FailedCreate",
        str(error),
    )
    recovered = replica_set(1) | {"status": status}
    assert "conditions" not in replica_set_status(recovered, [], None, is_deleting_pods=False, now=NOW)


def test_claims() -> None:
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "rs", "uid": "rs"}}
    selector = label_selector_from({"matchLabels": {"app": "web"}})
    mine = {"ownerReferences": [{"uid": "rs", "controller": True}]}
    others = {"ownerReferences": [{"uid": "x", "controller": True}]}
    web = {"labels": {"app": "web"}}
    pods = [
        pod("owned", meta=mine | web),
        pod("strayed", meta=mine),
        pod("orphan", meta=web),
        pod("dying-orphan", meta=web, deleting=True),
        pod("foreign", meta=others | web),
    ]
    claims = decide_claims(owner, selector, pods)
    assert (names(claims.owned), names(claims.adopt), names(claims.release)) == (["owned"], ["orphan"], ["strayed"])


# --- DaemonSet ---


def daemonset(**spec: Any) -> JsonObject:
    template = {"metadata": {"labels": {"app": "ds"}}, "spec": {"containers": [{"name": "c"}]} | spec.pop("pod", {})}
    meta = {"name": "ds", "namespace": "ns", "uid": "ds"}
    return {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": meta, "spec": {"template": template} | spec}


def test_a_daemon_pod_is_for_one_node_and_hardy() -> None:
    made = daemon_pod(daemonset(), "n7", "h1")
    assert target_node(made) == "n7"
    assert made["metadata"]["generateName"] == "ds-"
    assert made["metadata"]["labels"] == {"app": "ds", REVISION_HASH_LABEL: "h1"}
    assert {"key": "node.kubernetes.io/unschedulable", "operator": "Exists", "effect": "NoSchedule"} in made["spec"][
        "tolerations"
    ]


@pytest.mark.parametrize(
    ("node", "selector", "eligible"),
    [
        (NodeFacts(name="n"), {}, (True, True)),
        (NodeFacts(name="n", is_unschedulable=True), {}, (True, True)),
        (NodeFacts(name="n"), {"disk": "ssd"}, (False, False)),
        (NodeFacts(name="n", taints=({"key": "k", "effect": "NoSchedule"},)), {}, (False, True)),
        (NodeFacts(name="n", taints=({"key": "k", "effect": "NoExecute"},)), {}, (False, False)),
        (
            NodeFacts(name="n", taints=({"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"},)),
            {},
            (True, True),
        ),
    ],
)
def test_which_nodes_get_a_daemon(node: NodeFacts, selector: dict[str, str], eligible: tuple[bool, bool]) -> None:
    assert node_eligibility(daemonset(pod={"nodeSelector": selector}), node) == eligible


def test_every_node_is_brought_to_one_pod() -> None:
    nodes = {
        "bare": (True, True),
        "full": (True, True),
        "tainted": (False, True),
        "left": (False, False),
        "dying": (True, True),
    }
    pods = {
        "full": [pod("younger", meta={"creationTimestamp": "2026-01-02T00:00:00Z"}), pod("older")],
        "tainted": [pod("stays")],
        "left": [pod("leaves")],
        "dying": [pod("going", deleting=True)],
        "vanished": [pod("lost")],
    }
    plan = plan_daemons(nodes, pods)
    assert plan.create_on == ["bare"]
    assert sorted(names(plan.delete)) == ["leaves", "lost", "younger"]


def test_failed_daemons_are_replaced() -> None:
    plan = plan_daemons({"n": (True, True)}, {"n": [pod("broken", "Failed")]})
    assert (names(plan.delete), names(plan.failed), plan.create_on) == (["broken"], ["broken"], [])


def test_daemons_are_updated_a_few_at_a_time_broken_ones_at_once() -> None:
    old = {"labels": {REVISION_HASH_LABEL: "old"}}
    pods = {f"n{n}": [pod(f"p{n}", meta=old)] for n in range(4)}
    assert len(plan_update(daemonset(), pods, 4, "new", NOW)) == 1
    two = daemonset(updateStrategy={"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "50%"}})
    assert len(plan_update(two, pods, 4, "new", NOW)) == 2
    assert plan_update(daemonset(updateStrategy={"type": "OnDelete"}), pods, 4, "new", NOW) == []
    pods["n0"] = [pod("p0", meta=old, ready=False)]
    assert names(plan_update(daemonset(), pods, 4, "new", NOW)) == ["p0"]


# --- StatefulSet ---


def stateful_set(replicas: int, **spec: Any) -> JsonObject:
    meta = {"name": "db", "namespace": "ns", "uid": "db", "generation": 1}
    return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": meta, "spec": {"replicas": replicas} | spec}


def member(ordinal: int, revision: str = "new", **more: Any) -> JsonObject:
    more.setdefault("meta", {})["labels"] = {REVISION_HASH_LABEL: revision}
    return pod(f"db-{ordinal}", more.pop("phase", "Running"), **more)


def step(body: JsonObject, *pods: JsonObject) -> tuple[list[tuple[int, str]], list[str]]:
    plan = plan_statefulset(body, list(pods), "old", "new", NOW)
    return plan.create, names(plan.delete)


PARALLEL = {"podManagementPolicy": "Parallel"}


@pytest.mark.parametrize(
    ("body", "pods", "create", "delete"),
    [
        (stateful_set(3), [], [(0, "new")], []),
        (stateful_set(3), [member(0)], [(1, "new")], []),
        (stateful_set(3), [member(0, ready=False)], [], []),  # the next waits for the one before
        (stateful_set(3, **PARALLEL), [member(0, ready=False)], [(1, "new"), (2, "new")], []),
        (stateful_set(2, ordinals={"start": 5}), [], [(5, "new")], []),
        (stateful_set(1), [member(0), member(1), member(2)], [], ["db-2"]),
        (stateful_set(1), [member(0), member(1), member(2, deleting=True)], [], []),
        (stateful_set(1, **PARALLEL), [member(0), member(1), member(2)], [], ["db-2", "db-1"]),
        (stateful_set(2), [member(0, phase="Failed"), member(1)], [], ["db-0"]),
        (stateful_set(3), [member(n, "old") for n in range(3)], [], ["db-2"]),
        (stateful_set(3), [member(0, "old"), member(1, "old"), member(2)], [], ["db-1"]),
        (stateful_set(3), [member(0, "old"), member(1, "old"), member(2, ready=False)], [], []),
        (stateful_set(3, updateStrategy={"type": "OnDelete"}), [member(n, "old") for n in range(3)], [], []),
        (
            stateful_set(3, updateStrategy={"rollingUpdate": {"partition": 2}}),
            [member(0, "old"), member(1, "old"), member(2)],
            [],
            [],
        ),
        (stateful_set(2, updateStrategy={"rollingUpdate": {"partition": 1}}), [], [(0, "old")], []),
    ],
)
def test_steps_of_a_stateful_set(
    body: JsonObject, pods: list[JsonObject], create: list[tuple[int, str]], delete: list[str]
) -> None:
    assert step(body, *pods) == (create, delete)


def test_a_finished_update_becomes_the_current_revision() -> None:
    half = stateful_status(stateful_set(2), [member(0, "old"), member(1)], "db-old", "db-new", NOW)
    assert (half["currentRevision"], half["currentReplicas"], half["updatedReplicas"]) == ("db-old", 1, 1)
    whole = stateful_status(stateful_set(2), [member(0), member(1)], "db-old", "db-new", NOW)
    assert (whole["currentRevision"], whole["currentReplicas"], whole["readyReplicas"]) == ("db-new", 2, 2)


def test_a_member_knows_its_name() -> None:
    template = {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": []}, "$patch": "replace"}
    revision = {"metadata": {"labels": {REVISION_HASH_LABEL: "h"}}, "data": {"spec": {"template": template}}}
    made = stateful_pod(stateful_set(1, serviceName="svc"), 4, revision)
    assert made["metadata"]["name"] == "db-4"
    assert made["metadata"]["labels"] == {
        "app": "db",
        "statefulset.kubernetes.io/pod-name": "db-4",
        "apps.kubernetes.io/pod-index": "4",
        REVISION_HASH_LABEL: "h",
    }
    assert (made["spec"]["hostname"], made["spec"]["subdomain"]) == ("db-4", "svc")
