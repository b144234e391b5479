"""Image garbage collection: looks at what is there and used, lets `policy.image_gc` choose, removes.

Detection every five minutes and before each collection; collection every five minutes, the first at once. What is
used: images of every container that exists, ended ones too, and images mounted as volumes.
Source: kubelet-images spec 17 (pkg/kubelet/images/image_gc_manager.go, kubelet.go StartGarbageCollection).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import ClassVar

from pullet.base.errors import PulletError
from pullet.base.jsonvalue import JsonObject
from pullet.cri.errors import CriError, NotFoundError
from pullet.cri.maintenance import ImageAges, StoreMaintenance
from pullet.cri.services import ImageService, RuntimeService
from pullet.cri.types import ImageSpec
from pullet.kit.clock import Clock
from pullet.kit.worker_threads import WorkerThreads
from pullet.kube import reasons
from pullet.node.events import EventSink
from pullet.node.machine import DiskSpace, read_disk_space
from pullet.node.metrics import NodeMetrics
from pullet.node.pull_manager import PullManager
from pullet.policy.image_gc import (
    NEVER_USED,
    CollectionPlan,
    ImageGCPolicy,
    ImageOnDisk,
    ImageRecord,
    SpaceNeed,
    choose_aged,
    choose_for_space,
    compute_space_need,
    detect_images,
    plan_collection,
    removal_order,
)
from pullet.policy.runtime_status import LABEL_POD_NAME, LABEL_POD_NAMESPACE
from pullet.policy.wording import Wording, aggregate_errors, go_duration

log = logging.getLogger(__name__)

PERIOD_SECONDS = 300.0


class ImageGCError(PulletError):
    """Not everything that had to go is gone; the text is what the ImageGCFailed event shows."""

    reason: ClassVar[str] = "ImageGCFailed"


class ImageGCManager:
    """Collects images of one node. `node` is the reference of its events."""

    def __init__(
        self,
        *,
        images: ImageService,
        runtime: RuntimeService,
        policy: ImageGCPolicy,
        pull_manager: PullManager | None,
        events: EventSink,
        node: JsonObject,
        wording: Wording,
        metrics: NodeMetrics,
        clock: Clock,
        disk_space: Callable[[], DiskSpace] | None = None,
        threads: WorkerThreads,
    ) -> None:
        """`disk_space` None: that of the mount point the image service names. Called on `threads`."""
        self._images, self._runtime, self._policy, self._pull_manager = images, runtime, policy, pull_manager
        self._events, self._node, self._wording, self._metrics = events, node, wording, metrics
        self._clock, self._disk_space, self._threads = clock, disk_space, threads
        self._records: dict[str, ImageRecord] = {}
        self._users: dict[str, str] = {}
        self._has_remembered = False
        self._began_at = clock.monotonic()

    async def run(self) -> None:
        """Collect every five minutes, until cancelled. The second failure in a row is an event on the node."""
        if self._policy.is_off:
            return
        self._began_at = self._clock.monotonic()
        has_failed = False
        while True:
            try:
                await self.collect()
                has_failed = False
            except (ImageGCError, CriError) as error:
                log.warning("image garbage collection failed", extra={"error": str(error)})
                if has_failed:
                    self._events.event(self._node, reasons.WARNING, reasons.IMAGE_GC_FAILED, str(error))
                has_failed = True
            await self._clock.sleep(PERIOD_SECONDS)

    async def collect(self) -> int:
        """One run; the bytes freed for space.

        Raises:
            ImageGCError: an image could not be removed, or not enough was freed.
            CriError: the runtime did not answer.
        """
        now, began = self._clock.monotonic(), self._clock.now()
        candidates = await self._detect(now)
        aged = choose_aged(candidates, self._policy, began_at=self._began_at, now=now)
        gone, _, errors = await self._remove(aged, None, "age")
        if errors:
            age = go_duration(self._policy.max_age_seconds)
            text = aggregate_errors(errors)
            raise ImageGCError(f"wanted to free images older than {age}, encountered errors in image deletion: {text}")
        space = await self._space()
        if space.capacity_bytes == 0:
            text = self._wording.invalid_disk_capacity()
            self._events.event(self._node, reasons.WARNING, reasons.INVALID_DISK_CAPACITY, text)
            raise ImageGCError(text)
        if self._need(space).to_free_bytes:
            await self._collect_orphans()
            space = await self._space()
        need = self._need(space)
        if not need.to_free_bytes:
            return 0
        left = [record for record in candidates if record.id not in gone]
        freed = await self._free(left, need.to_free_bytes, now)
        await self._prune(began)
        if freed < need.to_free_bytes:
            text = self._wording.free_disk_space_failed(
                usage_percent=need.usage_percent,
                capacity_bytes=space.capacity_bytes,
                to_free_bytes=need.to_free_bytes,
                freed_bytes=freed,
            )
            self._events.event(self._node, reasons.WARNING, reasons.FREE_DISK_SPACE_FAILED, text)
            raise ImageGCError(text)
        return freed

    async def delete_unused_images(self) -> int:
        """Remove all that may go, whatever the thresholds; the bytes freed.

        Raises:
            ImageGCError, CriError: as `collect`.
        """
        now, began = self._clock.monotonic(), self._clock.now()
        await self._collect_orphans()
        freed = await self._free(await self._detect(now), None, now)
        await self._prune(began)
        return freed

    async def plan(self, *, removes_all_unused: bool) -> CollectionPlan:
        """What `collect` (or `delete_unused_images`) would do now, image by image.

        Raises:
            ImageGCError, CriError: disk or runtime cannot be asked.
        """
        now = self._clock.monotonic()
        await self._detect(now)
        space = await self._space()
        if space.capacity_bytes == 0:
            raise ImageGCError(self._wording.invalid_disk_capacity())
        return plan_collection(
            self._records,
            self._users,
            self._policy,
            need=self._need(space),
            began_at=self._began_at,
            now=now,
            removes_all_unused=removes_all_unused,
        )

    def _need(self, space: DiskSpace) -> SpaceNeed:
        return compute_space_need(
            self._policy, capacity_bytes=space.capacity_bytes, available_bytes=space.available_bytes
        )

    async def _collect_orphans(self) -> None:
        """Layers that no image needs go before any image does."""
        if isinstance(self._images, StoreMaintenance):
            await self._images.collect_garbage()

    async def _detect(self, now: float) -> list[ImageRecord]:
        images = await self._images.list_images()
        await self._remember(now)
        self._users = users = await self._image_users()
        found = [ImageOnDisk(id=each.id, size_bytes=each.size_bytes, is_pinned=each.is_pinned) for each in images]
        self._records = detect_images(self._records, found, users, now)
        if isinstance(self._images, ImageAges):
            try:
                await self._images.note_used([record for record in self._records if record in users])
            except CriError as error:  # a full disk: the times are in memory all the same
                log.warning("times of use not kept", extra={"error": str(error)})
        return removal_order(self._records, users)

    async def _image_users(self) -> dict[str, str]:
        """Image ids and mounted images, each with one of those who use it."""
        users: dict[str, str] = {}
        for container in await self._runtime.list_containers():
            labels = container.labels
            pod = f"{labels.get(LABEL_POD_NAMESPACE, '')}/{labels.get(LABEL_POD_NAME, container.id)}"
            users[container.image_id] = f"a container of pod {pod}"
            try:
                status = await self._runtime.container_status(container.id)
            except NotFoundError:
                continue
            users |= {mount.image.image: f"a volume of pod {pod}" for mount in status.mounts if mount.image is not None}
        return users

    async def _remember(self, now: float) -> None:
        """Take over what the runtime remembers from before this process, on the first look."""
        if self._has_remembered or not isinstance(self._images, ImageAges):
            return
        wall = self._clock.now()
        for each in await self._images.image_ages():
            used = each.last_used_at
            self._records[each.id] = ImageRecord(
                id=each.id,
                first_detected=now - (wall - each.first_seen_at).total_seconds(),
                last_used=NEVER_USED if used is None else now - (wall - used).total_seconds(),
            )
        self._has_remembered = True

    async def _free(self, candidates: Sequence[ImageRecord], to_free_bytes: int | None, now: float) -> int:
        chosen = choose_for_space(candidates, min_age_seconds=self._policy.min_age_seconds, now=now)
        _, freed, errors = await self._remove(chosen, to_free_bytes, "space")
        if errors:
            raise ImageGCError(
                f"wanted to free {to_free_bytes if to_free_bytes is not None else 2**63 - 1} bytes, but freed "
                f"{freed} bytes space with errors in image deletion: {aggregate_errors(errors)}"
            )
        return freed

    async def _remove(
        self, records: Sequence[ImageRecord], enough_bytes: int | None, why: str
    ) -> tuple[set[str], int, list[str]]:
        """Remove until enough is freed; an error on one does not stop the others."""
        gone: set[str] = set()
        freed, errors = 0, []
        for record in records:
            if enough_bytes is not None and freed >= enough_bytes:
                break
            try:
                await self._images.remove_image(ImageSpec(record.id))
            except CriError as error:
                errors.append(str(error))
                continue
            log.info("image removed", extra={"image": record.id, "size_bytes": record.size_bytes, "why": why})
            gone.add(record.id)
            self._records.pop(record.id, None)
            freed += record.size_bytes
            self._metrics.count("kubelet_image_garbage_collected_total", reason=why)
        return gone, freed, errors

    async def _space(self) -> DiskSpace:
        if self._disk_space is not None:
            return await self._threads.run(self._disk_space)
        usage = await self._images.image_fs_info()
        if not usage:
            return DiskSpace(0, 0, 0)
        try:
            return await self._threads.run(_space_of, usage[0].mountpoint)
        except OSError as error:
            raise ImageGCError(f"failed to get image stats: {error}") from error

    async def _prune(self, began: datetime) -> None:
        if self._pull_manager is not None:
            remaining = {image.id for image in await self._images.list_images()}
            await self._pull_manager.prune(remaining, before=began)


def _space_of(mountpoint: str) -> DiskSpace:
    return read_disk_space(Path(mountpoint))
