"""Snapshots as overlay mounts over the layers' directories, whichever form these have.

snapshots/<hash of key>/rootfs    the mount
                       /upper     what was written (active); the merged root's owner and mode are set on it
                       /work      overlayfs's own
                       /top       stands in for `upper` in a view, for the root's metadata
                       /bottom    an empty lowest layer, so that a stack is never too small for overlayfs
"""

from __future__ import annotations

import builtins
import hashlib
import os
import shutil
import tempfile
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path

from pullet.kit import faults
from pullet.kit.directory_size import directory_size
from pullet.kit.locks import ThreadKeyedLock
from pullet.oci.digest import DiffID
from pullet.oci.identity import chain_ids
from pullet.store.errors import ContentNotFoundError, StoreError, disk_full_named
from pullet.store.layer_mounts import LayerDirectories
from pullet.store.layer_records import Layer, LayerRecords, RootMetadata
from pullet.store.layers import Layers
from pullet.store.mounts import MNT_DETACH, is_mount_point, mounts_below, unmount
from pullet.store.overlay_mount import mount_overlay
from pullet.store.snapshot_records import SnapshotRecord, SnapshotRecords
from pullet.store.snapshotter import MountedRoot, SnapshotInfo, SnapshotKind, Usage
from pullet.store.supplements import write_supplement

_DEFAULT_ROOT = RootMetadata(0o755, 0, 0, 0, 0, {})


