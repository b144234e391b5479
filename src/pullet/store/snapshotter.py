"""What a snapshotter promises: root file systems made of layers, mounted under the store's root.

Vocabulary: a *layer* is unpacked once per DiffID and never changes; a *snapshot* is one mounted stack of layers
under a caller's key: writable (`prepare`, one container's root) or read-only (`view`, an image volume). Mounts of
layers are shared and counted; nothing is mounted that no snapshot needs.

After a crash or a reboot: rows and writable data of snapshots are still there, mounts may be gone. `prepare` and
`view` with the same key mount again what was there; `cleanup_stale` takes away what nobody wants any more.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from pullet.base.values import Value
from pullet.oci.digest import DiffID


class SnapshotKind(StrEnum):
    """`active` snapshots can be written to."""

    ACTIVE = "active"
    VIEW = "view"


class MountedRoot(Value):
    """A mounted snapshot. `path` is its root directory."""

    key: str
    path: Path
    kind: SnapshotKind


class Usage(Value):
    """Disk use: allocated bytes and inodes."""

    size_bytes: int
    inodes: int


class SnapshotInfo(Value):
    """One snapshot: what it is made of (lowest layer first) and whether it is mounted now."""

    key: str
    kind: SnapshotKind
    diff_ids: tuple[DiffID, ...]
    is_mounted: bool


class Snapshotter(Protocol):
    """All methods block, are idempotent, and may be called from any thread."""

    form: str  # which form of layers it mounts: "erofs" or "directory"

    def prepare(self, key: str, layers: Sequence[DiffID]) -> MountedRoot:
        """A writable root over `layers` (lowest first). The same key again gives the same root, mounted.

        Raises:
            ContentNotFoundError: a layer is not here.
            MountError: the kernel refused; nothing stays mounted for this key.
            StoreError: the key is in use for other layers or as a view.
        """
        ...

    def view(self, key: str, layers: Sequence[DiffID]) -> MountedRoot:
        """A read-only root over `layers`; otherwise as `prepare`."""
        ...

    def mounts(self, key: str) -> MountedRoot | None:
        """The snapshot if it is mounted now."""
        ...

    def unmount(self, key: str) -> None:
        """Unmount, keeping what was written; `prepare` mounts it again."""
        ...

    def remove(self, key: str) -> None:
        """Unmount and delete what was written. An unknown key is no error."""
        ...

    def list(self) -> tuple[SnapshotInfo, ...]:
        """Every snapshot, by key."""
        ...

    def usage(self, key: str) -> Usage:
        """What was written into the snapshot, without its layers. Raises ContentNotFoundError."""
        ...

    def cleanup_stale(self, wanted: Collection[str]) -> tuple[str, ...]:
        """Remove every snapshot whose key is not wanted, and every mount and directory no snapshot needs.

        Gives the keys removed.
        """
        ...

    def close(self) -> None:
        """Forget counts; snapshots stay mounted, so containers outlive this process."""
        ...
