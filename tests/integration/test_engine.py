"""The engine on real parts: pulled images become containers, and a restart of the engine changes nothing for them."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pullet.cri.errors import CriError
from pullet.cri.types import (
    ContainerConfig,
    ContainerMetadata,
    ContainerState,
    ContainerStatus,
    ImageSpec,
    Mount,
    PodSandboxConfig,
    PodSandboxMetadata,
    PodSandboxState,
)
from pullet.engine.engine import Engine
from pullet.kit.clock import SystemClock
from pullet.oci.platform import parse_platform
from pullet.ociruntime.cni import NetworkSettings
from pullet.registry.client import RegistryClient
from pullet.registry.hosts import HostsConfig
from pullet.testing.fake_registry import FakeRegistry
from pullet.testing.images import busybox_image, tiny_image

pytestmark = pytest.mark.root
NETWORK = NetworkSettings(bridge="pullettest1", subnet="10.84.1.0/24")


@asynccontextmanager
async def open_engine(root: Path, *, allow_other_architectures: bool = False) -> AsyncIterator[Engine]:
    registry = RegistryClient(HostsConfig(), clock=SystemClock())
    try:
        async with Engine.open(
            root=root,
            clock=SystemClock(),
            registry=registry,
            network=NETWORK,
            allow_other_architectures=allow_other_architectures,
        ) as engine:
            yield engine
    finally:
        registry.close()


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as fake:
        fake.push(busybox_image("sh", "-c", "id -u; exit 5", user="1000"), "exits", "1")
        fake.push(busybox_image("sh", "-c", "cat /data/*; touch /data/x || echo refused"), "reads", "1")
        fake.push(tiny_image("content"), "data", "1")
        fake.push(busybox_image("sh", "-c", 'trap "exit 9" TERM; while :; do sleep 0.1; done'), "listens", "1")
        yield fake


def sandbox_config(directory: Path) -> PodSandboxConfig:
    return PodSandboxConfig(
        metadata=PodSandboxMetadata("web", "uid-1", "default"), hostname="web", log_directory=str(directory / "logs")
    )


async def ended(engine: Engine, container: str) -> ContainerStatus:
    async with asyncio.timeout(10):
        while (status := await engine.runtime.container_status(container)).state is not ContainerState.EXITED:
            await asyncio.sleep(0.02)
    return status


async def test_a_pulled_image_runs_with_its_own_command_and_user(tmp_path: Path, registry: FakeRegistry) -> None:
    name = f"{registry.host}/exits:1"
    async with open_engine(tmp_path / "node") as engine:
        image = await engine.images.pull_image(ImageSpec(name), None)
        config = sandbox_config(tmp_path)
        sandbox = await engine.runtime.run_pod_sandbox(config)
        container = await engine.runtime.create_container(
            sandbox,
            ContainerConfig(metadata=ContainerMetadata("main"), image=ImageSpec(image), log_path="main.log"),
            config,
        )
        await engine.runtime.start_container(container)
        status = await ended(engine, container)
        assert status.exit_code == 5
        assert status.image.image == name
        assert status.image_ref.startswith(f"{registry.host}/exits@sha256:")
        assert status.user_uid == 1000
        log = await asyncio.to_thread((tmp_path / "logs" / "main.log").read_text)
        assert log.split()[-1] == "1000"
        await engine.runtime.remove_pod_sandbox(sandbox)
        assert await asyncio.to_thread(engine.store.snapshots.list) == ()


async def test_an_image_is_a_read_only_volume(tmp_path: Path, registry: FakeRegistry) -> None:
    async with open_engine(tmp_path / "node") as engine:
        image = await engine.images.pull_image(ImageSpec(f"{registry.host}/reads:1"), None)
        data = await engine.images.pull_image(ImageSpec(f"{registry.host}/data:1"), None)
        config = sandbox_config(tmp_path)
        sandbox = await engine.runtime.run_pod_sandbox(config)
        container = await engine.runtime.create_container(
            sandbox,
            ContainerConfig(
                metadata=ContainerMetadata("main"),
                image=ImageSpec(image),
                log_path="main.log",
                mounts=(Mount(container_path="/data", image=ImageSpec(data)),),
            ),
            config,
        )
        await engine.runtime.start_container(container)
        await ended(engine, container)
        log = await asyncio.to_thread((tmp_path / "logs" / "main.log").read_text)
        assert "refused" in log
        assert "Read-only file system" in log
        await engine.runtime.remove_pod_sandbox(sandbox)


async def test_containers_live_through_a_restart_of_the_engine(tmp_path: Path, registry: FakeRegistry) -> None:
    config = sandbox_config(tmp_path)
    async with open_engine(tmp_path / "node") as engine:
        image = await engine.images.pull_image(ImageSpec(f"{registry.host}/listens:1"), None)
        sandbox = await engine.runtime.run_pod_sandbox(config)
        before = await engine.runtime.pod_sandbox_status(sandbox)
        stays, ends = [
            await engine.runtime.create_container(
                sandbox,
                ContainerConfig(metadata=ContainerMetadata(name), image=ImageSpec(image), args=args, log_path=name),
                config,
            )
            for name, args in (("stays", ()), ("ends", ("sh", "-c", "sleep 0.5; exit 6")))
        ]
        for container in (stays, ends):
            await engine.runtime.start_container(container)
        running = await engine.runtime.container_status(stays)
    await asyncio.sleep(0.8)
    async with open_engine(tmp_path / "node") as engine:
        after = await engine.runtime.pod_sandbox_status(sandbox)
        assert (after.state, after.ip) == (PodSandboxState.READY, before.ip)
        assert await engine.runtime.container_status(stays) == running
        assert (await ended(engine, ends)).exit_code == 6
        answer = await engine.runtime.exec_sync(stays, ["echo", "still here"], 5)
        assert answer.stdout == b"still here\n"
        await engine.runtime.stop_container(stays, 10)
        assert (await engine.runtime.container_status(stays)).exit_code == 9
        await engine.runtime.remove_pod_sandbox(sandbox)
    async with open_engine(tmp_path / "node") as engine:
        assert await engine.runtime.list_pod_sandbox() == []
        assert await engine.runtime.list_containers() == []


@pytest.mark.parametrize("is_allowed", [False, True])
async def test_images_of_another_architecture(tmp_path: Path, registry: FakeRegistry, is_allowed: bool) -> None:
    registry.push(tiny_image("far", platform=parse_platform("linux/s390x")), "far", "1")
    config = sandbox_config(tmp_path)
    name = f"{registry.host}/far:1"
    async with open_engine(tmp_path / "node", allow_other_architectures=is_allowed) as engine:
        image = await engine.images.pull_image(ImageSpec(name), None)
        sandbox = await engine.runtime.run_pod_sandbox(config)
        wanted = ContainerConfig(metadata=ContainerMetadata("main"), image=ImageSpec(image), log_path="main.log")
        if is_allowed:
            await engine.runtime.create_container(sandbox, wanted, config)
        else:
            with pytest.raises(CriError) as caught:
                await engine.runtime.create_container(sandbox, wanted, config)
            cause = f"image {name} was built for linux/s390x, this node is {parse_platform(os.uname().machine)}"
            assert str(caught.value) == f"failed to create container: {cause}"
            assert caught.value.cause == cause
            assert "allowOtherArchitectures" in caught.value.next_step
            assert await engine.runtime.list_containers() == []
        data = Mount(container_path="/data", image=ImageSpec(image))  # content is for everybody
        reads = await engine.images.pull_image(ImageSpec(f"{registry.host}/reads:1"), None)
        await engine.runtime.create_container(
            sandbox,
            ContainerConfig(metadata=ContainerMetadata("reads"), image=ImageSpec(reads), mounts=(data,)),
            config,
        )
        await engine.runtime.remove_pod_sandbox(sandbox)


async def test_an_engine_that_fails_inside_its_block_leaves_nothing_open(
    tmp_path: Path, registry: FakeRegistry
) -> None:
    before = {thread.name for thread in threading.enumerate()}

    async def fail() -> None:
        async with open_engine(tmp_path / "node") as engine:
            await engine.images.pull_image(ImageSpec(f"{registry.host}/data:1"), None)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    left = {thread.name for thread in threading.enumerate()} - before
    assert [name for name in left if name.startswith(("images", "pull", "engine"))] == []
    async with open_engine(tmp_path / "node") as engine:  # the store is free again
        assert len(await engine.images.list_images()) == 1
