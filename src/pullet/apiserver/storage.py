"""All objects: in memory as immutable records, behind them SQLite, in front of them the watch caches.

One resourceVersion counter for everything, never reused: it is committed with each write, and a start skips ahead of
what a power loss could have taken back. Writes come one at a time from `Storage.transaction`:

    async with storage.transaction() as tx:      # nobody else writes until the block ends
        tx.put(key, obj) / tx.remove(key, name)  # collected
    # here: committed to SQLite, then visible to reads, then published to watchers; or nothing of it

Readers never wait: they see the last committed records.
"""

from __future__ import annotations

import asyncio
import sqlite3
from bisect import bisect_left, insort
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from pullet.apiserver.records import Record, object_key
from pullet.apiserver.watch_cache import Change, WatchCache
from pullet.base.jsonvalue import JsonObject
from pullet.kit import faults
from pullet.kit.sqlite import Database

MIGRATIONS = (
    """
    CREATE TABLE objects (
        resource TEXT NOT NULL, key TEXT NOT NULL, version INTEGER NOT NULL, object BLOB NOT NULL,
        PRIMARY KEY (resource, key)
    ) WITHOUT ROWID;
    CREATE TABLE counter (version INTEGER NOT NULL);
    INSERT INTO counter VALUES (0);
    """,
)
# synchronous=NORMAL may lose the last commits at a power loss; versions they had given out must not come again
_VERSIONS_SKIPPED_AT_START = 1_000


class _Kind:
    """The live records of one kind, with their keys in listing order."""

    __slots__ = ("cache", "keys", "lists", "records")

    def __init__(self, known_version: int, first_version: int) -> None:
        self.records: dict[str, Record] = {}
        self.keys: list[str] = []
        self.lists: dict[str, Sequence[Record]] = {}  # by namespace, made when asked for
        self.cache = WatchCache(known_version=known_version, first_version=first_version)

    def put(self, record: Record) -> None:
        if record.key not in self.records:
            insort(self.keys, record.key)
        self.records[record.key] = record
        self.lists.clear()

    def remove(self, key: str) -> None:
        del self.records[key]
        del self.keys[bisect_left(self.keys, key)]
        self.lists.clear()

    def list(self, namespace: str) -> Sequence[Record]:
        found = self.lists.get(namespace)
        if found is None:
            keys = self.keys
            first = bisect_left(keys, f"{namespace}/") if namespace else 0
            end = bisect_left(keys, f"{namespace}0") if namespace else len(keys)  # "0" comes after "/"
            found = self.lists[namespace] = tuple(self.records[key] for key in keys[first:end])
        return found


class Transaction:
    """Writes collected for one commit. Reads through `get` see them."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._next = storage.resource_version
        self.changes: list[tuple[str, Change]] = []

    def get(self, storage_key: str, namespace: str, name: str) -> Record | None:
        """The record as this transaction sees it."""
        key = object_key(namespace, name)
        for resource, change in reversed(self.changes):
            if resource == storage_key and change.new.key == key:
                return None if change.type == "DELETED" else change.new
        return self._storage.get(storage_key, namespace, name)

    def put(self, storage_key: str, obj: JsonObject) -> Record:
        """Create or replace; `obj` is taken over and gets its resourceVersion."""
        meta = obj["metadata"]
        old = self.get(storage_key, meta.get("namespace") or "", meta["name"])
        self._next += 1
        record = Record.of(obj, self._next)
        self.changes.append((storage_key, Change("MODIFIED" if old else "ADDED", record, old)))
        return record

    def remove(self, storage_key: str, record: Record) -> Record:
        """Delete; the record that watchers see, at the delete's own version."""
        self._next += 1
        last = record.at_version(self._next)
        self.changes.append((storage_key, Change("DELETED", last, record)))
        return last

    @property
    def resource_version(self) -> int:
        """The version after the writes so far."""
        return self._next


