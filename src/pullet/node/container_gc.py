"""Removes dead containers and sandboxes that no longer tell anything, and rotates logs.

Kept: per container the two newest dead ones (the state and log of a crashed container that waits for its restart, and
those of the one before it, which are `--previous` meanwhile), per pod the newest sandbox. Init
containers that ended well are kept while the pod lives: they say that the pod is initialised.
Source: kubernetes pkg/kubelet/kuberuntime/kuberuntime_gc.go, pkg/kubelet/logs/container_log_manager.go.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from pullet.cri.errors import CriError
from pullet.cri.services import RuntimeService
from pullet.cri.types import ContainerState, PodSandboxState
from pullet.kit.clock import Clock
from pullet.kit.worker_threads import WorkerThreads
from pullet.node.pod_cache import PodCache
from pullet.policy.runtime_status import PodRuntimeStatus

log = logging.getLogger(__name__)

PERIOD_SECONDS = 60.0
LOG_PERIOD_SECONDS = 10.0
DEAD_PER_CONTAINER = 2


def dead_containers(status: PodRuntimeStatus) -> list[str]:
    """Ids of containers that may go: dead ones beyond the newest of each name."""
    kept: dict[str, int] = {}
    chosen = []
    for container in status.containers:  # newest first
        if container.state in (ContainerState.RUNNING, ContainerState.CREATED):
            continue
        kept[container.name] = kept.get(container.name, 0) + 1
        if kept[container.name] > DEAD_PER_CONTAINER:
            chosen.append(container.id)
    return chosen


def dead_sandboxes(status: PodRuntimeStatus) -> list[str]:
    """Ids of sandboxes that may go: not ready, not the newest, and without containers."""
    used = {container.sandbox_id for container in status.containers}
    return [
        sandbox.id
        for sandbox in status.sandboxes[1:]
        if sandbox.state is PodSandboxState.NOTREADY and sandbox.id not in used
    ]


class ContainerGC:
    """Cleans up behind living pods; pods that are gone are removed whole by their worker or by housekeeping."""

    def __init__(
        self,
        *,
        runtime: RuntimeService,
        cache: PodCache,
        threads: WorkerThreads,
        clock: Clock,
        log_max_bytes: int,
        log_max_files: int,
    ) -> None:
        self._runtime, self._cache, self._threads, self._clock = runtime, cache, threads, clock
        self._log_max_bytes, self._log_max_files = log_max_bytes, log_max_files

    async def run(self) -> None:
        """Collect every minute, until cancelled."""
        while True:
            await self._clock.sleep(PERIOD_SECONDS)
            await self.collect()

    async def run_log_rotation(self) -> None:
        """Look at the logs of running containers every ten seconds, until cancelled."""
        while True:
            await self._clock.sleep(LOG_PERIOD_SECONDS)
            await self.rotate_logs()

    async def remove_ended(self, uid: str) -> None:
        """Remove everything of a pod that ended for good, logs too: an evicted pod gives its disk back."""
        with suppress(CriError):
            status = await self._cache.refresh(uid)
            for container in status.containers:
                await self._remove(container.id)
            for sandbox in status.sandboxes:
                await self._runtime.remove_pod_sandbox(sandbox.id)
            await self._cache.refresh(uid)

    async def collect(self) -> None:
        """One pass over all pods; what cannot be removed stays for the next."""
        for uid, status in self._cache.pods.items():
            containers, sandboxes = dead_containers(status), dead_sandboxes(status)
            if not containers and not sandboxes:
                continue
            with suppress(CriError):
                for container_id in containers:
                    await self._remove(container_id)
                for sandbox_id in sandboxes:
                    await self._runtime.remove_pod_sandbox(sandbox_id)
                await self._cache.refresh(uid)

    async def _remove(self, container_id: str) -> None:
        found = await self._runtime.container_status(container_id)
        await self._runtime.remove_container(container_id)
        if found.log_path:
            await self._threads.run(_remove_log, Path(found.log_path))

    async def rotate_logs(self) -> None:
        """Rotate every log of a running container that has grown beyond its limit."""
        for status in self._cache.pods.values():
            for container in status.containers:
                if container.state is not ContainerState.RUNNING:
                    continue
                with suppress(CriError):
                    found = await self._runtime.container_status(container.id)
                    if found.log_path:
                        await self._rotate(Path(found.log_path), container.id)

    async def _rotate(self, path: Path, container_id: str) -> None:
        now = self._clock.now()
        if await self._threads.run(rotate_log, path, now, self._log_max_bytes, self._log_max_files):
            await self._runtime.reopen_container_log(container_id)


def rotate_log(path: Path, now: datetime, max_bytes: int, max_files: int) -> bool:
    """Rename a log beyond `max_bytes` away and drop the oldest beyond `max_files` in all; True if renamed. Blocking."""
    try:
        if path.stat().st_size < max_bytes:
            return False
    except OSError:
        return False
    path.rename(path.with_name(f"{path.name}.{now:%Y%m%d-%H%M%S}"))
    rotated = sorted(path.parent.glob(f"{path.name}.*"))
    for old in rotated[: max(len(rotated) - (max_files - 1), 0)]:
        old.unlink(missing_ok=True)
    return True


def _remove_log(path: Path) -> None:
    for each in (path, *path.parent.glob(f"{path.name}.*")):
        each.unlink(missing_ok=True)
