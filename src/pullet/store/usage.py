"""What takes the disk: per image, unique and shared bytes, exact to the allocated block."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection
from pathlib import Path

from pullet.base.values import Value
from pullet.oci.digest import ImageID
from pullet.store.content import ContentStore
from pullet.store.images import ImageRecord, Images
from pullet.store.layers import Layers
from pullet.store.leases import LeaseKind, Leases
from pullet.store.snapshot_records import SnapshotRecords


class ImageUsage(Value):
    """One image. Removing it alone (and collecting) frees `unique_bytes`, as long as nothing else holds its layers."""

    id: ImageID
    unique_bytes: int
    shared_bytes: int  # with other images


class StoreUsage(Value, kw_only=True):
    """The whole store, bytes as allocated on disk."""

    images: tuple[ImageUsage, ...]
    layer_bytes: int
    blob_bytes: int
    layer_count: int
    blob_count: int


class Filesystem(Value, kw_only=True):
    """The file system the store lies on."""

    capacity_bytes: int
    available_bytes: int  # to this process
    used_bytes: int
    inodes: int
    inodes_free: int


class UsageMeter:
    """Counts."""

    def __init__(
        self, *, images: Images, layers: Layers, content: ContentStore, leases: Leases, snapshots: SnapshotRecords
    ) -> None:
        self._images, self._layers, self._content = images, layers, content
        self._leases, self._snapshots = leases, snapshots

    def measure(self) -> StoreUsage:
        """Everything, per image."""
        sizes = self._sizes()
        records = self._images.list()
        users = Counter(part for record in records for part in _parts(record))
        usages = []
        for record in records:
            parts = [part for part in _parts(record) if part in sizes]
            unique = sum(sizes[part] for part in parts if users[part] == 1)
            usages.append(ImageUsage(record.id, unique, sum(sizes[part] for part in parts) - unique))
        layers, blobs = self._layers.list(), list(self._content.list())
        return StoreUsage(
            images=tuple(usages),
            layer_bytes=sum(disk for _, _, disk in layers),
            blob_bytes=sum(size for _, size in blobs),
            layer_count=len(layers),
            blob_count=len(blobs),
        )

    def freed_by_removing(self, image_ids: Collection[str]) -> int:
        """Bytes that removing these images together and collecting would free: what only they hold."""
        sizes = self._sizes()
        records = self._images.list()
        going = {part for record in records if record.id in image_ids for part in _parts(record)}
        staying = {part for record in records if record.id not in image_ids for part in _parts(record)}
        staying |= self._leases.keys(LeaseKind.LAYER) | self._leases.keys(LeaseKind.CONTENT) | self._content.retained()
        staying |= {diff_id for snapshot in self._snapshots.list() for diff_id in snapshot.diff_ids}
        return sum(sizes.get(part, 0) for part in going - staying)

    def _sizes(self) -> dict[str, int]:
        """Bytes of every layer (by DiffID) and blob (by digest); a digest never names both."""
        sizes: dict[str, int] = dict(self._content.list())
        for diff_id, _, disk in self._layers.list():
            sizes[diff_id] = sizes.get(diff_id, 0) + disk  # an uncompressed blob kept beside its layer has one name
        return sizes


def _parts(record: ImageRecord) -> frozenset[str]:
    """What the image keeps on disk, by name."""
    return frozenset([*record.diff_ids, *record.content, *(layer.digest for layer in record.layers), record.id])


def measure_filesystem(root: Path) -> Filesystem:
    """The file system below `root`."""
    status = os.statvfs(root)
    return Filesystem(
        capacity_bytes=status.f_blocks * status.f_frsize,
        available_bytes=status.f_bavail * status.f_frsize,
        used_bytes=(status.f_blocks - status.f_bfree) * status.f_frsize,
        inodes=status.f_files,
        inodes_free=status.f_ffree,
    )
