"""Events as kube-scheduler writes them: eventTime, action and, when repeated, a series instead of a count.

The first repetition is written at once; later ones are counted here and written when the series is 30 minutes old
or has been quiet for 6. Source: client-go tools/events/{event_recorder,event_broadcaster}.go.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from pullet.base.jsonvalue import JsonObject
from pullet.base.values import State
from pullet.kit.clock import Clock
from pullet.kube.meta import format_micro_time
from pullet.kube.scheme import EVENTS
from pullet.kube.status import ApiError, NotFoundError
from pullet.kubeclient.client import ApiClient

log = logging.getLogger(__name__)

_QUEUE_SIZE = 1000
_QUIET_SECONDS = 360.0
_REFRESH_SECONDS = 1800.0


class _Series(State):
    event: JsonObject
    last_seen: float
    last_written: float
    count: int = 1
    written_count: int = 1


class EventSeriesRecorder:
    """Events in the name of `controller` (reportingComponent), from `instance`. `run()` delivers them."""

    def __init__(self, *, client: ApiClient, controller: str, instance: str, clock: Clock) -> None:
        self._client = client
        self._controller = controller
        self._instance = instance
        self._clock = clock
        self._queue: asyncio.Queue[JsonObject] = asyncio.Queue(_QUEUE_SIZE)
        self._series: dict[tuple[str, ...], _Series] = {}
        self._last_stamp = 0

    def event(self, regarding: Mapping[str, Any], type: str, reason: str, action: str, note: str) -> None:
        """Report; returns at once, drops when 1000 wait."""
        now = self._clock.now()
        self._last_stamp = max(int(now.timestamp() * 1_000_000) * 1000, self._last_stamp + 1)
        namespace = regarding.get("namespace") or "default"
        event: JsonObject = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{regarding['name']}.{self._last_stamp:x}", "namespace": namespace},
            "involvedObject": dict(regarding),
            "reason": reason,
            "message": note,
            "source": {},
            "firstTimestamp": None,
            "lastTimestamp": None,
            "type": type,
            "eventTime": format_micro_time(now),
            "action": action,
            "reportingComponent": self._controller,
            "reportingInstance": self._instance,
        }
        try:
            self._queue.put_nowait(event)
        except asyncio.QueueFull:
            log.warning("event dropped, queue is full", extra={"object": regarding["name"], "event_reason": reason})

    async def run(self) -> None:
        """Deliver until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._deliver_all(), name=f"{self._controller}/events")
            group.create_task(self._tend_series(), name=f"{self._controller}/event-series")

    async def flush(self, timeout_seconds: float = 2.0) -> None:
        """Wait until everything reported so far was delivered or given up, but not longer than the timeout."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._queue.join()
        except TimeoutError:
            log.warning("events left undelivered", extra={"count": self._queue.qsize()})

    async def _deliver_all(self) -> None:
        while True:
            event = await self._queue.get()
            try:
                await self._deliver(event)
            except ApiError as error:
                log.debug("event rejected", extra={"event": event["metadata"]["name"], "error": str(error)})
            finally:
                self._queue.task_done()

    async def _deliver(self, event: JsonObject) -> None:
        key = _identity(event)
        series = self._series.get(key)
        now = self._clock.monotonic()
        if series is None:
            self._series[key] = _Series(event, now, now)
            await self._client.create(EVENTS, event["metadata"]["namespace"], event)
            return
        series.count += 1
        series.last_seen = now
        series.event["series"] = {"count": series.count, "lastObservedTime": event["eventTime"]}
        if series.count == 2:
            await self._write(series)

    async def _tend_series(self) -> None:
        while True:
            await self._clock.sleep(60.0)
            now = self._clock.monotonic()
            for key, series in list(self._series.items()):
                is_quiet = now - series.last_seen >= _QUIET_SECONDS
                if series.count > series.written_count and (is_quiet or now - series.last_written >= _REFRESH_SECONDS):
                    try:
                        await self._write(series)
                    except ApiError as error:
                        log.debug("event series not written", extra={"error": str(error)})
                if is_quiet:
                    self._series.pop(key, None)

    async def _write(self, series: _Series) -> None:
        meta = series.event["metadata"]
        series.last_written, series.written_count = self._clock.monotonic(), series.count
        try:
            await self._client.patch(EVENTS, meta["namespace"], meta["name"], {"series": series.event["series"]})
        except NotFoundError:
            await self._client.create(EVENTS, meta["namespace"], series.event)


def _identity(event: JsonObject) -> tuple[str, ...]:
    regarding = event["involvedObject"]
    about = tuple(str(regarding.get(field, "")) for field in ("kind", "namespace", "name", "uid", "fieldPath"))
    return (*about, event["type"], event["reason"], event["action"], event["message"], event["reportingComponent"])
