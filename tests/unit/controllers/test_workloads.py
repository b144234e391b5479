"""Plans of ReplicaSets, DaemonSets and StatefulSets: facts in, next steps out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.unit.controllers.workload_objects import NOW, names, pod

from pullet.base.jsonvalue import JsonObject
from pullet.controllers.daemon_plan import (
    DaemonFacts,
    daemon_pod,
    node_eligibility,
    plan_daemons,
    plan_update,
    target_node,
)
from pullet.controllers.history import REVISION_HASH_LABEL, revision_data, template_of
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
    plan = plan_daemons(facts(daemonset(), nodes, pods))
    assert plan.create_on == ["bare"]
    assert sorted(names(plan.delete)) == ["leaves", "lost", "younger"]


def facts(body: JsonObject, nodes: dict[str, tuple[bool, bool]], pods: Any, **more: Any) -> DaemonFacts:
    return DaemonFacts(daemonset=body, nodes=nodes, pods=pods, revision_hash="new", now=NOW, **more)


def test_failed_daemons_are_replaced_after_a_while() -> None:
    nodes, pods = {"n": (True, True)}, {"n": [pod("broken", "Failed")]}
    plan = plan_daemons(facts(daemonset(), nodes, pods))
    assert (names(plan.delete), names(plan.ended), plan.create_on) == (["broken"], ["broken"], [])
    patient = plan_daemons(facts(daemonset(), nodes, pods, patient={"n"}))
    assert (patient.delete, patient.ended, patient.create_on) == ([], [], [])


OLD, NEW = ({"labels": {REVISION_HASH_LABEL: name}} for name in ("old", "new"))
ALL_NODES = {f"n{n}": (True, True) for n in range(4)}


def rolling(**limits: Any) -> JsonObject:
    return daemonset(updateStrategy={"type": "RollingUpdate", "rollingUpdate": limits})


def test_daemons_are_updated_a_few_at_a_time_broken_ones_at_once() -> None:
    pods = {f"n{n}": [pod(f"p{n}", meta=OLD)] for n in range(4)}
    assert len(plan_update(facts(daemonset(), ALL_NODES, pods)).delete) == 1
    assert len(plan_update(facts(rolling(maxUnavailable="50%"), ALL_NODES, pods)).delete) == 2
    assert plan_update(facts(daemonset(updateStrategy={"type": "OnDelete"}), ALL_NODES, pods)).delete == []
    pods["n0"] = [pod("p0", meta=OLD, ready=False)]
    assert names(plan_update(facts(daemonset(), ALL_NODES, pods)).delete) == ["p0"]
    pods["n0"] = [pod("p0", meta=NEW, ready=False)]
    assert plan_update(facts(daemonset(), ALL_NODES, pods)).delete == []


def test_a_surging_daemon_gets_its_successor_beside_it() -> None:
    surge = rolling(maxSurge=1, maxUnavailable=0)
    pods = {f"n{n}": [pod(f"p{n}", meta=OLD)] for n in range(4)}
    begin = plan_update(facts(surge, ALL_NODES, pods))
    assert (begin.create_on, begin.delete) == (["n0"], [])
    pods["n0"] = [pod("p0", meta=OLD), pod("s0", meta=NEW, ready=False)]
    waiting = facts(surge, ALL_NODES, pods)
    assert (plan_daemons(waiting).delete, plan_update(waiting).create_on) == ([], [])
    pods["n0"] = [pod("p0", meta=OLD), pod("s0", meta=NEW)]
    done = facts(surge, ALL_NODES, pods)
    assert names(plan_daemons(done).delete) == names(plan_update(done).delete) == ["p0"]
    pods["n1"] = [pod("p1", meta=OLD, ready=False)]
    assert "n1" in plan_update(facts(surge, ALL_NODES, pods)).create_on  # nothing is lost there
    pods["n2"] = [pod("p2", meta=OLD, ready=False), pod("s2", meta=NEW, ready=False)]
    assert "p2" in names(plan_daemons(facts(surge, ALL_NODES, pods)).delete)


def test_a_surging_daemon_leaves_a_node_when_there_are_enough_elsewhere() -> None:
    surge = rolling(maxSurge=1, maxUnavailable=0)
    nodes = {"n0": (False, True), "n1": (True, True)}
    pods = {"n0": [pod("p0", meta=OLD)], "n1": [pod("p1", meta=NEW, ready=False)]}
    assert plan_update(facts(surge, nodes, pods)).delete == []
    pods["n1"] = [pod("p1", meta=NEW)]
    assert names(plan_update(facts(surge, nodes, pods)).delete) == ["p0"]


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
TWO_AT_ONCE = {"updateStrategy": {"rollingUpdate": {"maxUnavailable": 2}}}
SICK = member(2, ready=False)


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
        (stateful_set(3, **TWO_AT_ONCE), [member(n, "old") for n in range(3)], [], ["db-2", "db-1"]),
        (stateful_set(3, **PARALLEL, **TWO_AT_ONCE), [member(0, "old"), member(1, "old"), SICK], [], ["db-1"]),
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


def test_a_revision_is_written_as_kubectl_compares_it() -> None:
    template = {"spec": {"dnsPolicy": "Default", "containers": [{"name": "c", "image": "a:1"}]}, "metadata": {}}
    data = revision_data(template)
    assert json.dumps(data, separators=(",", ":")) == (
        '{"spec":{"template":{"$patch":"replace","metadata":{},'
        '"spec":{"containers":[{"image":"a:1","name":"c"}],"dnsPolicy":"Default"}}}}'
    )
    assert template_of({"data": data}) == template
