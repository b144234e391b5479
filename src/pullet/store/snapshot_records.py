"""Rows of `snapshots`: which roots exist and what they stand on."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

from pullet.base.values import Value
from pullet.kit.clock import Clock
from pullet.kit.sqlite import Database
from pullet.oci.digest import DiffID
from pullet.store.errors import StoreError
from pullet.store.layer_records import LayerForm
from pullet.store.metadata import to_text
from pullet.store.snapshotter import SnapshotKind


class SnapshotRecord(Value):
    """One snapshot; `diff_ids` lowest first."""

    key: str
    kind: SnapshotKind
    form: LayerForm
    diff_ids: tuple[DiffID, ...]


class SnapshotRecords:
    """The rows. Calls block briefly."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock

    def ensure(self, key: str, kind: SnapshotKind, form: LayerForm, diff_ids: Sequence[DiffID]) -> SnapshotRecord:
        """The row of `key`, made if need be.

        Raises:
            StoreError: there is one, for something else.
        """
        wanted = SnapshotRecord(key, kind, form, tuple(diff_ids))

        def write(db: sqlite3.Connection) -> None:
            db.execute(
                "INSERT OR IGNORE INTO snapshots(key, kind, form, diff_ids, created_at) VALUES (?, ?, ?, ?, ?)",
                (key, kind.value, form.value, json.dumps(list(diff_ids)), to_text(self._clock.now())),
            )

        self._database.write_blocking(write)
        found = self.get(key)
        if found != wanted:
            raise StoreError(f"snapshot {key} exists already, for other layers, another form or another kind")
        return wanted

    def get(self, key: str) -> SnapshotRecord | None:
        """The row, if there is one."""
        rows = self._select("WHERE key = ?", (key,))
        return rows[0] if rows else None

    def list(self) -> tuple[SnapshotRecord, ...]:
        """Every row, by key."""
        return self._select("", ())

    def remove(self, key: str) -> None:
        """Forget the row."""
        self._database.write_blocking(lambda db: db.execute("DELETE FROM snapshots WHERE key = ?", (key,)))

    def _select(self, where: str, values: tuple[str, ...]) -> tuple[SnapshotRecord, ...]:
        return self._database.read_blocking(
            lambda db: tuple(
                SnapshotRecord(key, SnapshotKind(kind), LayerForm(form), tuple(DiffID(d) for d in json.loads(diff_ids)))
                for key, kind, form, diff_ids in db.execute(
                    f"SELECT key, kind, form, diff_ids FROM snapshots {where} ORDER BY key",  # noqa: S608  # ours
                    values,
                )
            )
        )
