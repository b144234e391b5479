"""ContainerImages over the store: snapshots keyed by container, layers leased as long as it exists."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Final

from pullet.engine.architecture import check_architecture
from pullet.engine.container_images import RunnableImage
from pullet.kit.directory_size import DirectorySize
from pullet.oci.digest import Digest
from pullet.oci.image_config import decode_image_config
from pullet.oci.platform import Platform
from pullet.store.errors import ContentNotFoundError
from pullet.store.leases import LeaseKind
from pullet.store.snapshotter import SnapshotKind
from pullet.store.store import Store

_OWNER_PREFIX: Final = "container/"
_SEPARATOR: Final = "-"  # container ids are hex digits, so the first one ends the owner


class StoreImages:
    """The images of one store as root file systems of containers.

    Containers are made of images that `machine` can run; None: of any, for machines that emulate others.
    """

    def __init__(self, store: Store, *, machine: Platform | None = None) -> None:
        self._store, self._machine = store, machine

    def find(self, image: str) -> RunnableImage | None:
        record = self._store.images.find(image)
        if record is None:
            return None
        config = decode_image_config(self._store.content.read(Digest(record.id))).value
        return RunnableImage(
            id=record.id,
            defaults=config.defaults,
            tags=record.tags,
            digests=record.digests,
            layers=record.diff_ids,
            platform=config.platform,
        )

    def prepare(self, owner: str, image: RunnableImage) -> Path:
        if self._machine is not None:
            check_architecture(image, self._machine)
        self._keep(owner, owner, image)
        self._store.images.touch(image.id)
        return self._store.snapshots.prepare(owner, image.layers).path

    def view(self, owner: str, name: str, image: RunnableImage) -> Path:
        key = f"{owner}{_SEPARATOR}{name}"
        self._keep(owner, key, image)
        self._store.images.touch(image.id)
        return self._store.snapshots.view(key, image.layers).path

    def _keep(self, owner: str, key: str, image: RunnableImage) -> None:
        """Leases first, so that collection cannot take what is about to be mounted."""
        self._store.leases.acquire(_OWNER_PREFIX + owner, LeaseKind.LAYER, image.layers)
        self._store.leases.acquire(_OWNER_PREFIX + owner, LeaseKind.SNAPSHOT, [key])

    def written(self, owner: str) -> DirectorySize:
        try:
            usage = self._store.snapshots.usage(owner)
        except ContentNotFoundError:
            return DirectorySize(0, 0)
        return DirectorySize(usage.size_bytes, usage.inodes)

    def release(self, owner: str) -> None:
        for key in self._keys(owner):
            self._store.snapshots.remove(key)
        self._store.leases.release(_OWNER_PREFIX + owner)

    def release_others(self, owners: Collection[str]) -> None:
        leases = self._store.leases
        for key in leases.keys(LeaseKind.SNAPSHOT):
            if key.partition(_SEPARATOR)[0] in owners:
                continue
            self._store.snapshots.remove(key)
            for owner in leases.owners(LeaseKind.SNAPSHOT, key):
                leases.release(owner)
        self._store.snapshots.cleanup_stale(leases.keys(LeaseKind.SNAPSHOT))

    def restore(self, owner: str) -> None:
        for snapshot in self._store.snapshots.list():
            if snapshot.key.partition(_SEPARATOR)[0] != owner:
                continue
            mount = (
                self._store.snapshots.prepare if snapshot.kind is SnapshotKind.ACTIVE else self._store.snapshots.view
            )
            mount(snapshot.key, snapshot.diff_ids)

    def _keys(self, owner: str) -> list[str]:
        held = self._store.leases.keys(LeaseKind.SNAPSHOT)
        return sorted((key for key in held if key.partition(_SEPARATOR)[0] == owner), reverse=True)
