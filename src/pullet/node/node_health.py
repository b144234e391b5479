"""What the node knows of its own health: the runtime's conditions, free disk, the list of images."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from pullet.cri.errors import CriError
from pullet.cri.services import ImageService, RuntimeService
from pullet.cri.types import Image, RuntimeCondition
from pullet.kit.clock import Clock
from pullet.kit.worker_threads import WorkerThreads
from pullet.node.machine import DiskSpace, read_disk_space
from pullet.node.node_status import NodeHealth

log = logging.getLogger(__name__)

RUNTIME_SECONDS = 5.0
IMAGES_SECONDS = 30.0


class HealthMonitor:
    """The facts behind the node's conditions and images; reading them needs no await."""

    def __init__(
        self, *, runtime: RuntimeService, images: ImageService, root: Path, threads: WorkerThreads, clock: Clock
    ) -> None:
        self._runtime, self._image_service, self._root = runtime, images, root
        self._threads, self._clock = threads, clock
        self._conditions: Sequence[RuntimeCondition] = ()
        self._is_down = False
        self._images: Sequence[Image] = ()
        self._disk = DiskSpace(0, 0, 0)

    @property
    def network_problem(self) -> str:
        """Why the runtime's network is not up; empty when it is."""
        for condition in self._conditions:
            if condition.type == "NetworkReady" and not condition.is_true:
                return (
                    "container runtime network not ready: NetworkReady=false "
                    f"reason:{condition.reason} message:{condition.message}"
                )
        return ""

    @property
    def health(self) -> NodeHealth:
        """For the node's status."""
        problems = ["container runtime is down"] if self._is_down else []
        problems += [
            f"container runtime not ready: RuntimeReady=false message:{condition.message}"
            for condition in self._conditions
            if condition.type == "RuntimeReady" and not condition.is_true
        ]
        if self.network_problem:
            problems.append(self.network_problem)
        return NodeHealth(problems=tuple(problems), disk=self._disk, images=self._images)

    async def refresh(self) -> None:
        """Look at everything once."""
        await self.refresh_runtime()
        await self.refresh_images()

    async def refresh_runtime(self) -> None:
        """Ask the runtime for its conditions, the disk for its space."""
        try:
            self._conditions = await self._runtime.status()
            self._is_down = False
        except CriError as error:
            self._is_down = True
            log.warning("runtime does not answer", extra={"error": str(error)})
        self._disk = await self._threads.run(read_disk_space, self._root)

    async def refresh_images(self) -> None:
        """List the images; an error empties the list (spec 18)."""
        try:
            self._images = await self._image_service.list_images()
        except CriError as error:
            self._images = ()
            log.warning("error getting image list", extra={"error": str(error)})

    async def run_runtime(self) -> None:
        """Keep the conditions fresh, until cancelled."""
        while True:
            await self._clock.sleep(RUNTIME_SECONDS)
            await self.refresh_runtime()

    async def run_images(self) -> None:
        """Keep the image list fresh, until cancelled."""
        while True:
            await self._clock.sleep(IMAGES_SECONDS)
            await self.refresh_images()
