"""Finds, and mends, what does not fit together: corrupt blobs and layers, broken images, leftovers.

A corrupt part is removed; the next pull of an image that needs it fetches that part alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

from pullet.base.values import Value
from pullet.store.content import ContentStore
from pullet.store.gc import Collector
from pullet.store.images import Images
from pullet.store.layers import Layers
from pullet.store.leases import LeaseKind, Leases
from pullet.store.snapshotter import Snapshotter


class FindingKind(StrEnum):
    """What is wrong."""

    CORRUPT_LAYER = "corrupt layer"
    CORRUPT_BLOB = "corrupt blob"
    MISSING_LAYER = "missing layer"
    MISSING_BLOB = "missing blob"
    ORPHAN_LAYER = "orphan layer"
    ORPHAN_BLOB = "orphan blob"
    ORPHAN_SNAPSHOT = "orphan snapshot"


class Finding(Value):
    """One thing that is wrong. `is_repaired`: it was mended, or the next pull will."""

    kind: FindingKind
    key: str
    detail: str
    is_repaired: bool


class Checker:
    """Reads everything once."""

    def __init__(
        self,
        *,
        content: ContentStore,
        layers: Layers,
        images: Images,
        collector: Collector,
        snapshots: Snapshotter,
        leases: Leases,
    ) -> None:
        self._content, self._layers, self._images, self._collector = content, layers, images, collector
        self._snapshots, self._leases = snapshots, leases

    def check(self, *, repair: bool) -> tuple[Finding, ...]:
        """Hash every layer and blob; compare images with what is here. With `repair`, mend. Takes minutes when full."""
        found = [*self._dead_snapshots(repair=repair), *self._corrupt(repair=repair), *self._orphans(repair=repair)]
        found += self._missing()
        return tuple(found)

    def _dead_snapshots(self, *, repair: bool) -> Iterator[Finding]:
        """Snapshots, with their mounts, of containers that are gone. A living one is leased before it is made."""
        snapshots = self._snapshots.list()
        wanted = self._leases.keys(LeaseKind.SNAPSHOT)
        for snapshot in snapshots:
            if snapshot.key not in wanted:
                if repair:
                    self._snapshots.remove(snapshot.key)
                state = "mounted" if snapshot.is_mounted else "not mounted"
                yield Finding(FindingKind.ORPHAN_SNAPSHOT, snapshot.key, f"{state}, and no container has it", repair)

    def _corrupt(self, *, repair: bool) -> Iterator[Finding]:
        for diff_id, _, _ in self._layers.list():
            if self._layers.get(diff_id) is None or not self._layers.verify(diff_id):
                if repair:
                    self._layers.remove(diff_id)
                detail = "its bytes do not give its DiffID any more"
                yield Finding(FindingKind.CORRUPT_LAYER, diff_id, detail, repair)
        for digest, _ in tuple(self._content.list()):
            if not self._content.verify(digest):
                if repair:
                    self._content.remove(digest)
                yield Finding(FindingKind.CORRUPT_BLOB, digest, "its bytes do not hash to its digest any more", repair)

    def _orphans(self, *, repair: bool) -> Iterator[Finding]:
        plan = self._collector.collect() if repair else self._collector.plan()
        for diff_id in plan.layers:
            yield Finding(FindingKind.ORPHAN_LAYER, diff_id, "no image, snapshot or lease needs it", repair)
        for digest in plan.blobs:
            yield Finding(FindingKind.ORPHAN_BLOB, digest, "no image, repository or lease needs it", repair)

    def _missing(self) -> Iterator[Finding]:
        for record in self._images.list():
            name = next(iter(record.tags or record.digests), record.id)
            for diff_id in record.diff_ids:
                if self._layers.get(diff_id) is None:
                    yield Finding(FindingKind.MISSING_LAYER, diff_id, f"needed by {name}; pull it again", False)
            for digest in sorted(record.content):
                if not self._content.has(digest):
                    yield Finding(FindingKind.MISSING_BLOB, digest, f"needed by {name}; pull it again", False)
