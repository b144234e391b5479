"""Records events about objects: never blocks who reports, merges repetitions, retries delivery.

    event() ──► queue of 1000 ──► correlate (policy.event_correlation) ──► POST or PATCH, in order
Two forms are written, as in a real cluster: `EventRecorder` the older one of kubelet and kube-controller-manager
(count, firstTimestamp, lastTimestamp), `event_series` the newer one of kube-scheduler.
Source: client-go tools/record/event.go; kubelet-images spec 20.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Mapping
from typing import Any

import msgspec

from pullet.base.decodable import decodable
from pullet.base.jsonvalue import JsonObject
from pullet.kit.clock import Clock
from pullet.kube.event import ObjectReferenceView
from pullet.kube.meta import format_time
from pullet.kube.scheme import EVENTS
from pullet.kube.status import ApiError, NotFoundError
from pullet.kubeclient.client import ApiClient
from pullet.kubeclient.errors import ApiUnreachableError
from pullet.policy.event_correlation import AGGREGATE_PREFIX, CreateEvent, Event, EventCorrelator, PatchEvent

log = logging.getLogger(__name__)

QUEUE_SIZE = 1000
_TRIES = 12
_RETRY_SECONDS = 10.0


class EventRecorder:
    """Events in the name of one component. `run()` delivers them; `flush()` before stopping it."""

    def __init__(
        self,
        *,
        client: ApiClient,
        component: str,
        clock: Clock,
        host: str = "",
        writes_per_second: float = 50.0,
        burst: int = 100,
        correlator: EventCorrelator | None = None,
    ) -> None:
        self._client = client
        self._component = component
        self._host = host
        self._clock = clock
        self._correlator = correlator or EventCorrelator()
        self._limit = _RateLimit(clock, writes_per_second, burst)
        self._queue: asyncio.Queue[Event] = asyncio.Queue(QUEUE_SIZE)
        self._last_stamp = 0

    def event(self, involved: Mapping[str, Any], type: str, reason: str, message: str) -> None:
        """Report that something happened to `involved`, a reference as `kube.meta.object_reference` makes it.

        Returns at once. Dropped, with a log line, when the queue is full or the type is neither Normal nor Warning.
        """
        if type not in ("Normal", "Warning"):
            log.error("event of unknown type dropped", extra={"type": type, "event_reason": reason})
            return
        now = self._clock.now()
        # two events of one object within a clock tick must not share a name
        self._last_stamp = max(int(now.timestamp() * 1_000_000) * 1000, self._last_stamp + 1)
        reference = msgspec.convert(dict(involved), decodable(ObjectReferenceView))
        event = Event(
            name=f"{reference.name}.{self._last_stamp:x}",
            involved=reference,
            type=type,
            reason=reason,
            message=message,
            component=self._component,
            host=self._host,
            first_at=now,
            last_at=now,
        )
        try:
            self._queue.put_nowait(event)
        except asyncio.QueueFull:
            log.warning("event dropped, queue is full", extra={"object": reference.name, "event_reason": reason})

    async def run(self) -> None:
        """Deliver events in order until cancelled."""
        while True:
            event = await self._queue.get()
            try:
                match self._correlator.correlate(event):
                    case CreateEvent(correlated):
                        await self._deliver(correlated, is_known=False)
                    case PatchEvent(correlated):
                        await self._deliver(correlated, is_known=True)
                    case None:
                        log.debug(
                            "event over budget", extra={"object": event.involved.name, "event_reason": event.reason}
                        )
            finally:
                self._queue.task_done()

    async def flush(self, timeout_seconds: float = 2.0) -> None:
        """Wait until everything reported so far was delivered or given up, but not longer than the timeout."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._queue.join()
        except TimeoutError:
            log.warning("events left undelivered", extra={"count": self._queue.qsize()})

    async def _deliver(self, event: Event, *, is_known: bool) -> None:
        for attempt in range(_TRIES):
            await self._limit.wait()
            try:
                await self._write(event, is_known=is_known)
                return
            except ApiUnreachableError as error:
                log.debug("event not delivered yet", extra={"object": event.involved.name, "error": str(error)})
            except ApiError as error:
                log.debug(
                    "event rejected",
                    extra={"object": event.involved.name, "event_reason": event.reason, "error": str(error)},
                )
                return
            if attempt + 1 < _TRIES:
                await self._clock.sleep(_RETRY_SECONDS * (random.random() if attempt == 0 else 1.0))
        log.error(
            "event given up after many tries",
            extra={"object": event.involved.name, "event_reason": event.reason, "event_message": event.message},
        )

    async def _write(self, event: Event, *, is_known: bool) -> None:
        namespace = event.involved.namespace or "default"
        if is_known:
            patch: JsonObject = {
                "count": event.count,
                "lastTimestamp": format_time(event.last_at),
                "message": event.message,
            }
            try:
                await self._client.patch(EVENTS, namespace, event.name, patch, kind="strategic")
                return
            except NotFoundError:
                pass  # expired meanwhile: write it anew
        await self._client.create(EVENTS, namespace, event_object(event))


def event_object(event: Event) -> JsonObject:
    """The core/v1 Event to create. Merged events name no reporter, as upstream's do."""
    is_merged = event.message.startswith(AGGREGATE_PREFIX)
    source = {"component": event.component} | ({"host": event.host} if event.host else {})
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": event.name, "namespace": event.involved.namespace or "default"},
        "involvedObject": reference_object(event.involved),
        "reason": event.reason,
        "message": event.message,
        "source": source,
        "firstTimestamp": format_time(event.first_at),
        "lastTimestamp": format_time(event.last_at),
        "count": event.count,
        "type": event.type,
        "eventTime": None,
        "reportingComponent": "" if is_merged else event.component,
        "reportingInstance": "" if is_merged else event.host,
    }


def reference_object(reference: ObjectReferenceView) -> JsonObject:
    """The reference as JSON, empty members left out."""
    return {name: value for name, value in msgspec.to_builtins(reference).items() if value}


class _RateLimit:
    """At most `per_second` passes on average, `burst` at once; 0 per second is no limit."""

    def __init__(self, clock: Clock, per_second: float, burst: int) -> None:
        self._clock = clock
        self._per_second = per_second
        self._burst = float(burst)
        self._tokens = float(burst)
        self._refilled_at = clock.monotonic()

    async def wait(self) -> None:
        if not self._per_second:
            return
        now = self._clock.monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._refilled_at) * self._per_second)
        self._refilled_at = now
        self._tokens -= 1.0
        if self._tokens < 0:
            await self._clock.sleep(-self._tokens / self._per_second)
