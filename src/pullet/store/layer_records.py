"""What the store knows of its layers: rows, and the memo compressed digest → DiffID."""

from __future__ import annotations

import builtins
import sqlite3
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

import msgspec

from pullet.base.decodable import decodable
from pullet.base.values import Value
from pullet.kit.clock import Clock
from pullet.kit.sqlite import Database
from pullet.oci.digest import DiffID
from pullet.store.metadata import to_text

T = TypeVar("T")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class LayerForm(StrEnum):
    """How a layer lies on disk."""

    EROFS = "erofs"  # one file: superblock, the exact tar, metadata
    DIRECTORY = "directory"  # an extracted tree


class RootMetadata(msgspec.Struct, frozen=True, array_like=True):
    """Owner, mode and times of `/` where the tar has an entry for it."""

    mode: int
    uid: int
    gid: int
    mtime: int
    nanoseconds: int
    xattrs: dict[bytes, bytes]


class LayerNeeds(msgspec.Struct, frozen=True, array_like=True):
    """What a layer's tar alone does not say: to be resolved against the layers below when they are stacked.

    `implied_directories` are parents without an entry of their own; overlayfs would show our made-up metadata for
    them. `lower_links` are hard links (path, target) whose target lies in a layer below.
    """

    implied_directories: tuple[bytes, ...] = ()
    lower_links: tuple[tuple[bytes, bytes], ...] = ()
    root: RootMetadata | None = None
    is_root_opaque: bool = False

    @property
    def is_self_contained(self) -> bool:
        """Whether the layer looks the same whatever lies below it."""
        return not self.implied_directories and not self.lower_links


class Layer(Value, kw_only=True):
    """One unpacked, verified layer."""

    diff_id: DiffID
    form: LayerForm
    path: Path  # the file or the directory
    tar_bytes: int  # uncompressed
    disk_bytes: int  # allocated for it
    needs: LayerNeeds


class SyncState(Value):
    """Whether a layer is known to be on the disk itself, and under which boot it was written."""

    is_synced: bool
    boot_id: str


def read_boot_id() -> str:
    """This boot's id: changes at every start of the kernel."""
    return BOOT_ID.read_text().strip()


