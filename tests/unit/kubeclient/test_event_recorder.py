"""Events as they arrive at the API: form, counting, order, and what happens when delivery fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from pullet.base.jsonvalue import JsonObject
from pullet.kube.scheme import EVENTS, Resource
from pullet.kube.status import ApiError, ForbiddenError, NotFoundError
from pullet.kubeclient.client import ApiClient
from pullet.kubeclient.errors import ApiUnreachableError
from pullet.kubeclient.event_recorder import EventRecorder
from pullet.kubeclient.event_series import EventSeriesRecorder
from pullet.testing.clock import FakeClock

POD = {"kind": "Pod", "namespace": "ns", "name": "web", "uid": "u1", "apiVersion": "v1", "resourceVersion": "7"}


class EventSink(ApiClient):
    """Takes events; `failures` are raised first, one per call."""

    def __init__(self) -> None:
        self.failures: list[ApiError] = []
        self.writes: list[tuple[str, str, JsonObject]] = []

    async def create(self, resource: Resource, namespace: str | None, obj: JsonObject, **_: Any) -> JsonObject:
        return self._take("POST", resource, obj["metadata"]["name"], obj)

    async def patch(self, resource: Resource, namespace: str | None, name: str, patch: Any, **_: Any) -> JsonObject:
        return self._take("PATCH", resource, name, patch)

    def _take(self, verb: str, resource: Resource, name: str, body: JsonObject) -> JsonObject:
        assert resource is EVENTS
        if self.failures:
            raise self.failures.pop(0)
        self.writes.append((verb, name, body))
        return body


@asynccontextmanager
async def recording(host: str = "node1") -> AsyncIterator[tuple[EventRecorder, EventSink, FakeClock]]:
    sink, clock = EventSink(), FakeClock()
    recorder = EventRecorder(client=sink, component="kubelet", host=host, clock=clock)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(recorder.run())
        yield recorder, sink, clock
        running.cancel()


async def test_an_event_has_the_form_of_the_kubelets() -> None:
    async with recording() as (recorder, sink, _):
        recorder.event({**POD, "fieldPath": "spec.containers{web}"}, "Normal", "Pulling", 'Pulling image "a"')
        await recorder.flush()
    assert sink.writes == [
        (
            "POST",
            f"web.{1_767_225_600_000_000_000:x}",
            {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {"name": f"web.{1_767_225_600_000_000_000:x}", "namespace": "ns"},
                "involvedObject": {**POD, "fieldPath": "spec.containers{web}"},
                "reason": "Pulling",
                "message": 'Pulling image "a"',
                "source": {"component": "kubelet", "host": "node1"},
                "firstTimestamp": "2026-01-01T00:00:00Z",
                "lastTimestamp": "2026-01-01T00:00:00Z",
                "count": 1,
                "type": "Normal",
                "eventTime": None,
                "reportingComponent": "kubelet",
                "reportingInstance": "node1",
            },
        )
    ]


async def test_a_repetition_patches_the_count() -> None:
    async with recording() as (recorder, sink, clock):
        recorder.event(POD, "Warning", "Failed", "x")
        await clock.advance(5)
        recorder.event(POD, "Warning", "Failed", "x")
        await clock.advance(0)
        await recorder.flush()
    (_, name, _), patch = sink.writes
    assert patch == ("PATCH", name, {"count": 2, "lastTimestamp": "2026-01-01T00:00:05Z", "message": "x"})


async def test_a_patch_of_an_expired_event_writes_it_anew_with_its_count() -> None:
    async with recording() as (recorder, sink, clock):
        recorder.event(POD, "Normal", "BackOff", "x")
        await clock.advance(0)
        sink.failures.append(NotFoundError.on(EVENTS, "gone"))
        recorder.event(POD, "Normal", "BackOff", "x")
        await recorder.flush()
    assert [(verb, body["count"]) for verb, _, body in sink.writes] == [("POST", 1), ("POST", 2)]


async def test_nothing_lost_while_the_server_is_away_and_order_is_kept() -> None:
    async with recording() as (recorder, sink, clock):
        sink.failures += [ApiUnreachableError("down")] * 3
        recorder.event(POD, "Normal", "First", "1")
        recorder.event(POD, "Normal", "Second", "2")
        await clock.advance(0)
        assert sink.writes == []
        await clock.advance(31)
        assert [body["reason"] for _, _, body in sink.writes] == ["First", "Second"]


async def test_a_refused_event_is_dropped_and_the_next_goes_on() -> None:
    async with recording() as (recorder, sink, _):
        sink.failures.append(ForbiddenError.on(EVENTS, "x", "the namespace is being terminated"))
        recorder.event(POD, "Normal", "First", "1")
        recorder.event(POD, "Normal", "Second", "2")
        await recorder.flush()
    assert [body["reason"] for _, _, body in sink.writes] == ["Second"]


async def test_two_events_of_one_moment_have_two_names() -> None:
    async with recording() as (recorder, sink, _):
        recorder.event(POD, "Normal", "First", "1")
        recorder.event(POD, "Normal", "Second", "2")
        await recorder.flush()
    assert len({name for _, name, _ in sink.writes}) == 2


async def test_events_of_nodes_are_in_default_and_merged_ones_name_no_reporter() -> None:
    async with recording(host="") as (recorder, sink, clock):
        for number in range(10):
            recorder.event({"kind": "Node", "name": "n", "uid": "n", "apiVersion": "v1"}, "Normal", "Same", f"{number}")
            await clock.advance(0)
        await recorder.flush()
    first, last = sink.writes[0][2], sink.writes[-1][2]
    assert first["metadata"]["namespace"] == "default"
    assert first["source"] == {"component": "kubelet"}
    assert last["message"] == "(combined from similar events): 9"
    assert (last["reportingComponent"], first["reportingComponent"]) == ("", "kubelet")


async def test_a_full_queue_drops_instead_of_blocking() -> None:
    sink = EventSink()
    recorder = EventRecorder(client=sink, component="kubelet", clock=FakeClock())
    for number in range(1500):
        recorder.event(POD, "Normal", f"R{number}", "x")
    async with asyncio.TaskGroup() as group:
        running = group.create_task(recorder.run())
        await asyncio.sleep(0.05)
        running.cancel()
    assert 25 <= len(sink.writes) <= 1000


async def test_a_rate_of_nothing_is_no_limit() -> None:
    """eventRecordQPS: 0"""
    sink, clock = EventSink(), FakeClock()
    recorder = EventRecorder(client=sink, component="kubelet", clock=clock, writes_per_second=0, burst=1)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(recorder.run())
        for number in range(20):
            recorder.event(POD, "Normal", f"R{number}", "x")
        await recorder.flush()
        running.cancel()
    assert len(sink.writes) == 20


async def test_an_unknown_type_is_dropped() -> None:
    async with recording() as (recorder, sink, _):
        recorder.event(POD, "Fatal", "X", "x")
        await recorder.flush()
    assert sink.writes == []


async def test_flush_gives_up_after_its_timeout() -> None:
    async with recording() as (recorder, sink, _):
        sink.failures += [ApiUnreachableError("down")] * 5
        recorder.event(POD, "Normal", "First", "1")
        await recorder.flush(timeout_seconds=0.01)
    assert sink.writes == []


@asynccontextmanager
async def scheduling() -> AsyncIterator[tuple[EventSeriesRecorder, EventSink, FakeClock]]:
    sink, clock = EventSink(), FakeClock()
    recorder = EventSeriesRecorder(
        client=sink, controller="default-scheduler", instance="default-scheduler-n1", clock=clock
    )
    async with asyncio.TaskGroup() as group:
        running = group.create_task(recorder.run())
        yield recorder, sink, clock
        running.cancel()


async def test_the_schedulers_event_has_the_newer_form() -> None:
    async with scheduling() as (recorder, sink, _):
        recorder.event(POD, "Normal", "Scheduled", "Binding", "Successfully assigned ns/web to n1")
        await recorder.flush()
    assert sink.writes[0][2] == {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"web.{1_767_225_600_000_000_000:x}", "namespace": "ns"},
        "involvedObject": POD,
        "reason": "Scheduled",
        "message": "Successfully assigned ns/web to n1",
        "source": {},
        "firstTimestamp": None,
        "lastTimestamp": None,
        "type": "Normal",
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "action": "Binding",
        "reportingComponent": "default-scheduler",
        "reportingInstance": "default-scheduler-n1",
    }


async def test_a_series_is_written_at_its_second_event_and_when_it_went_quiet() -> None:
    async with scheduling() as (recorder, sink, clock):
        for _ in range(4):
            recorder.event(POD, "Warning", "FailedScheduling", "Scheduling", "no")
            await clock.advance(10)
        assert [verb for verb, _, _ in sink.writes] == ["POST", "PATCH"]
        assert sink.writes[1][2]["series"]["count"] == 2
        await clock.advance(500)
        assert sink.writes[2][2]["series"] == {"count": 4, "lastObservedTime": "2026-01-01T00:00:30.000000Z"}
        recorder.event(POD, "Warning", "FailedScheduling", "Scheduling", "no")
        await recorder.flush()
        assert sink.writes[3][0] == "POST"  # quiet for six minutes: a new series begins
