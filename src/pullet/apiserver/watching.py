"""watch: replay, then follow; as JSON events or as Tables; bookmarks and the end of a watch's time.

One keeper ticks for all watches: it sends bookmarks and ends those whose time is over.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

from pullet.apiserver.list_options import ListOptions
from pullet.apiserver.reading import Reader, Selection
from pullet.apiserver.records import Record, encode_json
from pullet.apiserver.routing import RequestInfo
from pullet.apiserver.settings import ApiServerSettings
from pullet.apiserver.storage import Storage
from pullet.apiserver.tables import table_of
from pullet.apiserver.views import view_of
from pullet.apiserver.watch_cache import Watcher, WatchEvent
from pullet.base.jsonvalue import JsonObject
from pullet.base.values import State, Value
from pullet.kit.clock import Clock
from pullet.kube.scheme import Resource
from pullet.kube.status import ApiError

_TICK_SECONDS = 1.0
_INITIAL_END = "k8s.io/initial-events-end"
_BATCH_BYTES = 256 * 1024
_SECONDS_PER_DELIVERY = 50e-6  # about what one more write to one more socket costs
_LONGEST_PAUSE_SECONDS = 0.02


class TableForm(Value):
    """Events as Tables: which objects the rows carry."""

    include_object: str
    api_version: str


class _Kept(State):
    resource: Resource
    ends_at: float
    bookmark_at: float | None


class WatchKeeper:
    """Opens watches and keeps their time."""

    def __init__(self, *, storage: Storage, clock: Clock, settings: ApiServerSettings, reader: Reader) -> None:
        self._storage = storage
        self._clock = clock
        self._settings = settings
        self._reader = reader
        self._kept: dict[Watcher, _Kept] = {}

    async def run(self) -> None:
        """Tick until cancelled."""
        while True:
            await self._clock.sleep(_TICK_SECONDS)
            now = self._clock.monotonic()
            for watcher, kept in tuple(self._kept.items()):
                if kept.bookmark_at is not None and (now >= kept.bookmark_at or now >= kept.ends_at):
                    watcher.put(self._bookmark(kept.resource))
                    kept.bookmark_at = now + self._settings.bookmark_interval_seconds
                if now >= kept.ends_at:
                    watcher.close()

    def open(self, request: RequestInfo) -> Watcher:
        """A watcher that has queued what the client has missed.

        Raises:
            BadRequestError, InvalidError: options that make no sense. ExpiredError: the version is too old.
        """
        selection = Selection.of(request)
        options = ListOptions.of(request.query, is_watch=True)
        asked = options.resource_version or 0
        self._reader.check_version(asked)
        wants_bookmarks = options.allows_bookmarks
        sends_initial = options.sends_initial_events
        cache = self._storage.cache(request.resource.storage_key)
        must_list = sends_initial or (asked == 0 and sends_initial is None)
        watcher = cache.watch(selection.matcher, None if must_list or not asked else asked)
        if must_list:
            matches = selection.matcher
            for record in self._storage.list(request.resource.storage_key, request.namespace):
                if matches is None or matches(record):
                    watcher.put(WatchEvent("ADDED", record))
            if sends_initial and wants_bookmarks:
                watcher.put(self._bookmark(request.resource, {_INITIAL_END: "true"}))
        now = self._clock.monotonic()
        interval = self._settings.bookmark_interval_seconds
        self._kept[watcher] = _Kept(
            request.resource, now + self._timeout(options), now + interval if wants_bookmarks else None
        )
        return watcher

    def close(self, resource: Resource, watcher: Watcher) -> None:
        """Forget a watch whose client is gone."""
        self._kept.pop(watcher, None)
        self._storage.cache(resource.storage_key).forget(watcher)

    def _timeout(self, options: ListOptions) -> float:
        if options.timeout_seconds:
            return float(options.timeout_seconds)
        return self._settings.min_request_timeout_seconds * (1.0 + random.random())

    def _bookmark(self, resource: Resource, annotations: dict[str, str] | None = None) -> WatchEvent:
        meta: JsonObject = {"resourceVersion": str(self._storage.resource_version), "creationTimestamp": None}
        if annotations:
            meta["annotations"] = annotations
        obj = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": meta}
        return WatchEvent("BOOKMARK", Record("", self._storage.resource_version, obj, encode_json(obj)))

    async def stream(self, resource: Resource, watcher: Watcher, table: TableForm | None) -> AsyncIterator[bytes]:
        """The watch as lines of JSON, several to a chunk when they come fast."""
        encode = self._encoder(resource, table)
        cache = self._storage.cache(resource.storage_key)
        sent_at = 0.0
        try:
            while await watcher.wait():
                pause = sent_at + cache.watcher_count * _SECONDS_PER_DELIVERY - self._clock.monotonic()
                if pause > 0:  # in a burst, what comes meanwhile goes along; a single event never waits
                    await self._clock.sleep(min(pause, _LONGEST_PAUSE_SECONDS))
                events = watcher.take()
                sent_at = self._clock.monotonic()
                chunk = bytearray()
                for event in events:
                    chunk += encode(event)
                    if len(chunk) > _BATCH_BYTES:
                        yield bytes(chunk)
                        chunk.clear()
                if chunk:
                    yield bytes(chunk)
        finally:
            self.close(resource, watcher)

    def _encoder(self, resource: Resource, table: TableForm | None) -> _Encoder:
        return _Encoder(resource, table, self._clock)


async def failed_watch(error: ApiError) -> AsyncIterator[bytes]:
    """A watch that tells why it is none, and ends."""
    yield encode_json({"type": "ERROR", "object": error.to_status()}) + b"\n"


class _Encoder:
    """Turns events into lines. A line that is the same for all watchers is made once and kept with its change."""

    def __init__(self, resource: Resource, table: TableForm | None, clock: Clock) -> None:
        self._resource = resource
        self._table = table
        self._clock = clock
        self._is_first = True

    def __call__(self, event: WatchEvent) -> bytes:
        if self._table is not None:
            return self._table_line(event, self._table)
        if event.change is None:
            return _line(self._resource, event)
        key = self._resource.group_version
        line = event.change.frames.get(key)
        if line is None:
            line = event.change.frames[key] = _line(self._resource, event)
        return line

    def _table_line(self, event: WatchEvent, form: TableForm) -> bytes:
        if event.type == "BOOKMARK":
            table: JsonObject = {
                "kind": "Table",
                "apiVersion": form.api_version,
                "metadata": {"resourceVersion": str(event.record.resource_version)},
                "columnDefinitions": None,
                "rows": [{"cells": [], "object": {**event.record.obj, "kind": "PartialObjectMetadata",
                                                  "apiVersion": form.api_version}}],
            }  # fmt: skip
        else:
            table = table_of(
                self._resource,
                [event.record.obj],
                now=self._clock.now(),
                metadata={"resourceVersion": str(event.record.resource_version)},
                include_object=form.include_object,
                with_columns=self._is_first,
                api_version=form.api_version,
            )
            self._is_first = False
        return encode_json({"type": event.type, "object": table}) + b"\n"


def _line(resource: Resource, event: WatchEvent) -> bytes:
    shown = view_of(resource, event.record.obj)
    encoded = event.record.encoded if shown is event.record.obj else encode_json(shown)
    return b'{"type":"%s","object":%s}\n' % (event.type.encode(), encoded)
