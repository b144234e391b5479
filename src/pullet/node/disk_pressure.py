"""Disk pressure: looks how full the disks are, says so in the node's condition, and frees what may go.

    every 10 s: observe ─► a hard threshold is met ─► condition DiskPressure, taint ─► dead containers, unused images

The condition stays for the transition period after the last time a threshold was met. Pods are not evicted.
Source: kubernetes pkg/kubelet/eviction/eviction_manager.go.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence

from pullet.base.errors import PulletError
from pullet.base.jsonvalue import JsonObject
from pullet.cri.errors import CriError
from pullet.cri.services import ImageService
from pullet.kit.clock import Clock
from pullet.kit.worker_threads import WorkerThreads
from pullet.kube import reasons
from pullet.node.events import EventSink
from pullet.policy.eviction import EvictionSignal, EvictionThreshold, Observation, met_thresholds

log = logging.getLogger(__name__)

PERIOD_SECONDS = 10.0  # Source: pkg/kubelet/kubelet.go evictionMonitoringPeriod


class DiskPressure:
    """Watches the file systems of one node. `node` is the reference of its events; `reclaim` are tried in order."""

    def __init__(
        self,
        *,
        root: str,
        images: ImageService,
        thresholds: Sequence[EvictionThreshold],
        transition_seconds: float,
        reclaim: Sequence[Callable[[], Awaitable[object]]],
        events: EventSink,
        node: JsonObject,
        threads: WorkerThreads,
        clock: Clock,
        measure: Callable[[str], os.statvfs_result] = os.statvfs,
    ) -> None:
        """`root` is on the nodefs; the imagefs is where the image service says. `measure` is called on `threads`."""
        self._root, self._images, self._thresholds = root, images, tuple(thresholds)
        self._transition_seconds, self._reclaim = transition_seconds, tuple(reclaim)
        self._events, self._node, self._threads, self._clock = events, node, threads, clock
        self._measure = measure
        self._met_at = float("-inf")

    @property
    def is_present(self) -> bool:
        """Whether a threshold is met, or was within the transition period."""
        return self._clock.monotonic() - self._met_at < self._transition_seconds

    async def run(self) -> None:
        """Look every ten seconds, until cancelled."""
        while True:
            await self.synchronize()
            await self._clock.sleep(PERIOD_SECONDS)

    async def observe(self) -> tuple[EvictionThreshold, ...]:
        """The thresholds met now."""
        met = met_thresholds(self._thresholds, await self._observations())
        if met:
            self._met_at = self._clock.monotonic()
        return met

    async def synchronize(self) -> None:
        """One look, and where it is needed, one attempt to free disk."""
        met = await self.observe()
        if not met:
            return
        log.warning("disk is short", extra={"signals": [each.signal.value for each in met]})
        text = "Attempting to reclaim ephemeral-storage"
        self._events.event(self._node, reasons.WARNING, reasons.EVICTION_THRESHOLD_MET, text)
        for reclaim in self._reclaim:
            try:
                await reclaim()
            except PulletError as error:
                log.warning("disk not freed", extra={"error": str(error)})
        if await self.observe():
            log.warning("disk is still short after everything unused has gone: pods, logs or other files fill it")

    async def _observations(self) -> Mapping[EvictionSignal, Observation]:
        found: dict[EvictionSignal, Observation] = {}
        nodefs = await self._statvfs(self._root)
        if nodefs is not None:
            found[EvictionSignal.NODEFS_AVAILABLE], found[EvictionSignal.NODEFS_INODES_FREE] = nodefs
        try:
            usage = await self._images.image_fs_info()
        except CriError as error:
            log.warning("image file system not known", extra={"error": str(error)})
            return found
        imagefs = await self._statvfs(usage[0].mountpoint) if usage else None
        if imagefs is not None:
            found[EvictionSignal.IMAGEFS_AVAILABLE], found[EvictionSignal.IMAGEFS_INODES_FREE] = imagefs
        return found

    async def _statvfs(self, path: str) -> tuple[Observation, Observation] | None:
        try:
            status = await self._threads.run(self._measure, path)
        except OSError as error:
            log.warning("file system cannot be measured", extra={"path": path, "error": str(error)})
            return None
        unit = status.f_frsize
        return (
            Observation(status.f_bavail * unit, status.f_blocks * unit),
            Observation(status.f_favail, status.f_files),
        )
