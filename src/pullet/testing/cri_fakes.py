"""A runtime without processes: fake ImageService and RuntimeService with a call log and errors on demand.

The fakes keep the contract of `cri.services` (they run the same suites as the engine). "Registry" content is what a
test published; "processes" are a few shell words (`sleep`, `exit`, `echo`, `true`, `false`) run against a Clock, or
anything else, which runs until `finish()`.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import shlex
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from pullet.cri.errors import CriError, DeadlineExceededError, InvalidArgumentError, NotFoundError
from pullet.cri.log_format import LogRecord, format_record, format_timestamp
from pullet.cri.types import (
    AuthConfig,
    Container,
    ContainerConfig,
    ContainerEvent,
    ContainerEventType,
    ContainerFilter,
    ContainerState,
    ContainerStatus,
    ExecSyncResponse,
    FilesystemUsage,
    Image,
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
from pullet.oci.reference import ReferenceInvalidError, parse_normalized

NANOS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a method, with its first argument (image, id or pod name) for easy reading."""

    method: str
    argument: str


class CallLog:
    """Calls in order, and the errors that the next calls of a method shall raise."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._errors: dict[str, deque[CriError]] = defaultdict(deque)
        self._standing: dict[str, CriError] = {}

    def fail_next(self, method: str, error: CriError, *, times: int = 1) -> None:
        """The next `times` calls of `method` raise `error`."""
        self._errors[method].extend([error] * times)

    def fail_always(self, method: str, error: CriError | None) -> None:
        """Every call of `method` raises `error`, until None takes it back."""
        if error is None:
            self._standing.pop(method, None)
        else:
            self._standing[method] = error

    def called(self, method: str) -> list[str]:
        """The arguments of the calls of `method`, in order."""
        return [call.argument for call in self.calls if call.method == method]

    def record(self, method: str, argument: str = "") -> None:
        """Note the call; raise what was ordered for it."""
        self.calls.append(Call(method, argument))
        if self._errors[method]:
            raise self._errors[method].popleft()
        if method in self._standing:
            raise self._standing[method]


def _nanos(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000) * 1000


def _sha256(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


@dataclass(slots=True)
class RemoteImage:
    """What the fake registry holds under a name. `allowed` None is anonymous; else the (user, password) pairs."""

    content: str
    size_bytes: int = 1000
    allowed: frozenset[tuple[str, str]] | None = None
    uid: int | None = 0
    username: str = ""

    @property
    def image_id(self) -> str:
        """The config digest."""
        return _sha256(f"config {self.content}")

    @property
    def digest(self) -> str:
        """The manifest digest."""
        return _sha256(f"manifest {self.content}")


class FakeImageService(CallLog):
    """Images from `publish`ed names. `pull_seconds` is how long a pull takes on the clock."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self._remote: dict[str, RemoteImage] = {}
        self._images: dict[str, Image] = {}
        self.pull_seconds = 0.0
        self.capacity_bytes = 100 << 30
        self.auths: list[AuthConfig | None] = []

    def publish(self, image: str, remote: RemoteImage | None = None) -> RemoteImage:
        """Make `image` pullable, also by its digest."""
        reference = parse_normalized(image)
        remote = remote or RemoteImage(content=str(reference))
        self._remote[f"{reference.repository}:{reference.tag or 'latest'}"] = remote
        self._remote[f"{reference.repository}@{remote.digest}"] = remote
        return remote

    def unpublish(self, image: str) -> None:
        """The registry no longer has the tag."""
        reference = parse_normalized(image)
        self._remote.pop(f"{reference.repository}:{reference.tag or 'latest'}", None)

    def load(self, image: str, remote: RemoteImage | None = None, *, is_pinned: bool = False) -> Image:
        """Put the image on the node without a pull, as a preload does."""
        remote = self.publish(image, remote)
        return self._store(image, remote, is_pinned=is_pinned)

    def _store(self, image: str, remote: RemoteImage, *, is_pinned: bool = False) -> Image:
        reference = parse_normalized(image)
        old = self._images.get(remote.image_id)
        tag = () if reference.digest else (f"{reference.repository}:{reference.tag or 'latest'}",)
        for name in tag:  # a moved tag leaves the image that had it
            for other in [i for i in self._images.values() if name in i.repo_tags and i.id != remote.image_id]:
                self._images[other.id] = replace(other, repo_tags=tuple(t for t in other.repo_tags if t != name))
        tags = dict.fromkeys((*(old.repo_tags if old else ()), *tag))
        digests = dict.fromkeys((*(old.repo_digests if old else ()), f"{reference.repository}@{remote.digest}"))
        stored = Image(
            id=remote.image_id,
            repo_tags=tuple(tags),
            repo_digests=tuple(sorted(digests)),
            size_bytes=remote.size_bytes,
            uid=remote.uid,
            username=remote.username,
            is_pinned=is_pinned or (old is not None and old.is_pinned),
        )
        self._images[remote.image_id] = stored
        return stored

    def find(self, image: str) -> Image | None:
        """The stored image for an id or a reference."""
        if image in self._images:
            return self._images[image]
        bare = f"sha256:{image}"
        if bare in self._images:
            return self._images[bare]
        try:
            reference = parse_normalized(image)
        except ReferenceInvalidError as error:
            raise InvalidArgumentError(f"failed to parse image reference {image!r}: {error}") from error
        if reference.digest:
            name = f"{reference.repository}@{reference.digest}"
            return next((i for i in self._images.values() if name in i.repo_digests), None)
        name = f"{reference.repository}:{reference.tag or 'latest'}"
        return next((i for i in self._images.values() if name in i.repo_tags), None)

    async def list_images(self) -> Sequence[Image]:
        self.record("list_images")
        return list(self._images.values())

    async def image_status(self, image: ImageSpec) -> Image | None:
        self.record("image_status", image.image)
        return self.find(image.image)

    async def pull_image(
        self, image: ImageSpec, auth: AuthConfig | None, sandbox: PodSandboxConfig | None = None
    ) -> str:
        self.auths.append(auth)
        self.record("pull_image", image.image)
        if self.pull_seconds:
            await self._clock.sleep(self.pull_seconds)
        try:
            reference = parse_normalized(image.image)
        except ReferenceInvalidError as error:
            raise InvalidArgumentError(f"failed to parse image reference {image.image!r}: {error}") from error
        separator, version = ("@", str(reference.digest)) if reference.digest else (":", reference.tag or "latest")
        name = f"{reference.repository}{separator}{version}"
        prefix = f'failed to pull and unpack image "{name}": failed to resolve image: '
        remote = self._remote.get(name)
        if remote is None:
            raise NotFoundError(f"{prefix}{name}: not found")
        given = (auth.username, auth.password.reveal()) if auth else None
        if remote.allowed is not None and given not in remote.allowed:
            raise CriError(f"{prefix}unexpected status from HEAD request: 401 Unauthorized")
        return self._store(image.image, remote).id

    async def remove_image(self, image: ImageSpec) -> None:
        self.record("remove_image", image.image)
        stored = self.find(image.image)
        if stored is not None:
            del self._images[stored.id]

    async def image_fs_info(self) -> Sequence[FilesystemUsage]:
        self.record("image_fs_info")
        used = sum(image.size_bytes for image in self._images.values())
        return [FilesystemUsage("/", used, len(self._images), _nanos(self._clock.now()))]


