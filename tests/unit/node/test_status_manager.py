"""Statuses go to the API in order; only what nobody would see is left out, and no backlog grows."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from tests.unit.node.node_world import NAMESPACE, pod_object

from pullet.base.jsonvalue import JsonObject
from pullet.kube.pod import PodView, parse_pod
from pullet.kube.scheme import PODS
from pullet.kube.status import ServiceUnavailableError
from pullet.node.status_manager import MAX_QUEUED, StatusManager
from pullet.testing.api_fakes import FakeApi
from pullet.testing.clock import FakeClock


@pytest.fixture
def api() -> FakeApi:
    return FakeApi(FakeClock())


@pytest.fixture
def statuses(api: FakeApi) -> StatusManager:
    return StatusManager(api=api, clock=FakeClock())


async def pod(api: FakeApi) -> PodView:
    return parse_pod(await api.create(PODS, NAMESPACE, pod_object("nginx")))


def waiting(reason: str, message: str = "") -> JsonObject:
    state = {"waiting": {"reason": reason, "message": message}}
    return {"phase": "Pending", "containerStatuses": [{"name": "c", "ready": False, "restartCount": 0, "state": state}]}


def shown(api: FakeApi) -> Sequence[tuple[str, str]]:
    """Reason and message of every version of the pod that a watcher was shown."""
    states = [
        status["state"]["waiting"]
        for _, change, plural, obj in api.history
        if change == "MODIFIED" and plural == "pods"
        for status in obj["status"].get("containerStatuses", ())
    ]
    return [(state["reason"], state["message"]) for state in states]


async def test_a_state_is_written_even_when_the_next_came_before_its_write(
    api: FakeApi, statuses: StatusManager
) -> None:
    """Golden 17: Pending, ContainerCreating, ErrImagePull."""
    nginx = await pod(api)
    statuses.set_pod_status(nginx, waiting("ContainerCreating"))
    statuses.set_pod_status(nginx, waiting("ErrImagePull", "not found"))
    assert not await statuses.flush()
    assert shown(api) == [("ContainerCreating", ""), ("ErrImagePull", "not found")]
    assert statuses.get(nginx.uid) == waiting("ErrImagePull", "not found")


async def test_a_status_that_looks_the_same_takes_the_place_of_the_one_before(
    api: FakeApi, statuses: StatusManager
) -> None:
    nginx = await pod(api)
    for message in ("first", "second", "third"):
        statuses.set_pod_status(nginx, waiting("ErrImagePull", message))
    await statuses.flush()
    assert shown(api) == [("ErrImagePull", "third")]


@pytest.mark.parametrize(
    "change",
    [
        {"phase": "Running"},
        {"reason": "Evicted"},
        {"containerStatuses": [{"name": "c", "ready": False, "restartCount": 1, "state": {"waiting": {}}}]},
        {"containerStatuses": [{"name": "c", "ready": True, "restartCount": 0, "state": {"waiting": {}}}]},
        {"containerStatuses": [{"name": "c", "ready": False, "restartCount": 0, "state": {"running": {}}}]},
        {"initContainerStatuses": [{"name": "i", "ready": False, "restartCount": 0, "state": {"waiting": {}}}]},
    ],
    ids=lambda change: next(iter(change)),
)
async def test_whatever_a_row_of_kubectl_get_shows_is_written(
    api: FakeApi, statuses: StatusManager, change: JsonObject
) -> None:
    nginx = await pod(api)
    bare = {"name": "c", "ready": False, "restartCount": 0, "state": {"waiting": {}}}
    before: JsonObject = {"phase": "Pending", "containerStatuses": [bare]}
    statuses.set_pod_status(nginx, before)
    statuses.set_pod_status(nginx, {**before, **change})
    statuses.set_pod_status(nginx, before)
    await statuses.flush()
    assert api.calls.count("patch pods nginx") == 3


async def test_what_is_already_there_is_not_written_again(api: FakeApi, statuses: StatusManager) -> None:
    nginx = await pod(api)
    for _ in range(2):
        statuses.set_pod_status(nginx, waiting("ContainerCreating"))
        await statuses.flush()
    assert api.calls.count("patch pods nginx") == 1


async def test_no_backlog_grows_and_the_newest_is_never_lost(api: FakeApi, statuses: StatusManager) -> None:
    nginx = await pod(api)
    for number in range(100):
        statuses.set_pod_status(nginx, waiting(f"Reason{number}"))
    await statuses.flush()
    reasons = [reason for reason, _ in shown(api)]
    assert reasons == [*(f"Reason{number}" for number in range(MAX_QUEUED - 1)), "Reason99"]


async def test_after_an_outage_only_the_newest_is_written(api: FakeApi, statuses: StatusManager) -> None:
    nginx = await pod(api)
    api.fail_next("patch", ServiceUnavailableError("not now"), times=2)
    for reason in ("ContainerCreating", "ErrImagePull"):
        statuses.set_pod_status(nginx, waiting(reason))
        assert await statuses.flush()
    statuses.set_pod_status(nginx, waiting("ImagePullBackOff"))
    statuses.set_pod_status(nginx, waiting("ErrImagePull"))
    api.fail_next("patch", ServiceUnavailableError("not now"))
    assert await statuses.flush()
    assert not await statuses.flush()
    assert shown(api) == [("ErrImagePull", "")]


async def test_a_pod_is_deleted_only_after_its_last_status(api: FakeApi, statuses: StatusManager) -> None:
    await pod(api)
    await api.delete(PODS, NAMESPACE, "nginx", grace_period_seconds=1)
    nginx = parse_pod(await api.get(PODS, NAMESPACE, "nginx"))
    statuses.set_pod_status(nginx, {"phase": "Running"})
    statuses.set_pod_status(nginx, {"phase": "Succeeded"})
    statuses.finish_pod(nginx)
    assert not await statuses.flush()
    assert [obj["status"]["phase"] for _, _, _, obj in api.history][-3:] == ["Running", "Succeeded", "Succeeded"]
    assert api.objects(PODS) == []