class Storage:
    """Opened with `open`, closed with `close`. See the module's words for the life of a write."""

    def __init__(self, database: Database, rows: Iterable[tuple[str, int, bytes]], version: int) -> None:
        self._database = database
        self._lock = asyncio.Lock()
        self._known_version = version
        self._first_version = version + _VERSIONS_SKIPPED_AT_START
        self.resource_version = self._first_version
        self._kinds: dict[str, _Kind] = {}
        for resource, row_version, data in rows:
            obj = msgspec.json.decode(data)
            self._kind(resource).put(Record(_key_of(obj), row_version, obj, data))

    @classmethod
    def open(cls, path: Path) -> Storage:
        """Read everything into memory. Blocking."""
        database = Database(path, MIGRATIONS)

        def load(connection: sqlite3.Connection) -> tuple[list[tuple[str, int, bytes]], int]:
            rows = connection.execute("SELECT resource, version, object FROM objects").fetchall()
            (version,) = connection.execute("SELECT version FROM counter").fetchone()
            return rows, version

        def skip(connection: sqlite3.Connection) -> None:
            connection.execute("UPDATE counter SET version = version + ?", (_VERSIONS_SKIPPED_AT_START,))

        try:
            rows, version = database.read_blocking(load)
            database.write_blocking(skip)
            return cls(database, rows, version)
        except BaseException:
            database.close()
            raise

    def close(self) -> None:
        """End all watches and close the database. Blocking."""
        for kind in self._kinds.values():
            kind.cache.close()
        self._database.close()

    def close_watches(self) -> None:
        """End all watches, so that their streams finish."""
        for kind in self._kinds.values():
            kind.cache.close()

    def _kind(self, storage_key: str) -> _Kind:
        kind = self._kinds.get(storage_key)
        if kind is None:
            kind = self._kinds[storage_key] = _Kind(self._known_version, self._first_version)
        return kind

    def cache(self, storage_key: str) -> WatchCache:
        """The watch cache of a kind."""
        return self._kind(storage_key).cache

    def get(self, storage_key: str, namespace: str, name: str) -> Record | None:
        """The record as last committed."""
        return self._kind(storage_key).records.get(object_key(namespace, name))

    def list(self, storage_key: str, namespace: str = "") -> Sequence[Record]:
        """The records of one namespace, or of all, in listing order; the same sequence until the kind changes."""
        return self._kind(storage_key).list(namespace)

    def list_at(self, storage_key: str, version: int) -> Sequence[Record]:
        """The records of all namespaces as they were at a version.

        Raises:
            ExpiredError: that is longer ago than the kind's changes are kept.
        """
        kind = self._kind(storage_key)
        changes = list(kind.cache.since(version))
        if not changes:
            return kind.list("")
        records = dict(kind.records)
        for change in reversed(changes):
            if change.old is None:
                del records[change.new.key]
            else:
                records[change.old.key] = change.old
        return tuple(records[key] for key in sorted(records))

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Alone among writers for the block; commits at its end, drops everything on an exception."""
        async with self._lock:
            transaction = Transaction(self)
            yield transaction
            if transaction.changes:
                await self._commit(transaction)

    async def _commit(self, transaction: Transaction) -> None:
        upserts: list[tuple[str, str, int, bytes]] = []
        deletes: list[tuple[str, str]] = []
        for storage_key, change in transaction.changes:
            if change.type == "DELETED":
                deletes.append((storage_key, change.new.key))
                upserts = [row for row in upserts if (row[0], row[1]) != (storage_key, change.new.key)]
            else:
                deletes = [row for row in deletes if row != (storage_key, change.new.key)]
                upserts.append((storage_key, change.new.key, change.new.resource_version, change.new.encoded))
        version = transaction.resource_version

        def write(connection: sqlite3.Connection) -> None:
            if deletes:
                connection.executemany("DELETE FROM objects WHERE resource = ? AND key = ?", deletes)
            if upserts:
                connection.executemany("INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?)", upserts)
            connection.execute("UPDATE counter SET version = ?", (version,))
            faults.hit("apiserver.commit")

        # only the end of the server cancels a write; committed or not, the next start reads what is there
        await self._database.write(write)
        self.resource_version = version
        for storage_key, change in transaction.changes:
            kind = self._kind(storage_key)
            if change.type == "DELETED":
                kind.remove(change.new.key)
            else:
                kind.put(change.new)
            kind.cache.publish(change)


def _key_of(obj: JsonObject) -> str:
    meta = obj["metadata"]
    return object_key(meta.get("namespace") or "", meta["name"])
