"""Container statuses, phase and conditions, against statuses a real cluster wrote."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.unit.policy.pods import CREATED, EXITED, container, make_pod, ran, runtime, sandbox

from pullet.kube.container import ContainerKind
from pullet.kube.pod import PodView
from pullet.policy.container_state import ReasonCache, container_statuses
from pullet.policy.pod_phase import PodPhase, compute_phase, merge_conditions
from pullet.policy.pod_status import PodStatusFacts, generate_pod_status
from pullet.policy.probe_state import ProbeResult, ProbeVerdicts
from pullet.policy.runtime_status import PodRuntimeStatus

NOW = "2026-11-20T18:30:07Z"
NO_FAILURES = ReasonCache()


def status_of(
    pod: PodView,
    known: PodRuntimeStatus,
    *,
    failures: ReasonCache = NO_FAILURES,
    probes: ProbeVerdicts | None = None,
    old: dict[str, Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    return generate_pod_status(
        PodStatusFacts(
            pod=pod,
            runtime=known,
            failures=failures,
            probes=probes or ProbeVerdicts(),
            runtime_name="containerd",
            now=NOW,
            host_ips=("10.99.0.1",),
            old=old or {},
            **more,
        )
    )


def condition(status: dict[str, Any], kind: str) -> dict[str, Any]:
    return next(each for each in status["conditions"] if each["type"] == kind)


def test_a_failing_pull_reads_as_in_the_recording() -> None:
    """The status of the pod with a tag that does not exist, after some attempts."""
    message = 'Back-off pulling image "nginx:1.17.5": ErrImagePull: not found'
    mounts = [{"name": "kube-api-access-6pkfc", "mountPath": "/var/run/secrets/x", "readOnly": True}]
    pod = make_pod({"name": "nginx", "image": "nginx:1.17.5", "volumeMounts": mounts})
    failures = ReasonCache()
    failures.record_failure("u1", "nginx", reason="ImagePullBackOff", message=message)
    status = status_of(pod, runtime(sandboxes=(sandbox(ip="10.88.0.204"),)), failures=failures)
    unready = {
        "lastProbeTime": None,
        "lastTransitionTime": NOW,
        "reason": "ContainersNotReady",
        "message": "containers with unready status: [nginx]",
    }
    fine = {"status": "True", "lastProbeTime": None, "lastTransitionTime": NOW}
    assert status == {
        "phase": "Pending",
        "conditions": [
            {"type": "PodReadyToStartContainers", **fine},
            {"type": "Initialized", **fine},
            {"type": "Ready", "status": "False", **unready},
            {"type": "ContainersReady", "status": "False", **unready},
            {"type": "PodScheduled", **fine},
        ],
        "hostIP": "10.99.0.1",
        "hostIPs": [{"ip": "10.99.0.1"}],
        "podIP": "10.88.0.204",
        "podIPs": [{"ip": "10.88.0.204"}],
        "startTime": NOW,
        "containerStatuses": [
            {
                "name": "nginx",
                "state": {"waiting": {"reason": "ImagePullBackOff", "message": message}},
                "lastState": {},
                "ready": False,
                "restartCount": 0,
                "image": "nginx:1.17.5",
                "imageID": "",
                "started": False,
                "volumeMounts": [
                    {
                        "name": "kube-api-access-6pkfc",
                        "mountPath": "/var/run/secrets/x",
                        "readOnly": True,
                        "recursiveReadOnly": "Disabled",
                    }
                ],
            }
        ],
        "qosClass": "BestEffort",
        "resources": {},
    }


def test_a_running_container_shows_what_the_runtime_calls_it() -> None:
    pod = make_pod()
    status = status_of(pod, runtime(ran(pod, "c")))
    (one,) = status["containerStatuses"]
    assert one["image"] == "docker.io/library/c:1"
    assert one["imageID"] == f"docker.io/library/c@sha256:{'0' * 64}"
    assert one["containerID"] == "containerd://c-0"
    assert one["state"] == {"running": {"startedAt": "2027-01-15T08:00:01Z"}}
    assert (one["ready"], one["started"], status["phase"]) == (True, True, "Running")
    assert condition(status, "Ready")["status"] == "True"


def test_a_crash_loop_shows_the_wait_and_how_it_ended() -> None:
    pod = make_pod()
    failures = ReasonCache()
    failures.record_failure("u1", "c", reason="CrashLoopBackOff", message="back-off 5m0s …")
    known = runtime(ran(pod, "c", EXITED, exit_code=1, restarts=6), ran(pod, "c", EXITED, exit_code=1, restarts=5))
    status = status_of(pod, known, failures=failures)
    (one,) = status["containerStatuses"]
    assert one["state"] == {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s …"}}
    assert one["lastState"]["terminated"]["containerID"] == "containerd://c-6"
    assert one["lastState"]["terminated"]["reason"] == "Error"
    assert (one["restartCount"], status["phase"]) == (6, "Running")


def test_before_the_back_off_the_last_two_endings_show() -> None:
    pod = make_pod()
    known = runtime(ran(pod, "c", EXITED, exit_code=1, restarts=6), ran(pod, "c", EXITED, exit_code=1, restarts=5))
    (one,) = status_of(pod, known)["containerStatuses"]
    assert one["state"]["terminated"]["containerID"] == "containerd://c-6"
    assert one["lastState"]["terminated"]["containerID"] == "containerd://c-5"


def test_a_failing_init_image_keeps_the_others_initializing() -> None:
    pod = make_pod(container("c1"), init=(container("init1"),))
    failures = ReasonCache()
    failures.record_failure("u1", "init1", reason="ErrImagePull", message="not found")
    status = status_of(pod, runtime(), failures=failures)
    assert status["initContainerStatuses"][0]["state"]["waiting"]["reason"] == "ErrImagePull"
    assert status["containerStatuses"][0]["state"] == {"waiting": {"reason": "PodInitializing"}}
    initialized = condition(status, "Initialized")
    assert (initialized["status"], initialized["reason"]) == ("False", "ContainersNotInitialized")
    assert initialized["message"] == "containers with incomplete status: [init1]"
    assert condition(status, "ContainersReady")["message"] == "containers with unready status: [c1]"


def test_a_finished_init_container_is_ready_and_not_started() -> None:
    pod = make_pod(init=(container("i"),))
    status = status_of(pod, runtime(ran(pod, "i", EXITED), ran(pod, "c")))
    one = status["initContainerStatuses"][0]
    assert (one["ready"], one["started"], one["state"]["terminated"]["reason"]) == (True, False, "Completed")
    assert condition(status, "Initialized")["status"] == "True"


def test_a_success_clears_the_remembered_reason() -> None:
    cache = ReasonCache()
    cache.record_failure("u1", "c", reason="ErrImagePull", message="x")
    cache.record_success("u1", "c")
    assert cache.get("u1", "c") is None


def test_the_reason_cache_is_bounded() -> None:
    cache = ReasonCache(size=2)
    for name in ("a", "b"):
        cache.record_failure("u1", name, reason="r", message="m")
    assert cache.get("u1", "a") is not None
    cache.record_failure("u1", "c", reason="r", message="m")
    assert cache.get("u1", "b") is None
    assert cache.get("u1", "a") is not None
    cache.forget_pod("u1")
    assert cache.get("u1", "a") is None


def test_a_running_container_does_not_show_an_old_failure() -> None:
    pod = make_pod()
    failures = ReasonCache()
    failures.record_failure("u1", "c", reason="ErrImagePull", message="x")
    (one,) = status_of(pod, runtime(ran(pod, "c")), failures=failures)["containerStatuses"]
    assert "running" in one["state"]


def test_a_created_container_waits_without_reason() -> None:
    pod = make_pod()
    (one,) = status_of(pod, runtime(ran(pod, "c", CREATED)))["containerStatuses"]
    assert one["state"] == {"waiting": {}}


def test_statuses_are_sorted_by_name_and_init_ones_by_spec() -> None:
    pod = make_pod(container("z"), container("a"), init=(container("y"), container("b")))
    status = status_of(pod, runtime())
    assert [each["name"] for each in status["containerStatuses"]] == ["a", "z"]
    assert [each["name"] for each in status["initContainerStatuses"]] == ["y", "b"]


def test_a_container_that_vanished_while_running_was_lost() -> None:
    pod = make_pod()
    old = [{"name": "c", "state": {"running": {"startedAt": NOW}}, "restartCount": 2}]
    (one,) = container_statuses(
        pod,
        runtime(),
        ContainerKind.REGULAR,
        old=old,
        failures=NO_FAILURES,
        probes=ProbeVerdicts(),
        runtime_name="containerd",
    )
    assert one["lastState"]["terminated"]["exitCode"] == 137
    assert one["lastState"]["terminated"]["reason"] == "ContainerStatusUnknown"
    assert one["restartCount"] == 3


def test_an_ending_outlives_the_removal_of_its_record() -> None:
    pod = make_pod(restartPolicy="Never")
    first = status_of(pod, runtime(ran(pod, "c", EXITED)))
    again = status_of(pod, runtime(sandboxes=()), old=first)
    assert again["containerStatuses"] == first["containerStatuses"]
    assert again["phase"] == first["phase"] == "Succeeded"


def test_the_last_words_of_a_container_outlive_their_file() -> None:
    pod = make_pod(restartPolicy="Never")
    ended = ran(pod, "c", EXITED, exit_code=7)
    first = status_of(pod, runtime(msgspec.structs.replace(ended, message="last words")))
    again = status_of(pod, runtime(ended), old=first)
    assert again["containerStatuses"][0]["state"]["terminated"]["message"] == "last words"
    later = msgspec.structs.replace(ended, id="c-1", message="other words")  # another container: its own end
    other = status_of(pod, runtime(later), old=first)
    assert other["containerStatuses"][0]["state"]["terminated"]["message"] == "other words"


def test_readiness_waits_for_its_probe_and_startup_for_its_own() -> None:
    pod = make_pod(container("c", readinessProbe={"grpc": {"port": 1}}, startupProbe={"grpc": {"port": 1}}))
    known = runtime(ran(pod, "c"))

    def seen(**verdicts: dict[str, ProbeResult]) -> tuple[bool, bool]:
        (one,) = status_of(pod, known, probes=ProbeVerdicts(**verdicts))["containerStatuses"]
        return one["started"], one["ready"]

    success = {"c-0": ProbeResult.SUCCESS}
    assert seen() == (False, False)
    assert seen(readiness=success) == (False, False)
    assert seen(startup=success) == (True, False)
    assert seen(startup=success, readiness=success) == (True, True)


def test_readiness_gates_hold_the_pod_back() -> None:
    gates = [{"conditionType": "example.com/open"}]
    closed = make_pod(readinessGates=gates)
    ready = condition(status_of(closed, runtime(ran(closed, "c"))), "Ready")
    assert ready["reason"] == "ReadinessGatesNotReady"
    assert ready["message"] == 'corresponding condition of pod readiness gate "example.com/open" does not exist.'
    opened = make_pod(readinessGates=gates, status={"conditions": [{"type": "example.com/open", "status": "True"}]})
    status = status_of(opened, runtime(ran(opened, "c")))
    assert condition(status, "Ready")["status"] == "True"
    assert status["conditions"][0] == {"type": "example.com/open", "status": "True"}


def test_a_condition_keeps_its_time_while_its_status_stays() -> None:
    old = [{"type": "Ready", "status": "False", "lastTransitionTime": "then"}]
    same = merge_conditions(old, [{"type": "Ready", "status": "False", "reason": "Other"}], now="now")
    assert same[0]["lastTransitionTime"] == "then"
    assert same[0]["reason"] == "Other"
    changed = merge_conditions(old, [{"type": "Ready", "status": "True"}], now="now", observed_generation=3)
    assert (changed[0]["lastTransitionTime"], changed[0]["observedGeneration"]) == ("now", 3)


# --- phase ---

W = {"waiting": {"reason": "ContainerCreating"}}
R: dict[str, Any] = {"running": {}}


def T(code: int = 0) -> dict[str, Any]:  # noqa: N802 - reads as a state in the tables
    return {"terminated": {"exitCode": code}}


def shown(
    name: str, state: dict[str, Any], last: dict[str, Any] | None = None, *, started: bool = True
) -> dict[str, Any]:
    return {"name": name, "state": state, "lastState": last or {}, "started": started}


@pytest.mark.parametrize(
    ("policy", "states", "phase"),
    [
        ("Always", {"a": W, "b": W}, "Pending"),
        ("Always", {"a": R, "b": W}, "Pending"),
        ("Always", {"a": R, "b": R}, "Running"),
        ("Always", {"a": R}, "Pending"),
        ("Always", {"a": T(1), "b": R}, "Running"),
        ("Always", {"a": T(0), "b": T(0)}, "Running"),
        ("OnFailure", {"a": T(0), "b": T(1)}, "Running"),
        ("OnFailure", {"a": T(0), "b": T(0)}, "Succeeded"),
        ("Never", {"a": T(0), "b": T(0)}, "Succeeded"),
        ("Never", {"a": T(0), "b": T(1)}, "Failed"),
        ("Never", {"a": T(1), "b": R}, "Running"),
        ("Never", {"a": W, "b": T(1)}, "Pending"),
        ("OnFailure", {"a": W, "b": W}, "Pending"),
    ],
)
def test_phase_of_regular_containers(policy: str, states: dict[str, dict[str, Any]], phase: str) -> None:
    pod = make_pod(container("a"), container("b"), restartPolicy=policy)
    assert compute_phase(pod, [shown(name, state) for name, state in states.items()]) == phase


def test_waiting_after_an_end_counts_as_stopped() -> None:
    pod = make_pod(container("a"))
    assert compute_phase(pod, [shown("a", W, last=T(1))]) is PodPhase.RUNNING
    assert compute_phase(pod, [shown("a", W)]) is PodPhase.PENDING


def test_a_pod_being_ended_is_judged_by_its_exit_codes() -> None:
    pod = make_pod(container("a"))
    assert compute_phase(pod, [shown("a", T(0))], is_terminal=True) is PodPhase.SUCCEEDED
    assert compute_phase(pod, [shown("a", T(137))], is_terminal=True) is PodPhase.FAILED


@pytest.mark.parametrize(
    ("policy", "init_state", "phase"),
    [
        ("Always", W, "Pending"),
        ("Always", R, "Pending"),
        ("Always", T(1), "Pending"),
        ("Never", T(1), "Failed"),
        ("Never", T(0), "Pending"),
    ],
)
def test_phase_while_initializing(policy: str, init_state: dict[str, Any], phase: str) -> None:
    pod = make_pod(container("c"), init=(container("i"),), restartPolicy=policy)
    assert compute_phase(pod, [shown("i", init_state), shown("c", W)]) == phase


def test_a_restarting_sidecar_does_not_take_a_running_pod_back_to_pending() -> None:
    pod = make_pod(container("c"), init=(container("side", restartPolicy="Always"),))
    assert compute_phase(pod, [shown("side", W, last=T(1)), shown("c", R)]) is PodPhase.RUNNING
    assert compute_phase(pod, [shown("side", R, started=False), shown("c", R)]) is PodPhase.RUNNING
    assert compute_phase(pod, [shown("side", R, started=False), shown("c", W)]) is PodPhase.PENDING
    assert compute_phase(pod, [shown("side", R, started=False), shown("c", W, last=T(1))]) is PodPhase.PENDING


def test_a_terminal_phase_stays() -> None:
    pod = make_pod(status={"phase": "Failed"})
    assert status_of(pod, runtime(ran(pod, "c")))["phase"] == "Failed"


def test_the_node_may_fail_a_pod_itself() -> None:
    pod = make_pod()
    status = status_of(pod, runtime(ran(pod, "c")), has_failed=True, reason="DeadlineExceeded", message="too long")
    assert (status["phase"], status["reason"], status["message"]) == ("Failed", "DeadlineExceeded", "too long")
    assert condition(status, "Ready")["reason"] == "PodFailed"


def test_host_network_pods_have_the_address_of_the_node() -> None:
    pod = make_pod(hostNetwork=True)
    assert status_of(pod, runtime(ran(pod, "c"), sandboxes=(sandbox(ip=""),)))["podIP"] == "10.99.0.1"


def test_running_is_not_ready_when_the_states_are_of_an_ended_one() -> None:
    pod = make_pod(restartPolicy="Never")
    status = status_of(pod, runtime(ran(pod, "c", EXITED)))
    assert condition(status, "Ready")["reason"] == "PodCompleted"
    assert condition(status, "Initialized") == {
        "type": "Initialized",
        "status": "True",
        "lastProbeTime": None,
        "lastTransitionTime": NOW,
        "reason": "PodCompleted",
    }


def test_nobody_waits_for_an_ephemeral_container() -> None:
    """Golden 13: a debugger that runs reads `Ready: False`."""
    pod = make_pod(container("c"), ephemeralContainers=[{"name": "debugger", "image": "x"}])
    status = status_of(pod, runtime(ran(pod, "c"), ran(pod, "debugger"), sandboxes=(sandbox(),)))
    [shown] = status["ephemeralContainerStatuses"]
    assert "running" in shown["state"]
    assert shown["ready"] is False
    assert "started" not in shown
