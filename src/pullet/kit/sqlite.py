"""SQLite in WAL mode: one writer at a time, readers beside it, schema by numbered migrations.

All calls may be made from worker threads (`*_blocking`) or from the loop (`write`, `read`), which hop to a
small pool of their own. A write function runs inside one transaction: it all happens or none of it.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, TypeVar

from pullet.base.errors import PulletError
from pullet.kit.worker_threads import WorkerThreads

T = TypeVar("T")


class SchemaTooNewError(PulletError):
    """The database was written by a newer pullet."""

    reason = "SchemaTooNew"


class Database:
    """One SQLite file. `migrations[i]` is the SQL script that takes the schema from version i to i + 1."""

    def __init__(
        self,
        path: Path,
        migrations: Sequence[str],
        *,
        synchronous: Literal["NORMAL", "FULL"] = "NORMAL",
        page_bytes: int = 4096,
    ) -> None:
        """Open and migrate. Blocking.

        A change writes whole pages: small rows that change one at a time want small pages. A file keeps those it was
        made with.

        Raises:
            SchemaTooNewError: user_version is beyond the migrations known here.
        """
        self._path = path
        self._synchronous, self._page_bytes = synchronous, page_bytes
        self._write_lock = threading.Lock()
        self._readers: list[sqlite3.Connection] = []
        self._readers_lock = threading.Lock()
        self._threads = WorkerThreads(f"sqlite-{path.stem}", 2)
        self._writer = self._connect()
        self._migrate(migrations)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, check_same_thread=False, isolation_level=None, timeout=30.0)
        connection.execute(f"PRAGMA page_size={self._page_bytes}")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={self._synchronous}")
        connection.execute("PRAGMA foreign_keys=ON")
        return connection

    def _migrate(self, migrations: Sequence[str]) -> None:
        (version,) = self._writer.execute("PRAGMA user_version").fetchone()
        if version > len(migrations):
            self.close()
            raise SchemaTooNewError(
                f"{self._path} has schema version {version}, "
                f"this pullet knows up to {len(migrations)}: use a newer pullet"
            )
        for number in range(version, len(migrations)):
            self._writer.executescript(f"BEGIN;{migrations[number]};PRAGMA user_version={number + 1};COMMIT;")

    def write_blocking(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work(connection)` in one IMMEDIATE transaction; an exception rolls it back."""
        with self._write_lock:
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                result = work(self._writer)
            except BaseException:
                self._writer.execute("ROLLBACK")
                raise
            self._writer.execute("COMMIT")
            return result

    def read_blocking(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work(connection)` on a reader; it sees the last committed state."""
        with self._readers_lock:
            connection = self._readers.pop() if self._readers else None
        if connection is None:
            connection = self._connect()
        try:
            return work(connection)
        finally:
            with self._readers_lock:
                self._readers.append(connection)

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """`write_blocking` off the loop."""
        return await self._threads.run(self.write_blocking, work)

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """`read_blocking` off the loop."""
        return await self._threads.run(self.read_blocking, work)

    def close(self) -> None:
        """Close all connections; calls under way end first."""
        self._threads.close()
        with self._write_lock:
            self._writer.close()
        with self._readers_lock:
            for connection in self._readers:
                connection.close()
            self._readers.clear()