class OverlaySnapshotter:
    """The Snapshotter for every form of layer that can be made a directory."""

    def __init__(
        self,
        *,
        root: Path,
        layers: Layers,
        layer_records: LayerRecords,
        records: SnapshotRecords,
        directories: LayerDirectories,
        form: str,
        userxattr: bool = False,
    ) -> None:
        self.form = form
        self._root = root / "snapshots"
        self._temporary = root / "mounts" / "stacks"
        self._layers, self._layer_records, self._records = layers, layer_records, records
        self._directories, self._userxattr = directories, userxattr
        self._locks = ThreadKeyedLock()
        self._root.mkdir(parents=True, exist_ok=True)
        self._temporary.mkdir(parents=True, exist_ok=True)
        self._converge()

    # -- Snapshotter
    def prepare(self, key: str, layers: Sequence[DiffID]) -> MountedRoot:
        return self._ensure(key, SnapshotKind.ACTIVE, layers)

    def view(self, key: str, layers: Sequence[DiffID]) -> MountedRoot:
        return self._ensure(key, SnapshotKind.VIEW, layers)

    def mounts(self, key: str) -> MountedRoot | None:
        record = self._records.get(key)
        path = self._place(key) / "rootfs"
        return MountedRoot(key, path, record.kind) if record is not None and is_mount_point(path) else None

    def unmount(self, key: str) -> None:
        with self._locks.hold(key):
            self._detach(key)

    def remove(self, key: str) -> None:
        with self._locks.hold(key):
            self._detach(key)
            self._discard(self._place(key))
            faults.hit("snapshot.removed")
            self._records.remove(key)

    def list(self) -> tuple[SnapshotInfo, ...]:
        mounted = {entry.mount_point for entry in mounts_below(self._root)}
        return tuple(
            SnapshotInfo(record.key, record.kind, record.diff_ids, self._mount_point(record.key) in mounted)
            for record in self._records.list()
        )

    def usage(self, key: str) -> Usage:
        if self._records.get(key) is None:
            raise ContentNotFoundError("snapshot", key)
        return Usage(*directory_size(self._place(key) / "upper"))

    def cleanup_stale(self, wanted: Collection[str]) -> tuple[str, ...]:
        removed = []
        for record in self._records.list():
            if record.key not in wanted:
                self.remove(record.key)
                removed.append(record.key)
        self._sweep()
        return tuple(removed)

    def close(self) -> None:
        """Mounts stay: containers live on."""

    # -- after a start
    def _converge(self) -> None:
        """Count what is mounted; unmount what no row explains."""
        mounted = {entry.mount_point for entry in mounts_below(self._root)}
        for record in self._records.list():
            if self._mount_point(record.key) in mounted:
                self._directories.adopt(record.key, [*record.diff_ids, *self._supplements_of(record.diff_ids)])
        for entry in mounts_below(self._temporary)[::-1]:
            unmount(entry.mount_point, MNT_DETACH)
        for path in self._temporary.iterdir():
            path.rmdir()
        self._sweep()

    def _sweep(self) -> None:
        """Take away directories and mounts that no row explains, then layers' mounts that nobody uses."""
        explained = {self._place(record.key).name for record in self._records.list()}
        for path in list(self._root.iterdir()):
            if path.name not in explained:
                unmount(path / "rootfs", MNT_DETACH)
                self._discard(path)
        self._directories.drop_unused()

    # -- one snapshot
    def _place(self, key: str) -> Path:
        return self._root / hashlib.sha256(key.encode()).hexdigest()[:32]

    def _mount_point(self, key: str) -> Path:
        return (self._place(key) / "rootfs").resolve()

    def _ensure(self, key: str, kind: SnapshotKind, diff_ids: Sequence[DiffID]) -> MountedRoot:
        with self._locks.hold(key):
            place = self._place(key)
            target = place / "rootfs"
            known = self._records.get(key)
            record = self._records.ensure(key, kind, self._layers.form, diff_ids)
            if is_mount_point(target):
                return MountedRoot(key, target, kind)
            try:
                stack = [self._required(diff_id) for diff_id in diff_ids]
                with disk_full_named(self._root):
                    self._mount(record, stack, place)
            except BaseException:
                self._detach(key)
                if known is None:
                    self._discard(place)
                    self._records.remove(key)
                raise
            return MountedRoot(key, target, kind)

    def _mount(self, record: SnapshotRecord, stack: Sequence[Layer], place: Path) -> None:
        lower = self._lower_directories(record.key, stack)
        for name in ("rootfs", "bottom"):
            (place / name).mkdir(parents=True, exist_ok=True)
        lower.append(place / "bottom")
        faults.hit("snapshot.mount")
        if record.kind is SnapshotKind.VIEW:
            _dress(place / "top", _root_metadata(stack))
            mount_overlay(place / "rootfs", [place / "top", *lower], userxattr=self._userxattr)
        else:
            (place / "work").mkdir(exist_ok=True)
            if not (place / "upper").exists():
                _dress(place / "upper", _root_metadata(stack))
            mount_overlay(
                place / "rootfs", lower, upper=place / "upper", work=place / "work", userxattr=self._userxattr
            )
        faults.hit("snapshot.mounted")

    def _detach(self, key: str) -> None:
        unmount(self._place(key) / "rootfs", MNT_DETACH)
        self._directories.release(key)

    @staticmethod
    def _discard(place: Path) -> None:
        """Remove the directories of an unmounted snapshot; overlayfs leaves `work/work` without permissions."""
        shutil.rmtree(place, ignore_errors=True)
        if place.exists():
            raise StoreError(f"cannot remove {place}: something below it is still in use")

    def _required(self, diff_id: str) -> Layer:
        layer = self._layers.get(diff_id)
        if layer is None:
            raise ContentNotFoundError("layer", diff_id)
        return layer

    # -- the stack
    def _lower_directories(self, user: str, stack: Sequence[Layer]) -> builtins.list[Path]:
        """Directories for overlayfs, topmost first, supplements in their places."""
        bottom_up: builtins.list[Path] = []
        chains = chain_ids([layer.diff_id for layer in stack])
        for index, (layer, chain_id) in enumerate(zip(stack, chains, strict=True)):
            if layer.needs.is_root_opaque:
                bottom_up.clear()
            path = self._directories.acquire(user, layer)
            supplement = None
            if index and not layer.needs.is_self_contained:
                supplement = self._supplement(chain_id, layer, path, bottom_up)
            elif layer.needs.lower_links:
                self._supplement(chain_id, layer, path, bottom_up)  # nothing is below: refuses
            bottom_up.append(path)
            if supplement is not None:
                bottom_up.append(self._directories.acquire(user, supplement))
        return _topmost_first(bottom_up)

    def _supplement(self, chain_id: str, layer: Layer, path: Path, below: Sequence[Path]) -> Layer | None:
        """The layer to lay over `layer` on this chain, made once; None if it needs none."""
        with self._locks.hold(("supplement", chain_id)):
            known = self._layer_records.supplement(chain_id, self._layers.form)
            if known == "":
                return None
            found = self._layers.get(known) if known is not None else None
            if found is None:
                found = self._make_supplement(layer, path, below)
                self._layer_records.set_supplement(
                    chain_id, self._layers.form, found.diff_id if found is not None else DiffID("")
                )
            return found

    def _make_supplement(self, layer: Layer, path: Path, below: Sequence[Path]) -> Layer | None:
        place, *empty = (Path(tempfile.mkdtemp(dir=self._temporary)) for _ in range(3))
        try:
            mount_overlay(place, [*_topmost_first(below), *empty], userxattr=self._userxattr)
            try:
                with tempfile.TemporaryFile(dir=self._root) as tar:
                    if not write_supplement(layer, path, place, tar):
                        return None
                    return self._layers.add_tar(tar)
            finally:
                unmount(place, MNT_DETACH)
        finally:
            for directory in (place, *empty):
                with suppress(OSError):
                    directory.rmdir()

    def _supplements_of(self, diff_ids: Sequence[DiffID]) -> builtins.list[DiffID]:
        found = (self._layer_records.supplement(chain, self._layers.form) for chain in chain_ids(diff_ids))
        return [diff_id for diff_id in found if diff_id]


def _topmost_first(bottom_up: Sequence[Path]) -> list[Path]:
    """Reversed, each directory once.

    The same layer (an empty one, often) may come twice; overlayfs takes a directory once. Whatever the lower
    occurrence says the upper one says again, so the upper one alone gives the same tree.
    """
    return list(dict.fromkeys(reversed(bottom_up)))


def _root_metadata(stack: Sequence[Layer]) -> RootMetadata:
    """The merged root's: that of the topmost layer whose tar has an entry for it."""
    for layer in reversed(stack):
        if layer.needs.root is not None:
            return layer.needs.root
        if layer.needs.is_root_opaque:
            break
    return _DEFAULT_ROOT


def _dress(directory: Path, metadata: RootMetadata) -> None:
    """Make `directory` with this owner, mode, attributes and time."""
    directory.mkdir(exist_ok=True)
    os.chown(directory, metadata.uid, metadata.gid)
    directory.chmod(metadata.mode)
    for name, value in metadata.xattrs.items():
        os.setxattr(directory, name, value)
    moment = metadata.mtime * 1_000_000_000 + metadata.nanoseconds
    os.utime(directory, ns=(moment, moment))
