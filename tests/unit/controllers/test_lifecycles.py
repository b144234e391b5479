"""Taints and evictions, ownership, conditions of a Deployment, template names, and the queue under all of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pullet.base.jsonvalue import JsonObject
from pullet.controllers.conditions import find_condition, scaled_value, set_condition
from pullet.controllers.deployment_status import compute_status, pause_conditions, seconds_to_deadline
from pullet.controllers.node_lifecycle import unknown_conditions, wanted_taints
from pullet.controllers.ownership import Delete, Disown, Fate, Keep, OwnerState, blocking_dependents, decide_fate
from pullet.controllers.reconciler import Reconciler
from pullet.controllers.revisions import make_replica_set, new_annotations, split_by_template
from pullet.controllers.rollout import REVISION, REVISION_HISTORY
from pullet.controllers.taint_eviction import seconds_to_eviction
from pullet.controllers.templates import same_template, template_hash
from pullet.kube.meta import NAME_SUFFIX_ALPHABET, format_time
from pullet.kube.scheme import PODS
from pullet.kube.status import ConflictError, ForbiddenError
from pullet.kubeclient.object_cache import Key
from pullet.testing.clock import FakeClock

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
STAMP = "2026-01-01T12:00:00Z"


def node(ready: str | None = "True", *, taints: list[JsonObject] | None = None, **spec: Any) -> JsonObject:
    conditions = (
        [] if ready is None else [{"type": "Ready", "status": ready, "lastHeartbeatTime": "2026-01-01T11:00:00Z"}]
    )
    return {"metadata": {"name": "n"}, "spec": {"taints": taints} | spec, "status": {"conditions": conditions}}


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        (node(), []),
        (node("False"), ["not-ready:NoSchedule", "not-ready:NoExecute"]),
        (node("Unknown"), ["unreachable:NoSchedule", "unreachable:NoExecute"]),
        (node(None), ["unreachable:NoSchedule", "unreachable:NoExecute"]),
        (node(unschedulable=True), ["unschedulable:NoSchedule"]),
    ],
)
def test_taints_follow_conditions(subject: JsonObject, expected: list[str]) -> None:
    taints = wanted_taints(subject, NOW)
    assert [f"{item['key'].removeprefix('node.kubernetes.io/')}:{item['effect']}" for item in taints] == expected
    settled = subject | {"spec": subject["spec"] | {"taints": taints}}
    assert wanted_taints(settled, NOW + timedelta(hours=1)) == taints  # the time of adding stays


def test_foreign_taints_stay_and_stale_ones_go() -> None:
    mine = {"key": "dedicated", "value": "gpu", "effect": "NoSchedule"}
    stale = {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute", "timeAdded": STAMP}
    assert wanted_taints(node(taints=[stale, mine]), NOW) == [mine]


def test_a_silent_node_becomes_unknown_once() -> None:
    patched = unknown_conditions(node(), NOW)
    ready = next(item for item in patched if item["type"] == "Ready")
    assert (ready["status"], ready["reason"], ready["lastHeartbeatTime"]) == (
        "Unknown", "NodeStatusUnknown", "2026-01-01T11:00:00Z",
    )  # fmt: skip
    assert {item["reason"] for item in patched if item["type"] != "Ready"} == {"NodeStatusNeverUpdated"}
    assert unknown_conditions({"status": {"conditions": patched}}, NOW) == []


EXECUTE = {"key": "k", "effect": "NoExecute", "timeAdded": format_time(NOW - timedelta(seconds=100))}


@pytest.mark.parametrize(
    ("tolerations", "taints", "left"),
    [
        ([], [], None),
        ([], [{"key": "k", "effect": "NoSchedule"}], None),
        ([], [EXECUTE], 0.0),
        ([{"operator": "Exists"}], [EXECUTE], None),
        ([{"key": "k", "operator": "Exists", "tolerationSeconds": 300}], [EXECUTE], 200.0),
        ([{"key": "k", "operator": "Exists", "tolerationSeconds": 30}], [EXECUTE], 0.0),
        (
            [{"operator": "Exists", "tolerationSeconds": 300}, {"operator": "Exists", "tolerationSeconds": 150}],
            [EXECUTE],
            50.0,
        ),
    ],
)
def test_how_long_a_pod_may_stay(tolerations: list[JsonObject], taints: list[JsonObject], left: float | None) -> None:
    assert seconds_to_eviction(tolerations, taints, NOW) == left


def owned(*uids: str, finalizers: tuple[str, ...] = (), deleting: bool = False) -> JsonObject:
    meta: JsonObject = {"name": "x", "finalizers": list(finalizers)}
    meta["ownerReferences"] = [{"uid": uid, "blockOwnerDeletion": True} for uid in uids]
    return {"metadata": meta | ({"deletionTimestamp": STAMP} if deleting else {})}


@pytest.mark.parametrize(
    ("obj", "owners", "has_dependents", "fate"),
    [
        (owned(), {}, False, Keep()),
        (owned("a"), {"a": "present"}, False, Keep()),
        (owned("a"), {"a": "absent"}, False, Delete("Background")),
        (owned("a", deleting=True), {"a": "absent"}, False, Keep()),
        (owned("a", finalizers=("orphan",)), {"a": "absent"}, False, Delete("Orphan")),
        (owned("a", finalizers=("foregroundDeletion",)), {"a": "absent"}, False, Delete("Foreground")),
        (owned("a"), {"a": "waiting"}, True, Delete("Foreground")),
        (owned("a"), {"a": "waiting"}, False, Delete("Background")),
        (owned("a", "b"), {"a": "present", "b": "absent"}, False, Disown([{"uid": "a", "blockOwnerDeletion": True}])),
        (owned("a", "b"), {"a": "absent", "b": "absent"}, False, Delete("Background")),
    ],
)
def test_fates(obj: JsonObject, owners: dict[str, OwnerState], has_dependents: bool, fate: Fate) -> None:
    assert decide_fate(obj, owners, has_dependents=has_dependents) == fate


def test_only_blocking_references_hold_up_an_owner() -> None:
    loose = {"metadata": {"ownerReferences": [{"uid": "a"}]}}
    tight = owned("a")
    assert blocking_dependents({"metadata": {"uid": "a"}}, [loose, tight]) == [tight]


@given(st.integers(0, 100), st.integers(0, 50))
def test_percentages_round_as_told(percent: int, total: int) -> None:
    low = scaled_value(f"{percent}%", total, default=0, round_up=False)
    high = scaled_value(f"{percent}%", total, default=0, round_up=True)
    assert low <= percent * total / 100 <= high <= low + 1


def test_a_condition_keeps_its_transition_time_while_its_status_stays() -> None:
    first = set_condition([], "Available", "True", "A", "a", NOW)
    later = set_condition(first, "Available", "True", "B", "b", NOW + timedelta(seconds=9))
    assert (later[0]["lastTransitionTime"], later[0]["reason"]) == (STAMP, "B")
    turned = set_condition(later, "Available", "False", "B", "b", NOW + timedelta(seconds=9))
    assert turned[0]["lastTransitionTime"] == "2026-01-01T12:00:09Z"


def deployment(replicas: int = 2, status: JsonObject | None = None, **spec: Any) -> JsonObject:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "a:1"}]}}
    body = {
        "replicas": replicas,
        "progressDeadlineSeconds": 600,
        "template": template,
        "selector": {"matchLabels": {"app": "web"}},
    }
    meta = {
        "name": "web",
        "namespace": "ns",
        "uid": "web",
        "generation": 1,
        "annotations": {"note": "kept", REVISION: "9"},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": meta,
        "spec": body | spec,
        "status": status or {},
    }


def sized(name: str, replicas: int, available: int) -> JsonObject:
    status = {"replicas": replicas, "readyReplicas": available, "availableReplicas": available}
    return {"metadata": {"name": name}, "spec": {"replicas": replicas}, "status": status}


def progress(status: JsonObject) -> tuple[str, str, str]:
    condition = find_condition(status["conditions"], "Progressing") or {}
    return condition.get("status", ""), condition.get("reason", ""), condition.get("message", "")


def test_the_story_of_a_rollout_in_conditions() -> None:
    begun = compute_status(deployment(), sized("web-1", 2, 0), [], [], NOW, is_rollout=True)
    assert find_condition(begun["conditions"], "Available") is not None
    assert progress(begun) == ("True", "ReplicaSetUpdated", 'ReplicaSet "web-1" is progressing.')
    assert begun["unavailableReplicas"] == 2
    waiting = deployment(status=begun)
    soon = NOW + timedelta(seconds=599)
    assert compute_status(waiting, sized("web-1", 2, 0), [], begun["conditions"], soon, is_rollout=True) == begun
    assert seconds_to_deadline(waiting, begun, soon) == 2.0
    late = compute_status(
        waiting, sized("web-1", 2, 0), [], begun["conditions"], soon + timedelta(seconds=5), is_rollout=True
    )
    assert progress(late) == ("False", "ProgressDeadlineExceeded", 'ReplicaSet "web-1" has timed out progressing.')
    stuck = deployment(status=late)
    done = compute_status(stuck, sized("web-1", 2, 2), [], late["conditions"], soon, is_rollout=True)
    assert progress(done) == ("True", "NewReplicaSetAvailable", 'ReplicaSet "web-1" has successfully progressed.')
    assert "unavailableReplicas" not in done
    assert seconds_to_deadline(deployment(status=done), done, soon) is None


def test_pausing_and_resuming_are_told_once() -> None:
    paused = pause_conditions(deployment(paused=True), [], NOW)
    assert (paused[0]["status"], paused[0]["reason"]) == ("Unknown", "DeploymentPaused")
    assert pause_conditions(deployment(paused=True), paused, NOW + timedelta(seconds=9)) == paused
    assert pause_conditions(deployment(), paused, NOW)[0]["reason"] == "DeploymentResumed"
    assert pause_conditions(deployment(progressDeadlineSeconds=2**31 - 1, paused=True), [], NOW) == []


def test_a_replica_set_carries_the_hash_of_its_template_everywhere() -> None:
    made = make_replica_set(deployment(), [], 0)
    digest = made["metadata"]["labels"]["pod-template-hash"]
    assert made["metadata"]["name"] == f"web-{digest}"
    assert made["spec"]["selector"]["matchLabels"] == {"app": "web", "pod-template-hash": digest}
    assert made["spec"]["template"]["metadata"]["labels"] == {"app": "web", "pod-template-hash": digest}
    assert made["metadata"]["annotations"][REVISION] == "1"
    assert made["metadata"]["annotations"]["note"] == "kept"
    assert set(digest) <= set(NAME_SUFFIX_ALPHABET)
    assert split_by_template(deployment(), [made]) == (made, [])
    assert make_replica_set(deployment(), [], 1)["metadata"]["name"] != made["metadata"]["name"]


def test_a_replica_set_used_again_remembers_its_revisions() -> None:
    present: JsonObject = {"metadata": {"annotations": {REVISION: "2", REVISION_HISTORY: "1"}}}
    again = new_annotations(deployment(), present, 5)
    assert (again[REVISION], again[REVISION_HISTORY]) == ("5", "1,2")
    assert new_annotations(deployment(), {"metadata": {"annotations": again}}, 5) == again


def test_templates_differ_by_what_pods_would() -> None:
    plain = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"image": "a:1"}]}}
    dressed = {
        "metadata": {"labels": {"a": "b", "pod-template-hash": "x"}, "creationTimestamp": None},
        "spec": {"containers": [{"image": "a:1", "resources": {}}], "securityContext": {}},
    }
    other = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"image": "a:2"}]}}
    assert same_template(plain, dressed)
    assert template_hash(plain) == template_hash(dressed)
    assert not same_template(plain, other)
    assert template_hash(plain) != template_hash(other)


# --- the queue ---


class Work:
    """A reconcile function that remembers and does as told."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.answers: list[float | Exception | None] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, key: Key) -> float | None:
        self.done.append(key[1])
        await self.gate.wait()
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        return answer


