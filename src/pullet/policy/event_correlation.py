"""Which events are written, merged into older ones, or dropped: client-go's correlator as a pure state machine.

    event ──► aggregate ──► count ──► spam filter ──► create │ patch │ dropped
              10th distinct   same identity   25 at once, then one
              message         → count + 1     per 5 minutes

A dropped event is counted all the same, so the next one that gets through jumps.
Source: client-go tools/record/events_cache.go; kubelet-images spec 20.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from datetime import datetime, timedelta
from typing import Generic, TypeVar

import msgspec

from pullet.base.values import State, Value
from pullet.kube.event import ObjectReferenceView

AGGREGATE_AFTER_MESSAGES = 10
AGGREGATE_IDLE = timedelta(seconds=600)
SPAM_BURST = 25
SPAM_REFILL_SECONDS = 300.0
CACHE_SIZE = 4096
AGGREGATE_PREFIX = "(combined from similar events): "

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Event(Value, kw_only=True):
    """One thing that happened, as it would be written if nothing like it had happened before.

    The times are aware UTC; `name` is unique (`event_name`).
    """

    name: str
    involved: ObjectReferenceView
    type: str
    reason: str
    message: str
    component: str
    host: str
    first_at: datetime
    last_at: datetime
    count: int = 1

    @property
    def _object_key(self) -> tuple[str, ...]:
        involved = self.involved
        return (
            self.component, self.host, involved.kind, involved.namespace, involved.name, involved.uid,
            involved.api_version,
        )  # fmt: skip

    @property
    def group_key(self) -> tuple[str, ...]:
        """Events that differ only in message and field path."""
        return ("group", *self._object_key, self.type, self.reason)

    @property
    def identity_key(self) -> tuple[str, ...]:
        """The very same event."""
        return ("event", *self._object_key, self.involved.field_path, self.type, self.reason, self.message)

    def spam_key(self, *, by_type: bool) -> tuple[str, ...]:
        """Events that share one budget; releases up to about 1.30 did not tell types apart."""
        return ("spam", *self._object_key, self.type if by_type else "")


class CreateEvent(Value):
    """Write it as a new object."""

    event: Event


class PatchEvent(Value):
    """Patch count, lastTimestamp and message of the object of that name; answered 404, create it instead."""

    event: Event


def event_name(involved_name: str, now: datetime) -> str:
    """`<involved name>.<hex nanoseconds since the epoch>`, as client-go names events."""
    since_epoch = now - datetime.fromtimestamp(0, now.tzinfo)
    nanoseconds = (since_epoch // timedelta(microseconds=1)) * 1000
    return f"{involved_name}.{nanoseconds:x}"


class _Group(State):
    last_at: datetime
    messages: set[str] = msgspec.field(default_factory=set)


class _Seen(Value):
    name: str
    count: int
    first_at: datetime


class _Bucket(State):
    tokens: float
    refilled_at: datetime

    def take(self, now: datetime) -> bool:
        elapsed = max(0.0, (now - self.refilled_at).total_seconds())
        self.tokens = min(float(SPAM_BURST), self.tokens + elapsed / SPAM_REFILL_SECONDS)
        self.refilled_at = now
        if self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True


class EventCorrelator:
    """Remembers what was written. Not thread-safe; time is the event's `last_at`."""

    def __init__(self, *, spam_by_type: bool = True) -> None:
        self._spam_by_type = spam_by_type
        self._groups: _LRU[tuple[str, ...], _Group] = _LRU(CACHE_SIZE)
        self._seen: _LRU[tuple[str, ...], _Seen] = _LRU(CACHE_SIZE)
        self._buckets: _LRU[tuple[str, ...], _Bucket] = _LRU(CACHE_SIZE)

    def correlate(self, event: Event) -> CreateEvent | PatchEvent | None:
        """What to write for this event; None: nothing (the spam filter's budget is used up)."""
        merged, identity = self._aggregate(event)
        counted, is_known = self._count(merged, identity)
        if not self._is_within_budget(event):
            return None
        return PatchEvent(counted) if is_known else CreateEvent(counted)

    def _aggregate(self, event: Event) -> tuple[Event, tuple[str, ...]]:
        now = event.last_at
        group = self._groups.get(event.group_key)
        if group is None or now - group.last_at > AGGREGATE_IDLE:
            group = _Group(now)
        group.messages.add(event.message)
        group.last_at = now
        self._groups.put(event.group_key, group)
        if len(group.messages) < AGGREGATE_AFTER_MESSAGES:
            return event, event.identity_key
        group.messages.pop()  # any one: the set stays one short of the limit
        return msgspec.structs.replace(event, message=AGGREGATE_PREFIX + event.message, first_at=now), event.group_key

    def _count(self, event: Event, identity: tuple[str, ...]) -> tuple[Event, bool]:
        seen = self._seen.get(identity)
        if seen is not None:
            event = msgspec.structs.replace(event, name=seen.name, first_at=seen.first_at, count=seen.count + 1)
        self._seen.put(identity, _Seen(event.name, event.count, event.first_at))
        return event, seen is not None

    def _is_within_budget(self, event: Event) -> bool:
        key = event.spam_key(by_type=self._spam_by_type)
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = _Bucket(float(SPAM_BURST), event.last_at)
        is_within = bucket.take(event.last_at)
        self._buckets.put(key, bucket)
        return is_within


class _LRU(Generic[K, V]):
    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K) -> V | None:
        if key not in self._entries:
            return None
        self._entries.move_to_end(key)
        return self._entries[key]

    def put(self, key: K, value: V) -> None:
        self._entries[key] = value
        self._entries.move_to_end(key)
        while len(self._entries) > self._size:
            self._entries.popitem(last=False)
