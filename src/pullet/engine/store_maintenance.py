"""The disk side of the image service: ages, usage, collection, check."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from pullet.cri.maintenance import CollectedGarbage, DiskUsage, ImageAge, ImageDisk, StoreFinding
from pullet.engine.errors import storage_worded
from pullet.kit.worker_threads import WorkerThreads
from pullet.store.gc import Collected
from pullet.store.images import ImageRecord
from pullet.store.store import Store


class EngineStoreMaintenance:
    """ImageAges and StoreMaintenance over one store; every method hops to `threads`."""

    def __init__(self, store: Store, threads: WorkerThreads) -> None:
        self._store, self._threads = store, threads

    async def image_ages(self) -> Sequence[ImageAge]:
        def read() -> list[ImageAge]:
            return [
                ImageAge(id=record.id, first_seen_at=record.created_at, last_used_at=_last_used(record))
                for record in self._store.images.list()
            ]

        return await self._threads.run(read)

    async def note_used(self, image_ids: Collection[str]) -> None:
        def touch() -> None:
            with storage_worded("failed to note the use of images"):
                for image_id in image_ids:
                    self._store.images.touch(image_id)

        await self._threads.run(touch)

    async def disk_usage(self) -> DiskUsage:
        return await self._threads.run(self._disk_usage)

    def _disk_usage(self) -> DiskUsage:
        usage, filesystem = self._store.usage(), self._store.filesystem()
        records = {record.id: record for record in self._store.images.list()}
        images = tuple(
            ImageDisk(
                id=each.id,
                names=record.tags or record.digests,
                digests=record.digests,
                unique_bytes=each.unique_bytes,
                shared_bytes=each.shared_bytes,
                is_pinned=record.is_pinned,
                last_used_at=_last_used(record),
            )
            for each in usage.images
            if (record := records.get(each.id)) is not None
        )
        return DiskUsage(
            images=images,
            layer_count=usage.layer_count,
            layer_bytes=usage.layer_bytes,
            blob_count=usage.blob_count,
            blob_bytes=usage.blob_bytes,
            orphan_bytes=self._store.gc(is_plan=True).freed_bytes,
            capacity_bytes=filesystem.capacity_bytes,
            available_bytes=filesystem.available_bytes,
        )

    async def freed_by_removing(self, image_ids: Collection[str]) -> int:
        return await self._threads.run(self._store.freed_by_removing, frozenset(image_ids))

    async def collect_garbage(self, *, is_plan: bool = False) -> CollectedGarbage:
        def collect() -> Collected:
            with storage_worded("failed to remove what no image needs"):
                return self._store.gc(is_plan=is_plan)

        found = await self._threads.run(collect)
        return CollectedGarbage(layers=found.layers, blobs=found.blobs, freed_bytes=found.freed_bytes)

    async def check_store(self, *, repair: bool = False) -> Sequence[StoreFinding]:
        return await self._threads.run(self._check, repair)

    def _check(self, repair: bool) -> list[StoreFinding]:
        users: dict[str, list[str]] = {}
        for record in self._store.images.list():
            for part in {*record.diff_ids, *record.content, record.id}:
                users.setdefault(part, []).append(record.id)
        return [
            StoreFinding(
                kind=finding.kind.value,
                key=finding.key,
                detail=finding.detail,
                is_repaired=finding.is_repaired,
                images=tuple(users.get(finding.key, ())),
            )
            for finding in self._store.check(repair=repair)
        ]


def _last_used(record: ImageRecord) -> datetime | None:
    return record.last_used_at if record.last_used_at > record.created_at else None
