"""What every RuntimeService does: the engine on real parts, and the fake that stands in for it elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from pullet.cri.errors import CriError, DeadlineExceededError, NotFoundError
from pullet.cri.log_format import parse_record
from pullet.cri.services import RuntimeService
from pullet.cri.stats import ContainerStatistics
from pullet.cri.types import (
    ContainerConfig,
    ContainerEvent,
    ContainerEventType,
    ContainerFilter,
    ContainerMetadata,
    ContainerState,
    ContainerStatus,
    ImageSpec,
    PodSandboxConfig,
    PodSandboxFilter,
    PodSandboxMetadata,
    PodSandboxState,
)
from pullet.engine.runtime_service import EngineRuntimeService
from pullet.kit.clock import SystemClock
from pullet.kit.worker_threads import WorkerThreads
from pullet.ociruntime.cni import NetworkSettings
from pullet.ociruntime.runtime import NAMES
from pullet.testing.cri_fakes import FakeImageService, FakeRuntimeService
from pullet.testing.directory_images import DirectoryImages, busybox_image

T = TypeVar("T")
PODS = "pods"


@dataclass
class World:
    """A runtime, an image in it, and a place for logs."""

    service: RuntimeService
    image: str
    logs: Path

    def sandbox(self, name: str = "web", *, uid: str = "uid-1", attempt: int = 0) -> PodSandboxConfig:
        return PodSandboxConfig(
            metadata=PodSandboxMetadata(name, uid, "default", attempt),
            hostname=name,
            log_directory=str(self.logs / uid),
            labels={"app": name, "tier": "front"},
            annotations={"note": "n"},
        )

    def container(self, *command: str, name: str = "main", attempt: int = 0) -> ContainerConfig:
        return ContainerConfig(
            metadata=ContainerMetadata(name, attempt),
            image=ImageSpec(self.image),
            command=command,
            labels={"container": name},
            annotations={"hash": "1"},
            log_path=f"{name}/{attempt}.log",
        )

    async def start(self, *command: str, name: str = "main") -> str:
        """A container that runs `command` in a sandbox of its own."""
        config = self.sandbox(uid=f"uid-{name}")
        sandbox = await self.service.run_pod_sandbox(config)
        container = await self.service.create_container(sandbox, self.container(*command, name=name), config)
        await self.service.start_container(container)
        return container

    async def ended(self, container: str) -> ContainerStatus:
        async def exited() -> ContainerStatus | None:
            status = await self.service.container_status(container)
            return status if status.state is ContainerState.EXITED else None

        return await eventually(exited)


async def eventually(ask: Callable[[], Awaitable[T | None]]) -> T:
    async with asyncio.timeout(10):
        while (found := await ask()) is None:
            await asyncio.sleep(0.02)
    return found


@pytest.fixture(params=["fake", *(pytest.param(name, marks=pytest.mark.root) for name in NAMES)])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    """The fake, and the engine with each OCI runtime."""
    name: str = request.param
    async with fake_world(tmp_path) if name == "fake" else engine_world(tmp_path, name) as made:
        yield made
        for sandbox in await made.service.list_pod_sandbox():
            await made.service.remove_pod_sandbox(sandbox.id)


@asynccontextmanager
async def fake_world(directory: Path) -> AsyncIterator[World]:
    images = FakeImageService(SystemClock())
    images.publish("busybox:1")
    image = await images.pull_image(ImageSpec("busybox:1"), None)
    async with FakeRuntimeService(SystemClock(), images) as service:
        yield World(service, image, directory / PODS)


@asynccontextmanager
async def engine_world(directory: Path, oci_runtime: str) -> AsyncIterator[World]:
    threads = WorkerThreads("engine", 4)
    images = await threads.run(DirectoryImages, directory / "images")
    image, rootfs = await threads.run(busybox_image, directory / "busybox")
    images.add(image, rootfs)
    try:
        async with asyncio.TaskGroup() as group:
            service = await EngineRuntimeService.open(
                root=directory / "engine",
                images=images,
                network=NetworkSettings(bridge="pullettest0", subnet="10.84.0.0/24"),
                clock=SystemClock(),
                threads=threads,
                group=group,
                oci_runtime=oci_runtime,
            )
            yield World(service, image.id, directory / PODS)
            await service.close()
    finally:
        await asyncio.to_thread(threads.close)


# -- the runtime ------------------------------------------------------------------------------------------------------


async def test_it_says_who_it_is_and_that_it_is_ready(world: World) -> None:
    assert (await world.service.version()).runtime_name
    conditions = {condition.type: condition.is_true for condition in await world.service.status()}
    assert conditions == {"RuntimeReady": True, "NetworkReady": True}


# -- sandboxes --------------------------------------------------------------------------------------------------------


async def test_a_sandbox_is_ready_with_an_address(world: World) -> None:
    config = world.sandbox()
    sandbox = await world.service.run_pod_sandbox(config)
    status = await world.service.pod_sandbox_status(sandbox)
    assert status.state is PodSandboxState.READY
    assert status.metadata == config.metadata
    assert status.labels == config.labels
    assert status.annotations == config.annotations
    assert status.created_at > 0
    assert status.ip.count(".") == 3


async def test_a_stopped_sandbox_is_not_ready_and_has_no_address(world: World) -> None:
    sandbox = await world.service.run_pod_sandbox(world.sandbox())
    await world.service.stop_pod_sandbox(sandbox)
    await world.service.stop_pod_sandbox(sandbox)
    status = await world.service.pod_sandbox_status(sandbox)
    assert (status.state, status.ip) == (PodSandboxState.NOTREADY, "")


async def test_stopping_a_sandbox_stops_its_containers(world: World) -> None:
    container = await world.start("sleep", "1000")
    (sandbox,) = await world.service.list_pod_sandbox()
    await world.service.stop_pod_sandbox(sandbox.id)
    assert (await world.ended(container)).exit_code == 137


async def test_a_removed_sandbox_is_gone_with_its_containers(world: World) -> None:
    container = await world.start("sleep", "1000")
    (sandbox,) = await world.service.list_pod_sandbox()
    await world.service.remove_pod_sandbox(sandbox.id)
    await world.service.remove_pod_sandbox(sandbox.id)
    assert await world.service.list_pod_sandbox() == []
    assert await world.service.list_containers() == []
    with pytest.raises(NotFoundError):
        await world.service.pod_sandbox_status(sandbox.id)
    with pytest.raises(NotFoundError):
        await world.service.container_status(container)


async def test_absent_is_success_where_it_says_so(world: World) -> None:
    absent = "f" * 64
    await world.service.stop_pod_sandbox(absent)
    await world.service.remove_pod_sandbox(absent)
    await world.service.stop_container(absent, 1)
    await world.service.remove_container(absent)


async def test_sandboxes_are_listed_newest_first_and_filtered(world: World) -> None:
    first = await world.service.run_pod_sandbox(world.sandbox("web", uid="uid-1"))
    second = await world.service.run_pod_sandbox(world.sandbox("db", uid="uid-2"))
    await world.service.stop_pod_sandbox(first)

    async def listed(selector: PodSandboxFilter | None = None) -> list[str]:
        return [sandbox.id for sandbox in await world.service.list_pod_sandbox(selector)]

    assert await listed() == [second, first]
    assert await listed(PodSandboxFilter(id=first)) == [first]
    assert await listed(PodSandboxFilter(state=PodSandboxState.READY)) == [second]
    assert await listed(PodSandboxFilter(label_selector={"app": "web", "tier": "front"})) == [first]
    assert await listed(PodSandboxFilter(label_selector={"app": "none"})) == []


# -- containers -------------------------------------------------------------------------------------------------------


async def test_a_container_goes_from_created_to_running_to_exited(world: World) -> None:
    config = world.sandbox()
    sandbox = await world.service.run_pod_sandbox(config)
    container = await world.service.create_container(sandbox, world.container("sh", "-c", "sleep 1; exit 3"), config)
    created = await world.service.container_status(container)
    assert created.state is ContainerState.CREATED
    assert (created.started_at, created.finished_at) == (0, 0)
    await world.service.start_container(container)
    running = await world.service.container_status(container)
    assert running.state is ContainerState.RUNNING
    assert running.started_at >= running.created_at > 0
    ended = await world.ended(container)
    assert (ended.exit_code, ended.reason) == (3, "Error")
    assert ended.finished_at > ended.started_at


async def test_success_is_called_completed(world: World) -> None:
    ended = await world.ended(await world.start("true"))
    assert (ended.exit_code, ended.reason) == (0, "Completed")


async def test_a_status_tells_what_the_container_was_made_of(world: World) -> None:
    container = await world.start("sleep", "1000", name="side")
    status = await world.service.container_status(container)
    assert status.metadata == ContainerMetadata("side", 0)
    assert status.image.image == "docker.io/library/busybox:1"
    assert status.image_ref.startswith("docker.io/library/busybox@sha256:")
    assert status.image_id == world.image
    assert status.labels == {"container": "side"}
    assert status.annotations == {"hash": "1"}
    assert status.log_path == str(world.logs / "uid-side" / "side" / "0.log")


async def test_what_a_container_uses_is_measured_while_it_runs_and_afterwards(world: World) -> None:
    assert isinstance(world.service, ContainerStatistics)
    container = await world.start("sleep", "1000")
    running = await world.service.container_stats(container)
    assert running.id == container
    assert running.memory_working_set_bytes >= 0
    assert running.writable_layer_inodes >= 1
    await world.service.stop_container(container, 0)
    await world.ended(container)
    assert (await world.service.container_stats(container)).memory_working_set_bytes == 0
    with pytest.raises(NotFoundError):
        await world.service.container_stats("nobody")


async def test_a_command_that_is_not_there_fails_the_start(world: World) -> None:
    config = world.sandbox()
    sandbox = await world.service.run_pod_sandbox(config)
    container = await world.service.create_container(sandbox, world.container("/no/such/thing"), config)
    with pytest.raises(CriError, match="/no/such/thing"):
        await world.service.start_container(container)
    status = await world.service.container_status(container)
    assert (status.state, status.exit_code, status.reason) == (ContainerState.EXITED, 128, "StartError")


async def test_a_container_starts_once(world: World) -> None:
    container = await world.start("sleep", "1000")
    with pytest.raises(CriError):
        await world.service.start_container(container)
    assert (await world.service.container_status(container)).state is ContainerState.RUNNING


async def test_create_wants_a_sandbox_and_an_image(world: World) -> None:
    config = world.sandbox()
    with pytest.raises(NotFoundError):
        await world.service.create_container("f" * 64, world.container("true"), config)
    sandbox = await world.service.run_pod_sandbox(config)
    absent = ContainerConfig(metadata=ContainerMetadata("main"), image=ImageSpec("sha256:" + "e" * 64))
    with pytest.raises(NotFoundError):
        await world.service.create_container(sandbox, absent, config)
    assert await world.service.list_containers() == []


async def test_stop_ends_a_container_that_does_not_listen(world: World) -> None:
    container = await world.start("sleep", "1000")
    await world.service.stop_container(container, 0)
    ended = await world.ended(container)
    assert ended.exit_code == 137
    await world.service.stop_container(container, 10)


async def test_a_running_container_can_be_removed(world: World) -> None:
    container = await world.start("sleep", "1000")
    await world.service.remove_container(container)
    await world.service.remove_container(container)
    assert await world.service.list_containers() == []


async def test_the_log_has_a_record_per_line_and_outlives_the_container(world: World) -> None:
    container = await world.start("sh", "-c", "echo one; echo two words")
    status = await world.ended(container)
    await world.service.remove_container(container)
    lines = await asyncio.to_thread(Path(status.log_path).read_bytes)
    records = [parse_record(line) for line in lines.splitlines()]
    assert [(record.stream, record.text, record.is_partial) for record in records if record] == [
        ("stdout", b"one", False),
        ("stdout", b"two words", False),
    ]


async def test_containers_are_listed_newest_first_and_filtered(world: World) -> None:
    config = world.sandbox()
    sandbox = await world.service.run_pod_sandbox(config)
    first = await world.service.create_container(sandbox, world.container("sleep", "1000", name="a"), config)
    second = await world.service.create_container(sandbox, world.container("sleep", "1000", name="b"), config)
    await world.service.start_container(second)

    async def listed(selector: ContainerFilter | None = None) -> list[str]:
        return [container.id for container in await world.service.list_containers(selector)]

    assert await listed() == [second, first]
    assert await listed(ContainerFilter(id=first)) == [first]
    assert await listed(ContainerFilter(pod_sandbox_id=sandbox)) == [second, first]
    assert await listed(ContainerFilter(pod_sandbox_id="f" * 64)) == []
    assert await listed(ContainerFilter(state=ContainerState.RUNNING)) == [second]
    assert await listed(ContainerFilter(label_selector={"container": "a"})) == [first]


# -- exec and events --------------------------------------------------------------------------------------------------


async def test_exec_gives_output_and_exit_code(world: World) -> None:
    container = await world.start("sleep", "1000")
    answer = await world.service.exec_sync(container, ["sh", "-c", "echo hello; exit 4"], 10)
    assert (answer.stdout, answer.exit_code) == (b"hello\n", 4)


async def test_exec_that_takes_too_long_is_given_up(world: World) -> None:
    container = await world.start("sleep", "1000")
    with pytest.raises(DeadlineExceededError):
        await world.service.exec_sync(container, ["sleep", "1000"], 0.2)


async def test_exec_wants_a_running_container(world: World) -> None:
    container = await world.start("true")
    await world.ended(container)
    with pytest.raises(CriError):
        await world.service.exec_sync(container, ["true"], 10)


async def test_events_tell_the_life_of_a_container(world: World) -> None:
    seen: list[ContainerEvent] = []

    async def listen() -> None:
        async for event in world.service.container_events():
            seen.append(event)
            if event.type is ContainerEventType.DELETED and event.container_id == event.pod_sandbox_id:
                return

    async with asyncio.TaskGroup() as group:
        group.create_task(listen())
        await asyncio.sleep(0)
        container = await world.start("true")
        await world.ended(container)
        (sandbox,) = await world.service.list_pod_sandbox()
        await world.service.stop_pod_sandbox(sandbox.id)
        await world.service.remove_pod_sandbox(sandbox.id)
    assert {event.pod_uid for event in seen} == {"uid-main"}
    assert [event.type for event in seen if event.container_id == container] == [
        ContainerEventType.CREATED,
        ContainerEventType.STARTED,
        ContainerEventType.STOPPED,
        ContainerEventType.DELETED,
    ]
    assert [event.type for event in seen if event.container_id == sandbox.id] == [
        ContainerEventType.CREATED,
        ContainerEventType.STARTED,
        ContainerEventType.STOPPED,
        ContainerEventType.DELETED,
    ]