@dataclass(slots=True)
class _Sandbox:
    status: PodSandboxStatus
    config: PodSandboxConfig


@dataclass(slots=True)
class _Container:
    status: ContainerStatus
    config: ContainerConfig
    sandbox_id: str
    runner: asyncio.Task[None] | None = None
    stopped: asyncio.Event = field(default_factory=asyncio.Event)


class FakeRuntimeService(CallLog):
    """Sandboxes and containers in memory. Use as `async with`: processes are tasks of its group.

    `on_exec` answers `exec_sync`; `images` finds what a container's image id names.
    """

    def __init__(self, clock: Clock, images: FakeImageService, *, name: str = "fake") -> None:
        super().__init__()
        self._clock, self._images, self._name = clock, images, name
        self._ids = itertools.count(1)
        self._group = asyncio.TaskGroup()
        self._sandboxes: dict[str, _Sandbox] = {}
        self._containers: dict[str, _Container] = {}
        self._subscribers: list[asyncio.Queue[ContainerEvent]] = []
        self.is_network_ready = True
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
        container.status = replace(
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
            sandbox.status = replace(sandbox.status, state=PodSandboxState.NOTREADY, ip="")
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
            container.status = replace(
                container.status,
                state=ContainerState.EXITED,
                started_at=now,
                finished_at=now,
                exit_code=128,
                reason="StartError",
            )
            raise CriError(f'failed to start container: exec: "{command[0]}": no such file or directory')
        container.status = replace(container.status, state=ContainerState.RUNNING, started_at=now)
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

    async def exec_sync(self, container_id: str, command: Sequence[str], timeout_seconds: float) -> ExecSyncResponse:
        self.record("exec_sync", container_id)
        container = self._get(container_id)
        if container.status.state is not ContainerState.RUNNING:
            raise CriError(f"container {container_id!r} is in {container.status.state.value} state")
        script = _Script.parse(command)
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
        return _nanos(self._clock.now())

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
            container.status = replace(
                container.status, state=ContainerState.EXITED, finished_at=self._now(), exit_code=exit_code
            )
        if container.runner is not None:
            container.runner.cancel()

    def _remove(self, container: _Container) -> None:
        self._kill(container, 137)
        self._emit(ContainerEventType.DELETED, container.status.id, container.sandbox_id)
        del self._containers[container.status.id]

    async def _run(self, container: _Container, command: Sequence[str]) -> None:
        script = _Script.parse(command)
        if script is None:
            return  # runs until finish() or a stop
        if script.lines and container.status.log_path:
            records = [LogRecord(format_timestamp(self._now()), "stdout", False, line) for line in script.lines]
            await asyncio.to_thread(_append, Path(container.status.log_path), b"".join(map(format_record, records)))
        await self._clock.sleep(script.seconds)
        self.finish(container.status.id, script.exit_code)


@dataclass(slots=True)
class _Script:
    """A command of which the whole effect is known: lines out, seconds, exit code."""

    lines: list[bytes] = field(default_factory=list)
    seconds: float = 0.0
    exit_code: int = 0

    @classmethod
    def parse(cls, command: Sequence[str]) -> _Script | None:
        """None when it is none of the words known here."""
        shell = len(command) >= 3 and command[0].rpartition("/")[2] == "sh" and command[1] == "-c"
        statements = [shlex.split(part) for part in command[2].split(";")] if shell else [list(command)]
        script = cls()
        for words in filter(None, statements):
            name, rest = words[0].rpartition("/")[2], words[1:]
            if name == "echo":
                script.lines.append(" ".join(rest).encode())
            elif name == "sleep" and rest and rest[0].replace(".", "").isdigit():
                script.seconds += float(rest[0])
            elif name in ("true", "false") or (name == "exit" and rest):
                script.exit_code = {"true": 0, "false": 1}.get(name, int(rest[0]) if rest and name == "exit" else 0)
                if name == "exit":
                    return script
            else:
                return None
        return script if statements and any(statements) else None


def _append(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(data)


def _has_labels(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return all(labels.get(name) == value for name, value in wanted.items())
