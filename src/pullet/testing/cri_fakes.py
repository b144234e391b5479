"""A runtime without processes: a fake RuntimeService with a call log and errors on demand.

It keeps the contract of `cri.services` (it runs the same suite as the engine). Its "processes" are a few
shell words (`sleep`, `exit`, `echo`, `true`, `false`) run against a Clock, or anything else, which runs until
`finish()`. The fake image service is offered from here as well.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from pullet.base.values import State
from pullet.cri.errors import CriError, DeadlineExceededError, NotFoundError
from pullet.cri.log_format import LogRecord, format_record, format_timestamp
from pullet.cri.stats import ContainerStats
from pullet.cri.types import (
    Container,
    ContainerConfig,
    ContainerEvent,
    ContainerEventType,
    ContainerFilter,
    ContainerState,
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
from pullet.kit.clock import Clock
from pullet.kit.worker_threads import WorkerThreads
from pullet.testing.cri_calls import CallLog, nanoseconds
from pullet.testing.cri_image_fakes import FakeImageService as FakeImageService
from pullet.testing.cri_image_fakes import KnownImages
from pullet.testing.cri_image_fakes import RemoteImage as RemoteImage
from pullet.testing.cri_scripts import Script


class _Sandbox(State):
    status: PodSandboxStatus
    config: PodSandboxConfig


class _Container(State):
    status: ContainerStatus
    config: ContainerConfig
    sandbox_id: str
    runner: asyncio.Task[None] | None = None
    stopped: asyncio.Event = msgspec.field(default_factory=asyncio.Event)


class FakeRuntimeService(CallLog):
    """Sandboxes and containers in memory. Use as `async with`: processes are tasks of its group.

    `on_exec` answers `exec_sync`; `images` finds what a container's image id names. Logs are written on `threads`
    (those a FakeClock watches), or on the loop's own.
    """

    def __init__(
        self, clock: Clock, images: KnownImages, *, name: str = "fake", threads: WorkerThreads | None = None
    ) -> None:
        super().__init__()
        self._threads = threads
        self._clock, self._images, self._name = clock, images, name
        self._ids = itertools.count(1)
        self._group = asyncio.TaskGroup()
        self._sandboxes: dict[str, _Sandbox] = {}
        self._containers: dict[str, _Container] = {}
        self._subscribers: list[asyncio.Queue[ContainerEvent]] = []
        self.is_network_ready = True
        self.used: dict[str, tuple[int, int]] = {}  # bytes of writable layer and of memory, by container name
        self.on_exec: Callable[[str, Sequence[str]], ExecSyncResponse] = lambda _id, _command: ExecSyncResponse(
            b"", b"", 0
        )

    async def __aenter__(self) -> FakeRuntimeService:
        await self._group.__aenter__()
        return self

    async def __aexit__(self, *details: object) -> None:
        for container in self._containers.values():
            if container.runner is not None:
                container.runner.cancel()
        await self._group.__aexit__(None, None, None)

    # what tests look at and do

    def config_of(self, container_id: str) -> ContainerConfig:
        """What the container was made from."""
        return self._containers[container_id].config

    def sandbox_config_of(self, sandbox_id: str) -> PodSandboxConfig:
        """What the sandbox was made from."""
        return self._sandboxes[sandbox_id].config

    def running(self) -> dict[str, str]:
        """Ids of running containers by container name."""
        return {
            c.config.metadata.name: c.status.id
            for c in self._containers.values()
            if c.status.state is ContainerState.RUNNING
        }

    def finish(self, container_id: str, exit_code: int = 0, *, reason: str = "") -> None:
        """The process ends."""
        container = self._containers[container_id]
        if container.status.state is not ContainerState.RUNNING:
            return
        container.status = msgspec.structs.replace(
            container.status,
            state=ContainerState.EXITED,
            finished_at=self._now(),
            exit_code=exit_code,
            reason=reason or ("Completed" if exit_code == 0 else "Error"),
        )
        self._emit(ContainerEventType.STOPPED, container_id, container.sandbox_id)

    # RuntimeService

    async def version(self) -> VersionResponse:
        self.record("version")
        return VersionResponse(self._name, "1.0")

    async def status(self) -> Sequence[RuntimeCondition]:
        self.record("status")
        network = RuntimeCondition("NetworkReady", is_true=self.is_network_ready)
        return [RuntimeCondition("RuntimeReady", is_true=True), network]

    async def run_pod_sandbox(self, config: PodSandboxConfig) -> str:
        self.record("run_pod_sandbox", config.metadata.name)
        number = next(self._ids)
        sandbox_id = f"{number:064x}"
        status = PodSandboxStatus(
            id=sandbox_id,
            metadata=config.metadata,
            state=PodSandboxState.READY,
            created_at=self._now(),
            labels=dict(config.labels),
            annotations=dict(config.annotations),
            ip="" if config.namespaces.network == "NODE" else f"10.88.{number // 250}.{number % 250 + 2}",
            namespaces=config.namespaces,
        )
        self._sandboxes[sandbox_id] = _Sandbox(status, config)
        self._emit(ContainerEventType.CREATED, sandbox_id, sandbox_id)
        self._emit(ContainerEventType.STARTED, sandbox_id, sandbox_id)
        return sandbox_id

    async def stop_pod_sandbox(self, sandbox_id: str) -> None:
        self.record("stop_pod_sandbox", sandbox_id)
        sandbox = self._sandboxes.get(sandbox_id)
        if sandbox is None:
            return
        for container in list(self._containers.values()):
            if container.sandbox_id == sandbox_id:
                self._kill(container, 137)
        if sandbox.status.state is PodSandboxState.READY:
            sandbox.status = msgspec.structs.replace(sandbox.status, state=PodSandboxState.NOTREADY, ip="")
            self._emit(ContainerEventType.STOPPED, sandbox_id, sandbox_id)

    async def remove_pod_sandbox(self, sandbox_id: str) -> None:
        self.record("remove_pod_sandbox", sandbox_id)
        if sandbox_id not in self._sandboxes:
            return
        for container in list(self._containers.values()):
            if container.sandbox_id == sandbox_id:
                self._remove(container)
        self._emit(ContainerEventType.DELETED, sandbox_id, sandbox_id)
        del self._sandboxes[sandbox_id]

    async def pod_sandbox_status(self, sandbox_id: str) -> PodSandboxStatus:
        self.record("pod_sandbox_status", sandbox_id)
        if sandbox_id not in self._sandboxes:
            raise NotFoundError(f'an error occurred when try to find sandbox "{sandbox_id}": not found')
        return self._sandboxes[sandbox_id].status

    async def list_pod_sandbox(self, selector: PodSandboxFilter | None = None) -> Sequence[PodSandbox]:
        self.record("list_pod_sandbox")
        wanted = selector or PodSandboxFilter()
        found = [
            PodSandbox(
                id=s.status.id,
                metadata=s.status.metadata,
                state=s.status.state,
                created_at=s.status.created_at,
                labels=s.status.labels,
                annotations=s.status.annotations,
            )
            for s in self._sandboxes.values()
            if wanted.id in ("", s.status.id)
            and wanted.state in (None, s.status.state)
            and _has_labels(s.status.labels, wanted.label_selector)
        ]
        return list(reversed(found))

    async def create_container(self, sandbox_id: str, config: ContainerConfig, sandbox_config: PodSandboxConfig) -> str:
        self.record("create_container", config.metadata.name)
        sandbox = self._sandboxes.get(sandbox_id)
        if sandbox is None:
            raise NotFoundError(f'failed to find sandbox id "{sandbox_id}": not found')
        image = self._images.find(config.image.image)
        if image is None:
            raise NotFoundError(f'failed to get image from containerd "{config.image.image}": image not found')
        container_id = f"{next(self._ids):064x}"
        log_path = ""
        if config.log_path and sandbox.config.log_directory:
            log_path = str(Path(sandbox.config.log_directory) / config.log_path)
        self._containers[container_id] = _Container(
            ContainerStatus(
                id=container_id,
                metadata=config.metadata,
                state=ContainerState.CREATED,
                created_at=self._now(),
                image=ImageSpec(image.repo_tags[0] if image.repo_tags else image.id),
                image_ref=image.repo_digests[0] if image.repo_digests else image.id,
                image_id=image.id,
                labels=dict(config.labels),
                annotations=dict(config.annotations),
                mounts=config.mounts,
                log_path=log_path,
            ),
            config,
            sandbox_id,
        )
        self._emit(ContainerEventType.CREATED, container_id, sandbox_id)
        return container_id

    async def start_container(self, container_id: str) -> None:
        self.record("start_container", container_id)
        container = self._get(container_id)
        if container.status.state is not ContainerState.CREATED:
            raise CriError(f"failed to set starting state for container {container_id!r}: container is not created")
        command = (*container.config.command, *container.config.args)
        now = self._now()
        if command and command[0].startswith("/no/such"):
            container.status = msgspec.structs.replace(
                container.status,
                state=ContainerState.EXITED,
                started_at=now,
                finished_at=now,
                exit_code=128,
                reason="StartError",
            )
            raise CriError(f'failed to start container: exec: "{command[0]}": no such file or directory')
        container.status = msgspec.structs.replace(container.status, state=ContainerState.RUNNING, started_at=now)
        self._emit(ContainerEventType.STARTED, container_id, container.sandbox_id)
        container.runner = self._group.create_task(self._run(container, command))

    async def stop_container(self, container_id: str, timeout_seconds: float) -> None:
        self.record("stop_container", container_id)
        container = self._containers.get(container_id)
        if container is not None:
            self._kill(container, 137 if timeout_seconds <= 0 else 143)

    async def remove_container(self, container_id: str) -> None:
        self.record("remove_container", container_id)
        container = self._containers.get(container_id)
        if container is not None:
            self._remove(container)

    async def list_containers(self, selector: ContainerFilter | None = None) -> Sequence[Container]:
        self.record("list_containers")
        wanted = selector or ContainerFilter()
        found = [
            Container(
                id=c.status.id,
                pod_sandbox_id=c.sandbox_id,
                metadata=c.status.metadata,
                image=c.config.image,
                image_ref=c.status.image_id,
                image_id=c.status.image_id,
                state=c.status.state,
                created_at=c.status.created_at,
                labels=c.status.labels,
                annotations=c.status.annotations,
            )
            for c in self._containers.values()
            if wanted.id in ("", c.status.id)
            and wanted.pod_sandbox_id in ("", c.sandbox_id)
            and wanted.state in (None, c.status.state)
            and _has_labels(c.status.labels, wanted.label_selector)
        ]
        return list(reversed(found))

    async def container_status(self, container_id: str) -> ContainerStatus:
        self.record("container_status", container_id)
        return self._get(container_id).status

    async def container_stats(self, container_id: str) -> ContainerStats:
        self.record("container_stats", container_id)
        found = self._get(container_id)
        layer_bytes, memory_bytes = self.used.get(found.config.metadata.name, (0, 0))
        is_running = found.status.state is ContainerState.RUNNING
        return ContainerStats(
            id=container_id,
            memory_working_set_bytes=memory_bytes if is_running else 0,
            writable_layer_bytes=layer_bytes,
            writable_layer_inodes=1,
        )

    async def exec_sync(self, container_id: str, command: Sequence[str], timeout_seconds: float) -> ExecSyncResponse:
        self.record("exec_sync", container_id)
        container = self._get(container_id)
        if container.status.state is not ContainerState.RUNNING:
            raise CriError(f"container {container_id!r} is in {container.status.state.value} state")
        script = Script.parse(command)
        if script is not None:
            if timeout_seconds and script.seconds > timeout_seconds:
                await self._clock.sleep(timeout_seconds)
                raise DeadlineExceededError(f"failed to exec in container: timeout {timeout_seconds:g}s exceeded")
            await self._clock.sleep(script.seconds)
            return ExecSyncResponse(b"".join(line + b"\n" for line in script.lines), b"", script.exit_code)
        return self.on_exec(container_id, command)

    async def reopen_container_log(self, container_id: str) -> None:
        self.record("reopen_container_log", container_id)
        self._get(container_id)

    async def container_events(self) -> AsyncIterator[ContainerEvent]:
        queue: asyncio.Queue[ContainerEvent] = asyncio.Queue()
        self._subscribers.append(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._subscribers.remove(queue)

    # inside

    def _now(self) -> int:
        return nanoseconds(self._clock.now())

    def _get(self, container_id: str) -> _Container:
        container = self._containers.get(container_id)
        if container is None:
            raise NotFoundError(f'an error occurred when try to find container "{container_id}": not found')
        return container

    def _emit(self, kind: ContainerEventType, container_id: str, sandbox_id: str) -> None:
        sandbox = self._sandboxes.get(sandbox_id)
        event = ContainerEvent(
            type=kind,
            container_id=container_id,
            pod_sandbox_id=sandbox_id,
            pod_uid=sandbox.status.metadata.uid if sandbox else "",
            created_at=self._now(),
        )
        for queue in self._subscribers:
            queue.put_nowait(event)

    def _kill(self, container: _Container, exit_code: int) -> None:
        if container.status.state is ContainerState.RUNNING:
            self.finish(container.status.id, exit_code)
        elif container.status.state is ContainerState.CREATED:
            container.status = msgspec.structs.replace(
                container.status, state=ContainerState.EXITED, finished_at=self._now(), exit_code=exit_code
            )
        if container.runner is not None:
            container.runner.cancel()

    def _remove(self, container: _Container) -> None:
        self._kill(container, 137)
        self._emit(ContainerEventType.DELETED, container.status.id, container.sandbox_id)
        del self._containers[container.status.id]

    async def _run(self, container: _Container, command: Sequence[str]) -> None:
        script = Script.parse(command)
        if script is None:
            return  # runs until finish() or a stop
        if script.lines and container.status.log_path:
            records = [LogRecord(format_timestamp(self._now()), "stdout", False, line) for line in script.lines]
            path, data = Path(container.status.log_path), b"".join(map(format_record, records))
            await (self._threads.run(_append, path, data) if self._threads else asyncio.to_thread(_append, path, data))
        await self._clock.sleep(script.seconds)
        self.finish(container.status.id, script.exit_code)


def _append(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(data)


def _has_labels(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return all(labels.get(name) == value for name, value in wanted.items())
