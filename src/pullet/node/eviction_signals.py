"""What a node under pressure measures: its file systems, its memory, and what each of its pods uses."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

from pullet.cri.errors import CriError
from pullet.cri.services import ImageService, RuntimeService
from pullet.cri.stats import ContainerStatistics
from pullet.kit.directory_size import directory_size
from pullet.kit.worker_threads import WorkerThreads
from pullet.kube.pod import PodView
from pullet.node.machine import read_memory_space
from pullet.node.pod_cache import PodCache
from pullet.node.pod_paths import PodPaths
from pullet.policy.eviction import EvictionSignal, Observation
from pullet.policy.pod_eviction import ContainerUse, DiskUse, PodUse

log = logging.getLogger(__name__)


class EvictionSignals:
    """Observes one node. The imagefs is where the image service says, the nodefs where `root` is."""

    def __init__(
        self,
        *,
        root: Path,
        images: ImageService,
        threads: WorkerThreads,
        measure: Callable[[str], os.statvfs_result] = os.statvfs,
        memory: Callable[[], Observation | None] = lambda: _memory(),
    ) -> None:
        """`measure` and `memory` are called on `threads`."""
        self._root, self._images, self._threads = root, images, threads
        self._measure, self._memory = measure, memory

    async def observe(self) -> dict[EvictionSignal, Observation]:
        """What is left now; what cannot be measured is missing."""
        found: dict[EvictionSignal, Observation] = {}
        if (memory := await self._threads.run(self._memory)) is not None:
            found[EvictionSignal.MEMORY_AVAILABLE] = memory
        if (nodefs := await self._file_system(str(self._root))) is not None:
            found[EvictionSignal.NODEFS_AVAILABLE], found[EvictionSignal.NODEFS_INODES_FREE] = nodefs
        mountpoint = await self._image_directory()
        if mountpoint and (imagefs := await self._file_system(mountpoint)) is not None:
            found[EvictionSignal.IMAGEFS_AVAILABLE], found[EvictionSignal.IMAGEFS_INODES_FREE] = imagefs
        return found

    async def has_own_imagefs(self) -> bool:
        """Whether images lie on another file system than pods' files."""
        mountpoint = await self._image_directory()
        if not mountpoint:
            return False

        def differ() -> bool:
            try:
                return self._root.stat().st_dev != Path(mountpoint).stat().st_dev
            except OSError:
                return False

        return await self._threads.run(differ)

    async def _image_directory(self) -> str:
        try:
            usage = await self._images.image_fs_info()
        except CriError as error:
            log.warning("image file system not known", extra={"error": str(error)})
            return ""
        return usage[0].mountpoint if usage else ""

    async def _file_system(self, path: str) -> tuple[Observation, Observation] | None:
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


def _memory() -> Observation | None:
    capacity, available = read_memory_space()
    return Observation(available, capacity) if capacity else None


class PodUses:
    """Measures pods: writable layers and memory by the runtime, logs and volumes by walking them."""

    def __init__(self, *, runtime: RuntimeService, cache: PodCache, paths: PodPaths, threads: WorkerThreads) -> None:
        self._runtime, self._cache, self._paths, self._threads = runtime, cache, paths, threads

    async def of(self, pod: PodView) -> PodUse:
        """What the pod uses now; ended runs of a container count with it."""
        containers: dict[str, ContainerUse] = {}
        status = self._cache.pods.get(pod.uid)
        for name in {each.name for each in status.containers} if status is not None else ():
            containers[name] = ContainerUse(logs=await self._disk(self._paths.logs(pod) / name))
        for each in status.containers if status is not None else ():
            known = containers[each.name]
            written, memory = await self._measured(each.id)
            containers[each.name] = ContainerUse(
                rootfs=known.rootfs + written, logs=known.logs, memory_bytes=known.memory_bytes + memory
            )
        return PodUse(containers=containers, volumes=await self._disk(self._paths.volumes(pod.uid)))

    async def _measured(self, container_id: str) -> tuple[DiskUse, int]:
        if not isinstance(self._runtime, ContainerStatistics):
            return DiskUse(), 0
        try:
            stats = await self._runtime.container_stats(container_id)
        except CriError as error:
            log.info("container not measured", extra={"container": container_id, "error": str(error)})
            return DiskUse(), 0
        return DiskUse(stats.writable_layer_bytes, stats.writable_layer_inodes), stats.memory_working_set_bytes

    async def _disk(self, directory: Path) -> DiskUse:
        return DiskUse(*await self._threads.run(directory_size, directory))
