"""An engine on real parts with one image, for the tests of what its containers get and do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from pullet.cri.log_format import parse_record
from pullet.cri.types import (
    ContainerConfig,
    ContainerMetadata,
    ContainerState,
    ContainerStatus,
    DNSConfig,
    ImageSpec,
    LinuxContainerSecurityContext,
    PodSandboxConfig,
    PodSandboxMetadata,
)
from pullet.engine.runtime_service import EngineRuntimeService
from pullet.kit.clock import SystemClock
from pullet.kit.worker_threads import WorkerThreads
from pullet.ociruntime.cni import NetworkSettings
from pullet.testing.directory_images import DirectoryImages, busybox_image


@dataclass
class World:
    """An engine with one image, opened as often as a test likes."""

    directory: Path
    image: str
    service: EngineRuntimeService
    sandbox_config: PodSandboxConfig
    sandbox: str = ""
    names: list[str] = field(default_factory=list)

    async def create(self, script: str, config: ContainerConfig | None = None) -> str:
        """A container of the world's sandbox that runs the shell script."""
        if not self.sandbox:
            self.sandbox = await self.service.run_pod_sandbox(self.sandbox_config)
        name = f"c{len(self.names)}"
        self.names.append(name)
        base = config or ContainerConfig(metadata=ContainerMetadata(""), image=ImageSpec(self.image))
        made = msgspec.structs.replace(
            base, metadata=ContainerMetadata(name), log_path=f"{name}.log", command=base.command or ("sh", "-c", script)
        )
        return await self.service.create_container(self.sandbox, made, self.sandbox_config)

    async def start(self, script: str, config: ContainerConfig | None = None) -> str:
        container = await self.create(script, config)
        await self.service.start_container(container)
        return container

    async def run(self, script: str, config: ContainerConfig | None = None) -> tuple[ContainerStatus, str]:
        """Its ending and what it wrote."""
        status = await self.ended(await self.start(script, config))
        return status, await self.text(status)

    async def ended(self, container: str) -> ContainerStatus:
        async with asyncio.timeout(15):
            while (status := await self.service.container_status(container)).state is not ContainerState.EXITED:
                await asyncio.sleep(0.02)
        return status

    async def text(self, status: ContainerStatus) -> str:
        raw = await asyncio.to_thread(Path(status.log_path).read_bytes)
        return "".join(record.text.decode() + "\n" for line in raw.splitlines() if (record := parse_record(line)))

    def config(self, **changes: object) -> ContainerConfig:
        base = ContainerConfig(metadata=ContainerMetadata(""), image=ImageSpec(self.image))
        return msgspec.structs.replace(base, **changes)

    def secure(self, **changes: object) -> ContainerConfig:
        context = msgspec.structs.replace(LinuxContainerSecurityContext(), **changes)
        return self.config(security_context=context)


@asynccontextmanager
async def opened(
    directory: Path, threads: WorkerThreads, images: DirectoryImages, *, subnet: str = "10.84.2.0/24"
) -> AsyncIterator[EngineRuntimeService]:
    async with asyncio.TaskGroup() as group:
        service = await EngineRuntimeService.open(
            root=directory / "engine",
            images=images,
            network=NetworkSettings(bridge="pullettest2", subnet=subnet),
            clock=SystemClock(),
            threads=threads,
            group=group,
        )
        yield service
        await service.close()


@asynccontextmanager
async def engine_world(directory: Path) -> AsyncIterator[World]:
    """An engine of its own, whose sandboxes go at the end."""
    threads = WorkerThreads("engine", 4)
    images = await asyncio.to_thread(DirectoryImages, directory / "images")
    image, rootfs = await asyncio.to_thread(busybox_image, directory / "busybox")
    images.add(image, rootfs)
    config = PodSandboxConfig(
        metadata=PodSandboxMetadata("web", "uid-1", "default"),
        hostname="web-0",
        log_directory=str(directory / "logs"),
        dns_config=DNSConfig(servers=("10.96.0.10",), searches=("svc.local",), options=("ndots:5",)),
    )
    try:
        async with opened(directory, threads, images) as service:
            yield World(directory, image.id, service, config)
            for sandbox in await service.list_pod_sandbox():
                await service.remove_pod_sandbox(sandbox.id)
    finally:
        await asyncio.to_thread(threads.close)
