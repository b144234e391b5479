"""What happened lately to one kind, and who wants to know.

    commit ─▶ publish(event) ─▶ ring (replay for a watch that names a resourceVersion)
                             └▶ each Watcher's queue ─▶ its HTTP stream

A watch from a version older than the ring gets 410 Expired and lists again. An event is encoded once and its bytes
are shared by all watchers. A watcher that does not read is closed when its queue is full; its client resumes from
the last version it saw, so nothing is lost. A selector turns changes into ADDED or DELETED for its watcher.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from pullet.apiserver.records import Record
from pullet.base.values import Value
from pullet.kube.status import ExpiredError

EventType = Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]
RING_SIZE = 5_000
QUEUE_SIZE = 20_000

Matcher = Callable[[Record], bool]


@dataclass(frozen=True, slots=True)
class Change:
    """One committed write: the record before and after. `new` of a delete is the last state at the delete's version."""

    type: EventType
    new: Record
    old: Record | None
    frames: dict[object, bytes] = field(default_factory=dict, compare=False)  # encodings, shared by watchers

    @property
    def resource_version(self) -> int:
        """The version of the write."""
        return self.new.resource_version


class WatchEvent(Value):
    """What one watcher sees of a change."""

    type: EventType
    record: Record
    change: Change | None = None


class Watcher:
    """One watch: its matcher and its queue. `wait()` and `take()` by turns."""

    def __init__(self, matches: Matcher | None) -> None:
        self._matches = matches
        self._queue: deque[WatchEvent] = deque()
        self._ready = asyncio.Event()
        self.is_closed = False

    def offer(self, change: Change) -> None:
        """Queue what the watcher sees of a change; closes a watcher that has fallen too far behind."""
        event = self._seen(change)
        if event is not None:
            self.put(event)

    def put(self, event: WatchEvent) -> None:
        """Queue an event as it is."""
        if self.is_closed:
            return
        if len(self._queue) >= QUEUE_SIZE:
            self.close()
            return
        self._queue.append(event)
        self._ready.set()

    def close(self) -> None:
        """End the watch once what is queued has been read."""
        self.is_closed = True
        self._ready.set()

    async def wait(self) -> bool:
        """Wait until there is something to take; False: the watch has ended and all of it was taken."""
        while not self._queue and not self.is_closed:
            self._ready.clear()
            await self._ready.wait()
        return bool(self._queue)

    def take(self) -> list[WatchEvent]:
        """All queued events."""
        events = list(self._queue)
        self._queue.clear()
        return events

    def _seen(self, change: Change) -> WatchEvent | None:
        if self._matches is None:
            return WatchEvent(change.type, change.new, change)
        was = change.old is not None and self._matches(change.old)
        if change.type == "DELETED":
            return WatchEvent("DELETED", change.new, change) if was else None
        if self._matches(change.new):
            kind: EventType = "MODIFIED" if was else "ADDED"
            return WatchEvent(kind, change.new, change if kind == change.type else None)
        if was and change.old is not None:
            return WatchEvent("DELETED", change.old.at_version(change.resource_version))
        return None


class WatchCache:
    """The ring and the watchers of one kind.

    `known_version` is the last one the database had at the start, `first_version` where counting went on; a client
    that names one between them saw writes that were lost.
    """

    def __init__(self, *, known_version: int, first_version: int, size: int = RING_SIZE) -> None:
        self._ring: deque[Change] = deque()
        self._size = size
        self._oldest = known_version  # a watch from here or later misses nothing
        self._lost = range(known_version + 1, first_version)
        self._watchers: set[Watcher] = set()

    def publish(self, change: Change) -> None:
        """Remember the change and offer it to every watcher. Called in order of version."""
        if len(self._ring) == self._size:
            self._oldest = self._ring.popleft().resource_version
        self._ring.append(change)
        for watcher in tuple(self._watchers):
            watcher.offer(change)

    def since(self, resource_version: int) -> Iterator[Change]:
        """The changes after a version.

        Raises:
            ExpiredError: the ring no longer reaches back that far.
        """
        if resource_version < self._oldest or resource_version in self._lost:
            raise ExpiredError.watch(resource_version, self._oldest)
        return (change for change in tuple(self._ring) if change.resource_version > resource_version)

    def watch(self, matches: Matcher | None, resource_version: int | None) -> Watcher:
        """A watcher that replays from `resource_version` (None: only what comes now). No await between the two."""
        watcher = Watcher(matches)
        if resource_version is not None:
            for change in self.since(resource_version):
                watcher.offer(change)
        self._watchers.add(watcher)
        return watcher

    def forget(self, watcher: Watcher) -> None:
        """Stop offering to this watcher."""
        self._watchers.discard(watcher)

    def close(self) -> None:
        """End every watch."""
        for watcher in tuple(self._watchers):
            watcher.close()

    @property
    def watcher_count(self) -> int:
        """How many watch now."""
        return len(self._watchers)
