"""What a sync kills, creates and starts."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.policy.pods import (
    CREATED,
    EXITED,
    RUNNING,
    UNKNOWN,
    container,
    make_pod,
    ran,
    runtime,
    sandbox,
)

from pullet.cri.types import ContainerState, NamespaceMode
from pullet.policy.container_actions import KillReason, PodActions, compute_pod_actions, restarts_after_exit
from pullet.policy.probe_state import ProbeResult, ProbeVerdicts


def starts(actions: PodActions) -> list[str]:
    return [each.name for each in actions.containers_to_start]


def init_starts(actions: PodActions) -> list[str]:
    return [each.name for each in actions.init_to_start]


def kills(actions: PodActions) -> list[tuple[str, str]]:
    return [(each.id, each.message) for each in actions.containers_to_kill]


# --- sandbox ---


def test_a_new_pod_gets_a_sandbox_and_all_regular_containers() -> None:
    actions = compute_pod_actions(make_pod(container("a"), container("b")), runtime(sandboxes=()))
    assert (actions.kill_pod, actions.create_sandbox, actions.attempt) == (True, True, 0)
    assert starts(actions) == ["a", "b"]


def test_a_new_pod_with_init_containers_starts_the_first_alone() -> None:
    pod = make_pod(init=(container("i1"), container("i2")))
    actions = compute_pod_actions(pod, runtime(sandboxes=()))
    assert init_starts(actions) == ["i1"]
    assert starts(actions) == []


@pytest.mark.parametrize(
    "boxes",
    [
        (sandbox(ready=False),),
        (sandbox(attempt=0), sandbox(attempt=1)),
        (sandbox(ip=""),),
        (sandbox(network=NamespaceMode.NODE),),
    ],
    ids=["not ready", "two ready", "no address", "other network"],
)
def test_a_sandbox_that_will_not_do_is_replaced(boxes: Any) -> None:
    pod = make_pod()
    actions = compute_pod_actions(pod, runtime(ran(pod, "c"), sandboxes=boxes))
    assert actions.kill_pod
    assert actions.create_sandbox
    assert actions.attempt == boxes[-1].metadata.attempt + 1
    assert starts(actions) == ["c"]


def test_a_host_network_pod_needs_no_address() -> None:
    pod = make_pod(hostNetwork=True)
    boxes = (sandbox(ip="", network=NamespaceMode.NODE),)
    assert not compute_pod_actions(pod, runtime(ran(pod, "c"), sandboxes=boxes)).kill_pod


def test_a_pod_that_is_never_restarted_gets_no_second_sandbox() -> None:
    pod = make_pod(restartPolicy="Never")
    status = runtime(ran(pod, "c", EXITED), sandboxes=(sandbox(ready=False),))
    actions = compute_pod_actions(pod, status)
    assert (actions.kill_pod, actions.create_sandbox, starts(actions)) == (True, False, [])


def test_a_new_sandbox_spares_what_has_succeeded_on_failure_policy() -> None:
    pod = make_pod(container("done"), container("failed"), restartPolicy="OnFailure")
    status = runtime(
        ran(pod, "done", EXITED), ran(pod, "failed", EXITED, exit_code=1), sandboxes=(sandbox(ready=False),)
    )
    assert starts(compute_pod_actions(pod, status)) == ["failed"]


# --- regular containers ---


def test_a_healthy_pod_needs_nothing() -> None:
    pod = make_pod()
    assert compute_pod_actions(pod, runtime(ran(pod, "c"))) == PodActions(sandbox_id="sb0", attempt=0)


@pytest.mark.parametrize(
    ("policy", "exit_code", "is_started"),
    [
        ("Always", 0, True),
        ("Always", 1, True),
        ("OnFailure", 0, False),
        ("OnFailure", 1, True),
        ("Never", 0, False),
        ("Never", 1, False),
    ],
)
def test_restart_table(policy: str, exit_code: int, is_started: bool) -> None:
    pod = make_pod(container("c"), container("keeps"), restartPolicy=policy)
    actions = compute_pod_actions(pod, runtime(ran(pod, "c", EXITED, exit_code=exit_code), ran(pod, "keeps")))
    assert (starts(actions) == ["c"]) is is_started


@pytest.mark.parametrize("state", [CREATED, UNKNOWN])
def test_half_made_containers_are_started_whatever_the_policy(state: ContainerState) -> None:
    pod = make_pod(restartPolicy="Never")
    actions = compute_pod_actions(pod, runtime(ran(pod, "c", state)))
    assert starts(actions) == ["c"]
    assert bool(actions.containers_to_kill) is (state is UNKNOWN)


def test_nothing_left_to_run_kills_the_pod() -> None:
    pod = make_pod(restartPolicy="Never")
    assert compute_pod_actions(pod, runtime(ran(pod, "c", EXITED))).kill_pod


def test_a_pod_being_deleted_starts_nothing() -> None:
    pod = make_pod(is_terminating=True)
    assert starts(compute_pod_actions(pod, runtime(ran(pod, "c", EXITED, exit_code=1)))) == []


@pytest.mark.parametrize("policy", ["Always", "Never"])
def test_a_changed_image_restarts_whatever_the_policy(policy: str) -> None:
    pod = make_pod(restartPolicy=policy)
    actions = compute_pod_actions(pod, runtime(ran(pod, "c", old_definition=True)))
    assert kills(actions) == [("c-0", "Container c definition changed, will be restarted")]
    assert starts(actions) == ["c"]


@pytest.mark.parametrize(
    ("policy", "message", "is_started"),
    [
        ("Always", "Container c failed liveness probe, will be restarted", True),
        ("Never", "Container c failed liveness probe", False),
    ],
)
def test_a_failed_liveness_probe_kills(policy: str, message: str, is_started: bool) -> None:
    pod = make_pod(restartPolicy=policy)
    verdicts = ProbeVerdicts(liveness={"c-0": ProbeResult.FAILURE})
    actions = compute_pod_actions(pod, runtime(ran(pod, "c")), verdicts)
    assert kills(actions) == [("c-0", message)]
    assert actions.containers_to_kill[0].reason is KillReason.LIVENESS_PROBE
    assert bool(starts(actions)) is is_started


def test_a_failed_startup_probe_kills() -> None:
    pod = make_pod()
    verdicts = ProbeVerdicts(startup={"c-0": ProbeResult.FAILURE})
    actions = compute_pod_actions(pod, runtime(ran(pod, "c")), verdicts)
    assert kills(actions) == [("c-0", "Container c failed startup probe, will be restarted")]


def test_the_newest_container_of_a_name_counts() -> None:
    pod = make_pod()
    status = runtime(ran(pod, "c", EXITED, exit_code=1), ran(pod, "c", RUNNING, restarts=1))
    assert starts(compute_pod_actions(pod, status)) == []


def test_ephemeral_containers_start_once() -> None:
    pod = make_pod(ephemeralContainers=[{"name": "e1", "image": "x"}, {"name": "e2", "image": "x"}])
    actions = compute_pod_actions(pod, runtime(ran(pod, "c"), ran(pod, "e1", EXITED, exit_code=1)))
    assert [each.name for each in actions.ephemeral_to_start] == ["e2"]


# --- container restart rules ---


@pytest.mark.parametrize(
    ("fields", "exit_code", "restarts"),
    [
        ({"restartPolicy": "Always"}, 0, True),
        ({"restartPolicy": "OnFailure"}, 0, False),
        ({"restartPolicy": "OnFailure"}, 3, True),
        ({}, 3, False),
        (
            {
                "restartPolicy": "Never",
                "restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}],
            },
            42,
            True,
        ),
        (
            {
                "restartPolicy": "Never",
                "restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}],
            },
            1,
            False,
        ),
        (
            {
                "restartPolicy": "Never",
                "restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "NotIn", "values": [1]}}],
            },
            2,
            True,
        ),
    ],
)
def test_a_container_may_overrule_its_pod(fields: dict[str, Any], exit_code: int, restarts: bool) -> None:
    pod = make_pod(container("c", **fields), restartPolicy="Never")
    assert restarts_after_exit(pod.spec.containers[0], pod, exit_code) is restarts


# --- init containers ---

TWO = (container("i1"), container("i2"))


@pytest.mark.parametrize(
    ("states", "init", "regular"),
    [
        ({"i1": (RUNNING, 0)}, [], []),
        ({"i1": (EXITED, 0)}, ["i2"], []),
        ({"i1": (EXITED, 1)}, ["i1"], []),
        ({"i1": (EXITED, 0), "i2": (RUNNING, 0)}, [], []),
        ({"i1": (EXITED, 0), "i2": (EXITED, 1)}, ["i2"], []),
        ({"i1": (EXITED, 0), "i2": (EXITED, 0)}, [], ["c"]),
        ({"i2": (EXITED, 0)}, [], ["c"]),
        ({"i1": (CREATED, 0)}, ["i1"], []),
        ({}, ["i1"], []),
        ({"c": (RUNNING, 0)}, [], []),
    ],
)
def test_init_containers_run_one_after_the_other(
    states: dict[str, tuple[ContainerState, int]], init: list[str], regular: list[str]
) -> None:
    pod = make_pod(init=TWO)
    known = [ran(pod, name, state, exit_code=code) for name, (state, code) in states.items()]
    actions = compute_pod_actions(pod, runtime(*known))
    assert (init_starts(actions), starts(actions)) == (init, regular)
    assert not actions.kill_pod


def test_a_failed_init_container_ends_a_pod_that_is_never_restarted() -> None:
    pod = make_pod(init=TWO, restartPolicy="Never")
    actions = compute_pod_actions(pod, runtime(ran(pod, "i1", EXITED, exit_code=1)))
    assert actions.kill_pod
    assert (init_starts(actions), starts(actions)) == ([], [])


SIDE = container("side", restartPolicy="Always")


def test_the_next_init_container_starts_beside_a_running_sidecar() -> None:
    pod = make_pod(init=(SIDE, container("i2")))
    assert init_starts(compute_pod_actions(pod, runtime(ran(pod, "side")))) == ["i2"]


def test_regular_containers_start_when_the_last_sidecar_runs() -> None:
    pod = make_pod(init=(SIDE,))
    assert starts(compute_pod_actions(pod, runtime(ran(pod, "side")))) == ["c"]


def test_a_sidecar_with_a_startup_probe_holds_the_others_back_until_it_has_started() -> None:
    side = {**SIDE, "startupProbe": {"exec": {"command": ["true"]}}}
    pod = make_pod(init=(side, container("i2")))
    status = runtime(ran(pod, "side"))
    assert init_starts(compute_pod_actions(pod, status)) == []
    started = ProbeVerdicts(startup={"side-0": ProbeResult.SUCCESS})
    assert init_starts(compute_pod_actions(pod, status, started)) == ["i2"]
    failed = ProbeVerdicts(startup={"side-0": ProbeResult.FAILURE})
    actions = compute_pod_actions(pod, status, failed)
    assert kills(actions) == [("side-0", "Init container side failed startup probe")]
    assert init_starts(actions) == ["side"]


@pytest.mark.parametrize("exit_code", [0, 1])
def test_a_sidecar_is_restarted_beside_running_containers(exit_code: int) -> None:
    pod = make_pod(init=(SIDE,), restartPolicy="Never")
    actions = compute_pod_actions(pod, runtime(ran(pod, "side", EXITED, exit_code=exit_code), ran(pod, "c")))
    assert init_starts(actions) == ["side"]
    assert not actions.kill_pod


def test_a_sidecar_does_not_keep_a_finished_pod_alive() -> None:
    pod = make_pod(init=(SIDE, container("i2")), restartPolicy="Never")
    known = runtime(ran(pod, "side", EXITED), ran(pod, "i2", EXITED), ran(pod, "c", EXITED))
    actions = compute_pod_actions(pod, known)
    assert actions.kill_pod
    assert init_starts(actions) == []


def test_finished_init_containers_are_not_run_again_beside_running_ones() -> None:
    pod = make_pod(init=(container("i1"), SIDE))
    actions = compute_pod_actions(pod, runtime(ran(pod, "i1", EXITED, exit_code=1), ran(pod, "side"), ran(pod, "c")))
    assert actions == PodActions(sandbox_id="sb0", attempt=0)
