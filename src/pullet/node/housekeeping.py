"""Removes what no pod needs: sandboxes, directories and logs whose pod the API no longer has.

A pod deleted while the node was down is found here. Source: kubernetes pkg/kubelet/kubelet_pods.go HandlePodCleanups.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Set
from pathlib import Path

from pullet.cri.errors import CriError
from pullet.kit.clock import Clock
from pullet.kit.worker_threads import WorkerThreads
from pullet.node.pod_cache import PodCache
from pullet.node.pod_paths import PodPaths
from pullet.node.runtime_manager import RuntimeManager
from pullet.node.volumes import VolumeError, VolumeManager

log = logging.getLogger(__name__)

PERIOD_SECONDS = 2.0
DIRECTORIES_PERIOD_SECONDS = 60.0


class Housekeeping:
    """`known()` gives the uids of all pods that the API has or a worker still cares for."""

    def __init__(
        self,
        *,
        cache: PodCache,
        manager: RuntimeManager,
        volumes: VolumeManager,
        paths: PodPaths,
        known: Callable[[], Set[str]],
        threads: WorkerThreads,
        clock: Clock,
    ) -> None:
        self._cache, self._manager, self._volumes, self._paths = cache, manager, volumes, paths
        self._known, self._threads, self._clock = known, threads, clock

    async def run(self) -> None:
        """Clean up again and again; start it only when the API's pods are known."""
        last = float("-inf")
        while True:
            await self.remove_orphans()
            if self._clock.monotonic() - last >= DIRECTORIES_PERIOD_SECONDS:
                last = self._clock.monotonic()
                await self.remove_directories()
            await self._clock.sleep(PERIOD_SECONDS)

    async def remove_orphans(self) -> None:
        """Stop and remove the sandboxes of unknown pods."""
        for uid, status in self._cache.pods.items():
            if uid in self._known():
                continue
            log.info("removing containers of a pod that is gone", extra={"pod_uid": uid})
            try:
                await self._manager.remove_pod(status)
            except CriError as error:
                log.warning("orphan not removed", extra={"pod_uid": uid, "error": str(error)})
                continue
            self._cache.forget(uid)

    async def remove_directories(self) -> None:
        """Unmount and remove pod directories and logs of unknown pods."""
        known = set(self._known()) | set(self._cache.pods)
        for uid in await self._threads.run(_names, self._paths.pods):
            if uid not in known:
                try:
                    await self._volumes.unmount(uid)
                except VolumeError as error:
                    log.warning("orphaned volumes not removed", extra={"pod_uid": uid, "error": str(error)})
        for name in await self._threads.run(_names, self._paths.all_logs):
            if name.rpartition("_")[2] not in known:
                await self._threads.run(shutil.rmtree, self._paths.all_logs / name, ignore_errors=True)


def _names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir()) if directory.is_dir() else []
