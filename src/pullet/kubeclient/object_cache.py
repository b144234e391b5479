"""The objects of one collection as last heard of, with indexes, and a stream of changes for each reader.

Readers never slow each other down: each subscription holds at most one pending change per object and merges later
ones into it, so its size is bounded by the number of objects.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, Self, TypeAlias

from pullet.base.jsonvalue import JsonObject
from pullet.base.values import Value
from pullet.kube.meta import name_of, namespace_of, resource_version_of, uid_of

Key: TypeAlias = tuple[str, str]  # namespace (empty for cluster-scoped objects), name
Indexer: TypeAlias = Callable[[JsonObject], Iterable[str]]


def key_of(obj: JsonObject) -> Key:
    """Namespace and name of an object."""
    return namespace_of(obj), name_of(obj)


class Change(Value):
    """What happened to one object since the reader last looked: `old` is what it saw then, None if nothing.

    `object` is the newest state; of a DELETED one, the last known. An object made again under the same name is a
    DELETED of the old uid and an ADDED of the new one.
    """

    type: Literal["ADDED", "MODIFIED", "DELETED"]
    object: JsonObject
    old: JsonObject | None = None

    @property
    def key(self) -> Key:
        """Namespace and name."""
        return key_of(self.object)


class Subscription:
    """Changes for one reader, in order of the objects' first pending change. Close it when done."""

    def __init__(self, initial: Iterable[Change], on_close: Callable[[Subscription], None]) -> None:
        self._pending: dict[str, Change] = {uid_of(change.object): change for change in initial}
        self._wake = asyncio.Event()
        self._on_close = on_close
        self._is_closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Change:
        while not self._pending:
            if self._is_closed:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()
        return self._pending.pop(next(iter(self._pending)))

    def offer(self, change: Change) -> None:
        """Add a change, or merge it into the pending one of the same object."""
        uid = uid_of(change.object)
        pending = self._pending.get(uid)
        if pending is not None:
            seen: Literal["ADDED", "MODIFIED"] = "ADDED" if pending.old is None else "MODIFIED"
            change = Change("DELETED" if change.type == "DELETED" else seen, change.object, pending.old)
        self._pending[uid] = change
        self._wake.set()

    def close(self) -> None:
        """End the iteration once what is pending was read; no more changes come."""
        self._is_closed = True
        self._on_close(self)
        self._wake.set()


class ObjectCache:
    """Objects by namespace and name, found also through `indexers`, each naming the index values of an object.

    Objects handed out are shared: read them, copy before changing.
    """

    def __init__(self, indexers: Mapping[str, Indexer] | None = None) -> None:
        self._objects: dict[Key, JsonObject] = {}
        self._indexers = dict(indexers or {})
        self._indexes: dict[str, dict[str, dict[Key, None]]] = {name: {} for name in self._indexers}
        self._subscriptions: list[Subscription] = []

    def get(self, namespace: str, name: str) -> JsonObject | None:
        """The object, if known."""
        return self._objects.get((namespace, name))

    def list(self, namespace: str | None = None) -> Sequence[JsonObject]:
        """All objects, or those of one namespace."""
        return [obj for key, obj in self._objects.items() if namespace is None or key[0] == namespace]

    def by_index(self, index: str, value: str) -> Sequence[JsonObject]:
        """The objects for which the indexer `index` named `value`."""
        return [self._objects[key] for key in self._indexes[index].get(value, ())]

    def __len__(self) -> int:
        return len(self._objects)

    def subscribe(self) -> Subscription:
        """Changes from now on, beginning with an ADDED for everything known."""
        subscription = Subscription([Change("ADDED", obj) for obj in self._objects.values()], self._forget_reader)
        self._subscriptions.append(subscription)
        return subscription

    def put(self, obj: JsonObject) -> None:
        """Store an object as its newest state; the same resourceVersion again is no change."""
        key = key_of(obj)
        old = self._objects.get(key)
        if old is not None and uid_of(old) != uid_of(obj):
            self.remove(key, old)
            old = None
        if old is not None and resource_version_of(old) == resource_version_of(obj):
            return
        if old is not None:
            self._unindex(key, old)
        self._objects[key] = obj
        for name, indexer in self._indexers.items():
            for value in indexer(obj):
                self._indexes[name].setdefault(value, {})[key] = None
        self._publish(Change("MODIFIED" if old is not None else "ADDED", obj, old))

    def remove(self, key: Key, last: JsonObject | None = None) -> None:
        """Drop an object; `last` is its final state when that is known."""
        old = self._objects.pop(key, None)
        if old is not None:
            self._unindex(key, old)
            self._publish(Change("DELETED", last or old, old))

    def replace(self, objects: Iterable[JsonObject]) -> None:
        """Make `objects` all there is."""
        fresh = {key_of(obj): obj for obj in objects}
        for key in [key for key in self._objects if key not in fresh]:
            self.remove(key)
        for obj in fresh.values():
            self.put(obj)

    def _unindex(self, key: Key, obj: JsonObject) -> None:
        for name, indexer in self._indexers.items():
            index = self._indexes[name]
            for value in indexer(obj):
                found = index.get(value)
                if found is not None:
                    found.pop(key, None)
                    if not found:
                        del index[value]

    def _publish(self, change: Change) -> None:
        for subscription in self._subscriptions:
            subscription.offer(change)

    def _forget_reader(self, subscription: Subscription) -> None:
        self._subscriptions.remove(subscription)