@asynccontextmanager
async def working() -> AsyncIterator[tuple[Reconciler, Work, FakeClock]]:
    work, clock = Work(), FakeClock()
    reconciler = Reconciler(name="test", clock=clock, reconcile=work, sources=())
    async with asyncio.TaskGroup() as group:
        running = group.create_task(reconciler.run())
        await clock.advance(0)
        yield reconciler, work, clock
        running.cancel()


async def test_a_waiting_key_is_done_once_and_a_running_one_again() -> None:
    async with working() as (reconciler, work, clock):
        work.gate.clear()
        await reconciler.add(("", "a"))
        await clock.advance(0)
        for _ in range(3):
            await reconciler.add(("", "a"))
            await reconciler.add(("", "b"))
        work.gate.set()
        await clock.advance(0)
        assert sorted(work.done) == ["a", "a", "b"]


async def test_failures_come_back_ever_later_and_success_forgets_them() -> None:
    async with working() as (reconciler, work, clock):
        work.answers = [ForbiddenError("no"), ConflictError.on(PODS, "x"), ForbiddenError("no"), None]
        await reconciler.add(("", "a"))
        for seconds, times in ((0.0, 1), (0.06, 2), (0.05, 2), (0.06, 3), (0.21, 4), (100, 4)):
            await clock.advance(seconds)
            assert len(work.done) == times


async def test_a_reconcile_may_ask_to_be_called_again() -> None:
    async with working() as (reconciler, work, clock):
        work.answers = [10.0]
        await reconciler.add(("", "a"))
        await clock.advance(9.9)
        assert work.done == ["a"]
        await clock.advance(0.2)
        assert work.done == ["a", "a"]


async def test_the_earlier_of_two_calls_wins() -> None:
    async with working() as (reconciler, work, clock):
        reconciler.add_after(("", "a"), 10)
        reconciler.add_after(("", "a"), 5)
        reconciler.add_after(("", "a"), 20)
        await clock.advance(5.1)
        assert work.done == ["a"]
        await clock.advance(30)
        assert work.done == ["a"]
