"""CRI's RuntimeService in process: one method per call, bodies in `sandboxes`, `containers` and `streaming`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Self

from pullet import __version__
from pullet.cri.errors import CriError
from pullet.cri.extensions import StreamIO
from pullet.cri.stats import ContainerStats
from pullet.cri.types import (
    Container,
    ContainerConfig,
    ContainerEvent,
    ContainerFilter,
    ContainerStatus,
    ExecSyncResponse,
    ImageSpec,
    PodSandbox,
    PodSandboxConfig,
    PodSandboxFilter,
    PodSandboxState,
    PodSandboxStatus,
    RuntimeCondition,
    VersionResponse,
)
from pullet.engine.container_events import ContainerEvents
from pullet.engine.container_images import ContainerImages
from pullet.engine.containers import Containers, LiveContainer
from pullet.engine.sandboxes import Sandboxes
from pullet.engine.state_files import SandboxPhase, SandboxRecord, StateFiles
from pullet.engine.streaming import Streaming
from pullet.kit.clock import Clock
from pullet.kit.tasks import Uninterrupted
from pullet.kit.worker_threads import WorkerThreads
from pullet.ociruntime.cni import CniNetwork, NetworkSettings
from pullet.ociruntime.errors import OciRuntimeError
from pullet.ociruntime.monitored_process import reopen_log
from pullet.ociruntime.runtime import OciRuntime, find_runtime

RUNTIME_NAME = "pullet"


class EngineRuntimeService:
    """Sandboxes and containers of one engine. Implements RuntimeService and InProcessStreaming; made by `open`."""

    def __init__(
        self,
        *,
        files: StateFiles,
        network: CniNetwork,
        runtime: OciRuntime,
        images: ContainerImages,
        clock: Clock,
        threads: WorkerThreads,
        group: asyncio.TaskGroup,
    ) -> None:
        self._network, self._threads, self._group, self._files = network, threads, group, files
        self._events = ContainerEvents()
        self._sandboxes = Sandboxes(
            files=files,
            network=network,
            clock=clock,
            threads=threads,
            events=self._events,
            uninterrupted=Uninterrupted(group),
        )
        self._containers = Containers(
            files=files,
            sandboxes=self._sandboxes,
            images=images,
            runtime=runtime,
            clock=clock,
            threads=threads,
            events=self._events,
            group=group,
        )
        self._streaming = Streaming(
            files=files,
            containers=self._containers,
            sandboxes=self._sandboxes,
            runtime=runtime,
            threads=threads,
        )

    @classmethod
    async def open(
        cls,
        *,
        root: Path,
        images: ContainerImages,
        network: NetworkSettings,
        clock: Clock,
        threads: WorkerThreads,
        group: asyncio.TaskGroup,
        oci_runtime: str = "",
    ) -> Self:
        """Open the state below `root` and take up what the last run left:

        The living are watched again, what was half made or half removed is removed without trace.

        Tasks that wait for containers belong to `group`; `close` ends them, the containers go on.

        Raises:
            RuntimeMissingError, RuntimeChangedError: as `find_runtime` with `oci_runtime` as the wanted one.
        """
        runtime = await threads.run(partial(find_runtime, root / "runtime", wanted=oci_runtime))
        files = await threads.run(StateFiles, root)
        await threads.run(files.sweep_temporary)
        service = cls(
            files=files,
            network=CniNetwork(network, state_directory=root / "network"),
            runtime=runtime,
            images=images,
            clock=clock,
            threads=threads,
            group=group,
        )
        await service._sandboxes.recover()
        await service._containers.recover()
        return service

    async def close(self) -> None:
        """Stop watching. Containers and sandboxes stay as they are, for the next `open`."""
        await self._containers.close()

    # -- the runtime itself -----------------------------------------------------------------------------------------

    async def version(self) -> VersionResponse:
        return VersionResponse(RUNTIME_NAME, __version__)

    async def status(self) -> Sequence[RuntimeCondition]:
        missing = await self._threads.run(self._network.missing_plugins)
        network = (
            RuntimeCondition("NetworkReady", is_true=True)
            if not missing
            else RuntimeCondition(
                "NetworkReady",
                is_true=False,
                reason="NetworkPluginNotReady",
                message=f"Network plugins are not installed: {', '.join(missing)}: "
                "apt-get install containernetworking-plugins",
            )
        )
        return RuntimeCondition("RuntimeReady", is_true=True), network

    # -- sandboxes --------------------------------------------------------------------------------------------------

    async def run_pod_sandbox(self, config: PodSandboxConfig) -> str:
        return await self._sandboxes.run(config)

    async def stop_pod_sandbox(self, sandbox_id: str) -> None:
        await self._with_each(sandbox_id, lambda container_id: self._containers.stop(container_id, 0))
        await self._sandboxes.stop(sandbox_id)

    async def remove_pod_sandbox(self, sandbox_id: str) -> None:
        await self.stop_pod_sandbox(sandbox_id)
        await self._with_each(sandbox_id, self._containers.remove)
        await self._sandboxes.remove(sandbox_id)

    async def _with_each(self, sandbox_id: str, work: Callable[[str], Awaitable[None]]) -> None:
        for container in self._containers.of_sandbox(sandbox_id):
            await work(container.record.id)

    async def pod_sandbox_status(self, sandbox_id: str) -> PodSandboxStatus:
        record = self._sandboxes.get(sandbox_id)
        ips = record.ips if record.phase is SandboxPhase.READY else ()
        return PodSandboxStatus(
            id=record.id,
            metadata=record.config.metadata,
            state=_sandbox_state(record),
            created_at=record.created_at,
            labels=record.config.labels,
            annotations=record.config.annotations,
            ip=next(iter(ips), ""),
            additional_ips=ips[1:],
            namespaces=record.config.namespaces,
        )

    async def list_pod_sandbox(self, selector: PodSandboxFilter | None = None) -> Sequence[PodSandbox]:
        wanted = selector or PodSandboxFilter()
        return [
            PodSandbox(
                id=record.id,
                metadata=record.config.metadata,
                state=_sandbox_state(record),
                created_at=record.created_at,
                labels=record.config.labels,
                annotations=record.config.annotations,
            )
            for record in self._sandboxes.list()
            if wanted.id in ("", record.id)
            and wanted.state in (None, _sandbox_state(record))
            and _matches(wanted.label_selector, record.config.labels)
        ]

    # -- containers -------------------------------------------------------------------------------------------------

    async def create_container(self, sandbox_id: str, config: ContainerConfig, sandbox_config: PodSandboxConfig) -> str:
        return await self._containers.create(sandbox_id, config, sandbox_config)

    async def start_container(self, container_id: str) -> None:
        await self._containers.start(container_id)

    async def stop_container(self, container_id: str, timeout_seconds: float) -> None:
        await self._containers.stop(container_id, timeout_seconds)

    async def remove_container(self, container_id: str) -> None:
        await self._containers.remove(container_id)

    async def list_containers(self, selector: ContainerFilter | None = None) -> Sequence[Container]:
        wanted = selector or ContainerFilter()
        return [
            Container(
                id=container.record.id,
                pod_sandbox_id=container.record.sandbox_id,
                metadata=container.record.config.metadata,
                image=container.record.config.image,
                image_ref=container.record.image_id,
                image_id=container.record.image_id,
                state=container.state,
                created_at=container.record.created_at,
                labels=container.record.config.labels,
                annotations=container.record.config.annotations,
            )
            for container in self._containers.list()
            if wanted.id in ("", container.record.id)
            and wanted.pod_sandbox_id in ("", container.record.sandbox_id)
            and wanted.state in (None, container.state)
            and _matches(wanted.label_selector, container.record.config.labels)
        ]

    async def container_status(self, container_id: str) -> ContainerStatus:
        return _container_status(self._containers.get(container_id))

    async def container_stats(self, container_id: str) -> ContainerStats:
        return await self._containers.stats(container_id)

    async def reopen_container_log(self, container_id: str) -> None:
        self._containers.running(container_id)
        try:
            await self._threads.run(reopen_log, self._files.container(container_id))
        except OciRuntimeError as error:
            raise CriError(f"failed to reopen container log: {error}") from error

    def container_events(self) -> AsyncIterator[ContainerEvent]:
        return self._events.subscribe()

    # -- streams ----------------------------------------------------------------------------------------------------

    async def exec_sync(self, container_id: str, command: Sequence[str], timeout_seconds: float) -> ExecSyncResponse:
        return await self._streaming.exec_sync(container_id, command, timeout_seconds)

    async def exec_stream(
        self, container_id: str, command: Sequence[str], *, tty: bool, stdin: bool, io: StreamIO
    ) -> int:
        return await self._streaming.exec_stream(container_id, command, tty=tty, stdin=stdin, io=io)

    async def attach_stream(self, container_id: str, *, tty: bool, stdin: bool, io: StreamIO) -> None:
        await self._streaming.attach(container_id, tty=tty, stdin=stdin, io=io)

    async def port_forward(self, sandbox_id: str, port: int, on_connected: Callable[[int], Awaitable[None]]) -> None:
        await self._streaming.port_forward(sandbox_id, port, on_connected)


def _sandbox_state(record: SandboxRecord) -> PodSandboxState:
    return PodSandboxState.READY if record.phase is SandboxPhase.READY else PodSandboxState.NOTREADY


def _matches(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    return all(labels.get(name) == value for name, value in selector.items())


def _container_status(container: LiveContainer) -> ContainerStatus:
    record, ending = container.record, container.ending
    return ContainerStatus(
        id=record.id,
        metadata=record.config.metadata,
        state=container.state,
        created_at=record.created_at,
        started_at=container.started_at,
        finished_at=ending.finished_at if ending is not None else 0,
        exit_code=ending.exit_code if ending is not None else 0,
        image=ImageSpec(record.image_name, user_specified_image=record.config.image.user_specified_image),
        image_ref=record.image_ref,
        image_id=record.image_id,
        reason=ending.reason if ending is not None else "",
        message=ending.message if ending is not None else "",
        labels=record.config.labels,
        annotations=record.config.annotations,
        mounts=record.config.mounts,
        log_path=record.log_path,
        user_uid=record.uid,
        user_gid=record.gid,
        user_supplemental_groups=record.groups,
    )
