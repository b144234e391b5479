"""Layers as directories that overlayfs can stack: an EROFS file is mounted when the first snapshot needs it.

mounts/layers/<hex>     one mount per layer, shared by every snapshot that stands on it
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from pullet.oci.digest import Digest
from pullet.store import loop_device
from pullet.store.layer_records import Layer
from pullet.store.mounts import MNT_DETACH, MS_NODEV, MS_RDONLY, mount, unmount
from pullet.store.tar_record import TREE


class ErofsBacking(StrEnum):
    """How the kernel gets at an EROFS file."""

    FILE = "file"  # Linux ≥ 6.12
    LOOP = "loop"


class LayerDirectories(Protocol):
    """Gives each layer a directory, for as long as somebody uses it."""

    def acquire(self, user: str, layer: Layer) -> Path:
        """The layer's root, usable until `release`. Idempotent for a user. Raises MountError."""
        ...

    def release(self, user: str) -> None:
        """`user` needs none of its layers any more; mounts without users go."""
        ...

    def adopt(self, user: str, diff_ids: Collection[str]) -> None:
        """After a start: `user` stands on these mounts already."""
        ...

    def drop_unused(self) -> None:
        """Unmount what nobody uses."""
        ...


def mount_erofs(file: Path, target: Path, backing: ErofsBacking) -> None:
    """Mount one EROFS file read-only. Raises MountError."""
    target.mkdir(parents=True, exist_ok=True)
    flags = MS_RDONLY | MS_NODEV
    if backing is ErofsBacking.FILE:
        mount(file, target, "erofs", flags)
        return
    with loop_device.attached(file) as device:
        mount(device, target, "erofs", flags)


class ErofsMounts:
    """Counted mounts of layer files."""

    def __init__(self, root: Path, backing: ErofsBacking, mount_one: Callable[..., None] = mount_erofs) -> None:
        self._root, self._backing, self._mount = root / "mounts" / "layers", backing, mount_one
        self._root.mkdir(parents=True, exist_ok=True)
        self._users: dict[str, set[str]] = {}  # by hex of the layer
        self._lock = threading.Lock()

    def acquire(self, user: str, layer: Layer) -> Path:
        """Mount unless mounted."""
        name = Digest(layer.diff_id).hex
        target = self._root / name
        with self._lock:
            if not self._users.get(name):  # what an earlier process left without users was unmounted at start
                self._mount(layer.path, target, self._backing)
            self._users.setdefault(name, set()).add(user)
        return target

    def release(self, user: str) -> None:
        """Unmount what only `user` used."""
        with self._lock:
            for name in [name for name, users in self._users.items() if user in users]:
                self._users[name].discard(user)
                if not self._users[name]:
                    del self._users[name]
                    self._unmount(name)

    def adopt(self, user: str, diff_ids: Collection[str]) -> None:
        """Count a user found at start."""
        with self._lock:
            for diff_id in diff_ids:
                self._users.setdefault(Digest(diff_id).hex, set()).add(user)

    def drop_unused(self) -> None:
        """Unmount and remove mount points without users."""
        with self._lock:
            for entry in os.listdir(self._root):
                if entry not in self._users:
                    self._unmount(entry)

    def _unmount(self, name: str) -> None:
        unmount(self._root / name, MNT_DETACH)
        with suppress(OSError):
            (self._root / name).rmdir()


class PlainDirectories:
    """Extracted layers are directories already."""

    def acquire(self, user: str, layer: Layer) -> Path:
        """Where the tree lies."""
        return layer.path / TREE

    def release(self, user: str) -> None:
        """Nothing was mounted."""

    def adopt(self, user: str, diff_ids: Collection[str]) -> None:
        """Nothing is counted."""

    def drop_unused(self) -> None:
        """Nothing was mounted."""
