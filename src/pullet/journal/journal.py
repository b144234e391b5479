"""The journal: every ensure-image pass of a node, appended to one SQLite file and never changed.

The oldest entries go when there are more than `retention`. The journal explains; it never stands in the way: an
entry that cannot be written (disk full) is logged and dropped.
"""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path
from typing import Self

import msgspec

from pullet.base.decodable import decodable
from pullet.journal.pass_record import PassRecord
from pullet.kit.sqlite import Database

log = logging.getLogger(__name__)

DEFAULT_RETENTION = 20_000  # entries; a few hundred bytes each

_MIGRATIONS = (
    """
    CREATE TABLE passes (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        at TEXT NOT NULL,
        namespace TEXT NOT NULL,
        pod TEXT NOT NULL,
        pod_uid TEXT NOT NULL,
        container TEXT NOT NULL,
        image TEXT NOT NULL,
        outcome TEXT NOT NULL,
        body BLOB NOT NULL
    );
    CREATE INDEX passes_by_pod ON passes (namespace, pod, id);
    """,
)


class Journal:
    """Appends and reads passes. `open` and `close` block; the rest hops off the loop."""

    def __init__(self, database: Database, *, retention: int) -> None:
        self._database, self._retention = database, retention

    @classmethod
    def open(cls, path: Path, *, retention: int = DEFAULT_RETENTION) -> Self:
        """The journal in the file `path`, made if absent, with its directory. Blocking.

        Raises:
            SchemaTooNewError: a newer pullet wrote it.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        return cls(Database(path, _MIGRATIONS), retention=retention)

    def close(self) -> None:
        """Close the file. Blocking."""
        self._database.close()

    async def append(self, record: PassRecord) -> None:
        """Keep the record; a failure to write is logged and dropped."""
        body = msgspec.json.encode(record)
        row = (record.at, record.namespace, record.pod, record.pod_uid, record.container, record.image)

        def write(connection: sqlite3.Connection) -> None:
            cursor = connection.execute(
                "INSERT INTO passes (at, namespace, pod, pod_uid, container, image, outcome, body)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (*row, str(record.outcome), body),
            )
            newest = cursor.lastrowid or 0
            connection.execute("DELETE FROM passes WHERE id <= ?", (newest - self._retention,))

        try:
            await self._database.write(write)
        except sqlite3.Error as error:
            log.error(  # noqa: TRY400 - the trace tells nothing that the text does not
                "journal entry was not written",
                extra={"namespace": record.namespace, "pod": record.pod, "error": str(error)},
            )

    async def passes(
        self, namespace: str, pod: str, container: str | None = None, *, limit: int = 100
    ) -> list[PassRecord]:
        """The newest passes of a pod (of every pod that had the name), newest first."""
        where = "namespace = ? AND pod = ?"
        values: list[str | int] = [namespace, pod]
        if container is not None:
            where += " AND container = ?"
            values.append(container)
        return await self._select(where, values, limit)

    async def recent(self, *, limit: int = 100) -> list[PassRecord]:
        """The newest passes of all pods, newest first."""
        return await self._select("1", [], limit)

    async def _select(self, where: str, values: list[str | int], limit: int) -> list[PassRecord]:
        def read(connection: sqlite3.Connection) -> list[bytes]:
            statement = f"SELECT body FROM passes WHERE {where} ORDER BY id DESC LIMIT ?"  # noqa: S608 - fixed texts
            return [body for (body,) in connection.execute(statement, (*values, limit))]

        bodies = await self._database.read(read)
        return [msgspec.json.decode(body, type=decodable(PassRecord)) for body in bodies]
