"""What a pod shows once nothing of it runs any more. Golden 14: a pod deleted while its image could not be pulled."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from tests.unit.policy.pods import container, make_pod

from pullet.policy.terminated_status import LOST, terminated_status

WAITING: dict[str, Any] = {"state": {"waiting": {"reason": "ImagePullBackOff"}}}
DONE: dict[str, Any] = {"state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}
BROKEN: dict[str, Any] = {"state": {"terminated": {"exitCode": 1, "reason": "Error"}}}
CRASHED: dict[str, Any] = {"state": {"waiting": {}}, "lastState": {"terminated": {"exitCode": 1}}}
LOST_STATE: dict[str, Any] = {"state": {"terminated": LOST}}


def ends(*states: dict[str, Any], init: tuple[dict[str, Any], ...] = (), phase: str = "Pending") -> dict[str, Any]:
    """The states after the end, and the phase."""
    pod = make_pod(
        *(container(f"c{number}") for number in range(len(states))),
        init=tuple(container(f"i{number}") for number in range(len(init))),
    )
    status = {
        "phase": phase,
        "containerStatuses": list(states),
        "initContainerStatuses": list(init),
        "podIP": "10.0.0.1",
    }
    before = copy.deepcopy(status)
    found = terminated_status(pod, status)
    assert status == before
    assert found["podIP"] == "10.0.0.1"
    return found


def test_a_container_that_never_ran_is_lost_and_its_pod_failed() -> None:
    found = ends(WAITING)
    assert found["containerStatuses"][0]["state"]["terminated"] == {
        "exitCode": 137,
        "reason": "ContainerStatusUnknown",
        "message": "The container could not be located when the pod was terminated",
        "startedAt": None,
        "finishedAt": None,
    }
    assert found["phase"] == "Failed"


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_what_has_ended_stays_as_it_is(phase: str) -> None:
    found = ends(DONE, BROKEN, phase=phase)
    assert (found["containerStatuses"], found["phase"]) == ([DONE, BROKEN], phase)


def test_only_the_container_that_is_missing_is_lost() -> None:
    found = ends(DONE, WAITING)
    assert found["containerStatuses"] == [DONE, LOST_STATE]


def test_containers_behind_an_init_container_that_failed_keep_waiting() -> None:
    found = ends(WAITING, init=(BROKEN, WAITING, WAITING))
    assert found["containerStatuses"] == [WAITING]
    assert found["initContainerStatuses"] == [BROKEN, WAITING, WAITING]


def test_the_first_init_container_always_counts() -> None:
    found = ends(WAITING, init=(WAITING, WAITING))
    assert found["initContainerStatuses"] == [LOST_STATE, WAITING]


def test_init_containers_count_up_to_the_last_that_began() -> None:
    found = ends(WAITING, init=(WAITING, CRASHED, WAITING))
    assert [each["state"] for each in found["initContainerStatuses"]] == [
        LOST_STATE["state"],
        LOST_STATE["state"],
        WAITING["state"],
    ]


@pytest.mark.parametrize(
    "last", [DONE, {"state": {"waiting": {}}, "lastState": DONE["state"]}], ids=["state", "before"]
)
def test_after_the_init_containers_regular_ones_count(last: dict[str, Any]) -> None:
    assert ends(WAITING, init=(DONE, last))["containerStatuses"] == [LOST_STATE]


def test_a_regular_container_that_began_tells_that_the_pod_had_initialized() -> None:
    assert ends(WAITING, CRASHED, init=(WAITING,))["containerStatuses"][0] == LOST_STATE


def test_a_pod_that_nothing_is_known_of_is_failed() -> None:
    assert terminated_status(make_pod(), {"phase": "Pending"}) == {"phase": "Failed"}
