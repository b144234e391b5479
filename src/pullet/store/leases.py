"""Marks that something is in use, so that garbage collection leaves it.

A durable lease belongs to an owner that outlives the process (a container, a sandbox, a snapshot) and stays until
`release`. A held lease belongs to work of this process (a pull under way); those a crash left are dropped at open.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum

from pullet.kit.clock import Clock
from pullet.kit.sqlite import Database
from pullet.store.metadata import to_text

_HELD = "held/"


class LeaseKind(StrEnum):
    """What a lease is on. The key is the image id, DiffID, content digest or snapshot key."""

    IMAGE = "image"
    LAYER = "layer"
    CONTENT = "content"
    SNAPSHOT = "snapshot"


class Leases:
    """Leases by owner. All methods block briefly and may be called from any thread."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock
        self._numbers = itertools.count(1)
        database.write_blocking(lambda db: db.execute("DELETE FROM leases WHERE owner GLOB ?", (_HELD + "*",)))

    def acquire(self, owner: str, kind: LeaseKind, keys: Iterable[str]) -> None:
        """Add leases of `owner`, all or none; those it has already stay as they are."""
        now = to_text(self._clock.now())
        rows = [(owner, kind.value, str(key), now) for key in keys]

        def add(db: sqlite3.Connection) -> None:
            db.executemany("INSERT OR IGNORE INTO leases(owner, kind, key, created_at) VALUES (?, ?, ?, ?)", rows)

        self._database.write_blocking(add)

    def release(self, owner: str) -> None:
        """Drop everything `owner` holds; an unknown owner is no error."""
        self._database.write_blocking(lambda db: db.execute("DELETE FROM leases WHERE owner = ?", (owner,)))

    def make_held_owner(self) -> str:
        """A new owner for work of this process. It holds nothing yet, so an owner that is dropped costs nothing."""
        return f"{_HELD}{next(self._numbers)}"

    @contextmanager
    def hold(self, kind: LeaseKind, keys: Iterable[str]) -> Iterator[str]:
        """Hold leases for the block, under an owner made for it, which is given so that more can be acquired."""
        owner = self.make_held_owner()
        self.acquire(owner, kind, keys)
        try:
            yield owner
        finally:
            self.release(owner)

    def owners(self, kind: LeaseKind, key: str) -> tuple[str, ...]:
        """Who holds `key`."""
        return self._database.read_blocking(
            lambda db: tuple(
                owner
                for (owner,) in db.execute(
                    "SELECT owner FROM leases WHERE kind = ? AND key = ? ORDER BY owner", (kind.value, str(key))
                )
            )
        )

    def keys(self, kind: LeaseKind) -> frozenset[str]:
        """Every key of `kind` that somebody holds."""
        return self._database.read_blocking(
            lambda db: frozenset(key for (key,) in db.execute("SELECT key FROM leases WHERE kind = ?", (kind.value,)))
        )
