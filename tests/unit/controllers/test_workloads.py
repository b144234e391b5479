"""Plans of ReplicaSets, Jobs, DaemonSets and StatefulSets: facts in, next steps out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pullet.base.jsonvalue import JsonObject
from pullet.controllers.daemonset import daemon_pod, node_eligibility, plan_daemons, plan_update, target_node
from pullet.controllers.history import REVISION_HASH_LABEL
from pullet.controllers.job_plan import (
    TRACKING_FINALIZER,
    Verdict,
    count_pods,
    decide_end,
    format_indexes,
    parse_indexes,
    plan_pods,
    seconds_of_back_off,
)
from pullet.controllers.pods import decide_claims, deletion_order
from pullet.controllers.replicaset import plan_replicas, replica_set_status
from pullet.controllers.statefulset import plan_statefulset, stateful_pod, stateful_status
from pullet.kube.meta import format_time, name_of
from pullet.kube.selector import label_selector_from
from pullet.kube.status import ForbiddenError
from pullet.policy.scheduling_facts import NodeFacts

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def pod(name: str, phase: str = "Running", *, ready: bool = True, deleting: bool = False, **more: Any) -> JsonObject:
    meta: JsonObject = {
        "name": name,
        "namespace": "ns",
        "uid": f"uid-{name}",
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }
    meta |= more.get("meta", {})
    if deleting:
        meta["deletionTimestamp"] = "2026-01-01T11:59:00Z"
    since = format_time(NOW - timedelta(seconds=more.get("ready_for", 3600)))
    condition = {
        "type": "Ready",
        "status": "True" if ready and phase == "Running" else "False",
        "lastTransitionTime": since,
    }
    return {
        "metadata": meta,
        "spec": {"nodeName": more.get("node", "n1")},
        "status": {"phase": phase, "conditions": [condition]} | more.get("status", {}),
    }


def names(pods: list[JsonObject]) -> list[str]:
    return [name_of(item) for item in pods]


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


# --- Job ---


def job(completions: int | None = 1, parallelism: int = 1, status: JsonObject | None = None, **spec: Any) -> JsonObject:
    template = {"spec": {"restartPolicy": "Never"}}
    body = {"completions": completions, "parallelism": parallelism, "template": template, "backoffLimit": 6} | spec
    return {"metadata": {"name": "job", "uid": "job"}, "spec": body, "status": status or {}}


def job_pod(name: str, phase: str, *, tracked: bool = True, index: int | None = None, **more: Any) -> JsonObject:
    meta: JsonObject = {"finalizers": [TRACKING_FINALIZER]} if tracked else {}
    if index is not None:
        meta["annotations"] = {"batch.kubernetes.io/job-completion-index": str(index)}
    return pod(name, phase, meta=meta, **more)


def test_each_finished_pod_is_counted_exactly_once_on_its_way_out() -> None:
    done = job_pod("a", "Succeeded")
    first = count_pods(job(2), [done])
    assert (first.succeeded, first.uncounted_succeeded, names(first.to_release)) == (0, ["uid-a"], ["a"])
    noted = {"uncountedTerminatedPods": {"succeeded": ["uid-a"]}}
    again = count_pods(job(2, status=noted), [done])  # the finalizer was not taken off yet
    assert (again.succeeded, again.uncounted_succeeded, again.all_succeeded) == (0, ["uid-a"], 1)
    released = count_pods(job(2, status=noted), [job_pod("a", "Succeeded", tracked=False)])
    assert (released.succeeded, released.uncounted_succeeded, released.all_succeeded) == (1, [], 1)
    gone = count_pods(job(2, status=noted), [])
    assert (gone.succeeded, gone.all_succeeded) == (1, 1)


def test_a_pod_deleted_before_its_end_counts_as_failed() -> None:
    counts = count_pods(job(), [job_pod("a", "Running", deleting=True)])
    assert (counts.all_failed, counts.terminating, counts.active) == (1, 1, [])


@pytest.mark.parametrize(
    ("body", "phases", "verdict"),
    [
        (job(2), ["Succeeded"], None),
        (job(2), ["Succeeded", "Succeeded"], "CompletionsReached"),
        (job(None, 3), ["Succeeded", "Running"], None),
        (job(None, 3), ["Succeeded"], "CompletionsReached"),
        (job(1, backoffLimit=0), ["Failed"], "BackoffLimitExceeded"),
        (job(1, backoffLimit=1), ["Failed"], None),
        (
            job(1, status={"startTime": "2026-01-01T11:59:00Z"}, activeDeadlineSeconds=60),
            ["Running"],
            "DeadlineExceeded",
        ),
        (job(1, status={"startTime": "2026-01-01T11:59:00Z"}, activeDeadlineSeconds=61), ["Running"], None),
    ],
)
def test_how_a_job_ends(body: JsonObject, phases: list[str], verdict: str | None) -> None:
    counts = count_pods(body, [job_pod(f"p{n}", phase) for n, phase in enumerate(phases)])
    end = decide_end(body, counts, NOW)
    assert (end.reason if isinstance(end, Verdict) else None) == verdict


def test_restarts_in_place_count_against_the_limit() -> None:
    body = job(1, backoffLimit=2, template={"spec": {"restartPolicy": "OnFailure"}})
    restarting = job_pod("a", "Running", status={"containerStatuses": [{"restartCount": 2}]})
    end = decide_end(body, count_pods(body, [restarting]), NOW)
    assert end is not None
    assert end.reason == "BackoffLimitExceeded"


@pytest.mark.parametrize(
    ("body", "phases", "create", "delete"),
    [
        (job(5, 2), [], 2, 0),
        (job(5, 2), ["Running"], 1, 0),
        (job(3, 3), ["Succeeded", "Succeeded"], 1, 0),
        (job(3, 1), ["Running", "Running"], 0, 1),
        (job(None, 2), [], 2, 0),
        (job(None, 2), ["Succeeded", "Running"], 0, 0),  # a work queue takes no more pods after the first success
        (job(5, 0), ["Running"], 0, 1),
    ],
)
def test_pods_of_a_job(body: JsonObject, phases: list[str], create: int, delete: int) -> None:
    counts = count_pods(body, [job_pod(f"p{n}", phase) for n, phase in enumerate(phases)])
    plan = plan_pods(body, counts)
    assert (len(plan.create), len(plan.delete)) == (create, delete)


def test_indexes_are_used_once_and_failed_ones_again() -> None:
    body = job(4, 3, completionMode="Indexed")
    pods = [job_pod("a", "Succeeded", index=0), job_pod("b", "Running", index=1), job_pod("c", "Failed", index=2)]
    counts = count_pods(body, pods)
    assert counts.completed_indexes == {0}
    assert counts.all_succeeded == 1
    assert plan_pods(body, counts).create == [2, 3]


def test_failed_pods_are_replaced_ever_later() -> None:
    ended = [{"state": {"terminated": {"finishedAt": format_time(NOW - timedelta(seconds=4))}}}]
    pods = [job_pod(f"p{n}", "Failed", status={"containerStatuses": ended}) for n in range(3)]
    assert [seconds_of_back_off(count_pods(job(), pods[:n]), NOW) for n in range(4)] == [0.0, 6.0, 16.0, 36.0]


@given(st.sets(st.integers(0, 200)))
def test_indexes_survive_their_notation(indexes: set[int]) -> None:
    assert set(parse_indexes(format_indexes(indexes))) == indexes


def test_the_notation_of_indexes() -> None:
    assert format_indexes({1, 3, 4, 5, 9}) == "1,3-5,9"


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