class LayerRecords:
    """Rows of `layers` and `diff_ids`."""

    def __init__(self, database: Database, clock: Clock, boot_id: str) -> None:
        self._database, self._clock, self.boot_id = database, clock, boot_id

    def add(self, layer: Layer, digest: str | None) -> None:
        """Record a layer just made visible, with the digest of the compressed bytes it came from."""
        needs = msgspec.msgpack.encode(layer.needs)
        now = to_text(self._clock.now())

        def write(db: sqlite3.Connection) -> None:
            db.execute(
                "INSERT OR REPLACE INTO layers(diff_id, form, tar_bytes, disk_bytes, created_at, boot_id, needs)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (layer.diff_id, layer.form.value, layer.tar_bytes, layer.disk_bytes, now, self.boot_id, needs),
            )
            if digest is not None:
                db.execute(
                    "INSERT OR REPLACE INTO diff_ids(digest, diff_id) VALUES (?, ?)", (str(digest), layer.diff_id)
                )

        self._database.write_blocking(write)

    def get(self, diff_id: str, form: LayerForm, path: Path) -> tuple[Layer, SyncState] | None:
        """The row, if there is one."""

        def read(db: sqlite3.Connection) -> tuple[Layer, SyncState] | None:
            row = db.execute(
                "SELECT tar_bytes, disk_bytes, needs, is_synced, boot_id FROM layers WHERE diff_id = ? AND form = ?",
                (diff_id, form.value),
            ).fetchone()
            if row is None:
                return None
            tar_bytes, disk_bytes, needs, is_synced, boot_id = row
            layer = Layer(
                diff_id=DiffID(diff_id),
                form=form,
                path=path,
                tar_bytes=tar_bytes,
                disk_bytes=disk_bytes,
                needs=msgspec.msgpack.decode(needs, type=decodable(LayerNeeds)),
            )
            return layer, SyncState(bool(is_synced), boot_id)

        return self._database.read_blocking(read)

    def list(self, form: LayerForm) -> tuple[tuple[DiffID, int, int], ...]:
        """(DiffID, tar bytes, disk bytes) of every layer of this form, by DiffID."""
        return self._database.read_blocking(
            lambda db: tuple(
                (DiffID(diff_id), tar_bytes, disk_bytes)
                for diff_id, tar_bytes, disk_bytes in db.execute(
                    "SELECT diff_id, tar_bytes, disk_bytes FROM layers WHERE form = ? ORDER BY diff_id", (form.value,)
                )
            )
        )

    def remove(self, diff_id: str, form: LayerForm) -> None:
        """Forget the row; the memo stays, it is a fact about the bytes."""
        self._database.write_blocking(
            lambda db: db.execute("DELETE FROM layers WHERE diff_id = ? AND form = ?", (diff_id, form.value))
        )

    def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """One transaction over several tables."""
        return self._database.write_blocking(work)

    def remove_others(self, db: sqlite3.Connection, form: LayerForm, wanted: frozenset[str]) -> builtins.list[str]:
        """Within a transaction, forget every layer that is not wanted; gives their DiffIDs."""
        known = [diff_id for (diff_id,) in db.execute("SELECT diff_id FROM layers WHERE form = ?", (form.value,))]
        gone = sorted(diff_id for diff_id in known if diff_id not in wanted)
        db.executemany("DELETE FROM layers WHERE diff_id = ? AND form = ?", [(name, form.value) for name in gone])
        return gone

    def mark_synced(self, diff_id: str, form: LayerForm) -> None:
        """The layer's bytes are on the disk itself."""
        self._database.write_blocking(
            lambda db: db.execute(
                "UPDATE layers SET is_synced = 1 WHERE diff_id = ? AND form = ?", (diff_id, form.value)
            )
        )

    def unsynced(self, form: LayerForm) -> tuple[DiffID, ...]:
        """Layers of this boot not yet known to be on the disk itself."""
        return self._database.read_blocking(
            lambda db: tuple(
                DiffID(diff_id)
                for (diff_id,) in db.execute(
                    "SELECT diff_id FROM layers WHERE form = ? AND is_synced = 0 AND boot_id = ?",
                    (form.value, self.boot_id),
                )
            )
        )

    def diff_id_of(self, digest: str) -> DiffID | None:
        """What a compressed blob unpacks to, if it was unpacked (and verified) here before."""

        def read(db: sqlite3.Connection) -> DiffID | None:
            row = db.execute("SELECT diff_id FROM diff_ids WHERE digest = ?", (str(digest),)).fetchone()
            return DiffID(row[0]) if row else None

        return self._database.read_blocking(read)

    # -- supplements: layers of ours that complete one layer upon the layers below it
    def supplement(self, chain_id: str, form: LayerForm) -> DiffID | None:
        """The supplement of the top layer of this chain; empty text when it was found to need none; None: not known."""

        def read(db: sqlite3.Connection) -> DiffID | None:
            row = db.execute(
                "SELECT diff_id FROM supplements WHERE chain_id = ? AND form = ?", (chain_id, form.value)
            ).fetchone()
            return DiffID(row[0]) if row else None

        return self._database.read_blocking(read)

    def set_supplement(self, chain_id: str, form: LayerForm, diff_id: DiffID) -> None:
        """Remember the supplement; empty text for none needed."""
        self._database.write_blocking(
            lambda db: db.execute(
                "INSERT OR REPLACE INTO supplements(chain_id, form, diff_id) VALUES (?, ?, ?)",
                (chain_id, form.value, diff_id),
            )
        )

    def forget_supplements(self, kept_chain_ids: frozenset[str]) -> None:
        """Forget those of chains that nobody has any more."""

        def write(db: sqlite3.Connection) -> None:
            known = {chain_id for (chain_id,) in db.execute("SELECT chain_id FROM supplements")}
            db.executemany(
                "DELETE FROM supplements WHERE chain_id = ?", [(chain_id,) for chain_id in known - kept_chain_ids]
            )

        self._database.write_blocking(write)
