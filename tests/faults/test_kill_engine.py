"""kill -9 of the process that runs the engine, at each of its fault points: the next start converges, nothing leaks."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pullet.cri.types import (
    ContainerConfig,
    ContainerMetadata,
    ContainerState,
    ImageSpec,
    PodSandboxConfig,
    PodSandboxMetadata,
    PodSandboxState,
    PortMapping,
)
from pullet.engine.runtime_service import EngineRuntimeService
from pullet.kit.clock import SystemClock
from pullet.kit.worker_threads import WorkerThreads
from pullet.ociruntime.cni import NetworkSettings
from pullet.testing.directory_images import DirectoryImages, busybox_image

pytestmark = pytest.mark.root

BRIDGE = "pullettest3"
CREATING = ("sandbox.recorded", "sandbox.namespaces", "sandbox.attached")
STARTING = ("container.rootfs", "container.bundle", "container.created", "container.started")
REMOVING = ("container.forgotten", "sandbox.forgotten")


@asynccontextmanager
async def open_service(directory: Path) -> AsyncIterator[tuple[EngineRuntimeService, str]]:
    """The engine below `directory`, and the id of its image."""
    threads = WorkerThreads("engine", 4)
    images = await asyncio.to_thread(DirectoryImages, directory / "images")
    image, rootfs = await asyncio.to_thread(busybox_image, directory / "busybox")
    images.add(image, rootfs)
    try:
        async with asyncio.TaskGroup() as group:
            service = await EngineRuntimeService.open(
                root=directory / "engine",
                images=images,
                network=NetworkSettings(bridge=BRIDGE, subnet="10.84.3.0/24"),
                clock=SystemClock(),
                threads=threads,
                group=group,
            )
            yield service, image.id
            await service.close()
    finally:
        await asyncio.to_thread(threads.close)


def pod(directory: Path) -> PodSandboxConfig:
    return PodSandboxConfig(
        metadata=PodSandboxMetadata("victim", "uid-1", "default"),
        hostname="victim",
        log_directory=str(directory / "logs"),
        cgroup_parent=f"/{cgroup_of(directory)}",
        port_mappings=(PortMapping(container_port=80, host_port=18733),),
    )


def cgroup_of(directory: Path) -> str:
    """A parent of its own for each test: other engines may run on this machine."""
    return f"pullettest-{hashlib.sha256(str(directory).encode()).hexdigest()[:12]}"


async def live_and_die(directory: Path) -> None:
    """What the killed process does: a whole life of a pod. It dies at the point its environment names."""
    async with open_service(directory) as (service, image):
        config = pod(directory)
        sandbox = await service.run_pod_sandbox(config)
        container = await service.create_container(
            sandbox,
            ContainerConfig(
                metadata=ContainerMetadata("main"),
                image=ImageSpec(image),
                command=("sh", "-c", 'trap "exit 5" TERM; echo ready; while :; do sleep 0.05; done'),
                log_path="main.log",
            ),
            config,
        )
        await service.start_container(container)
        await service.remove_pod_sandbox(sandbox)


def die_at(point: str, directory: Path) -> None:
    """Run `live_and_die` in a process of its own that gets SIGKILL at `point`."""
    environment = {**os.environ, "PULLET_FAULTS": f"{point}=kill"}
    done = subprocess.run([sys.executable, __file__, str(directory)], env=environment, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL, f"{point} was never reached"


def leftovers(directory: Path) -> dict[str, list[str]]:
    """Everything of the machine that names the directory, and what the engine keeps below it."""
    state = directory / "engine"
    mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(directory) in line]
    files = [str(path) for kind in ("sandboxes", "containers", "runtime") for path in (state / kind).glob("*")]
    addresses = [path.name for path in (state / "network" / BRIDGE).glob("*.*.*.*")]
    links = [
        link["ifname"]
        for link in json.loads(subprocess.check_output(["ip", "-j", "link", "show", "type", "veth"]) or "[]")
        if link.get("master") == BRIDGE
    ]
    rules = [line for line in _nat_rules() if "18733" in line or BRIDGE in line]
    return {
        "mounts": mounts,
        "files": files,
        "images": [str(path) for path in (directory / "images").glob("*")],
        "addresses": addresses,
        "links": links,
        "rules": rules,
        "processes": _processes_below(directory),
        "cgroups": _cgroups(directory),
    }


def _nat_rules() -> list[str]:
    return subprocess.check_output(["iptables", "-t", "nat", "-S"], stderr=subprocess.DEVNULL).decode().splitlines()


def _processes_below(directory: Path) -> list[str]:
    found = []
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if process.name.isdigit() and str(directory).encode() in (process / "cmdline").read_bytes():
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found


def _cgroups(directory: Path) -> list[str]:
    return [str(path) for path in Path("/sys/fs/cgroup").glob(f"**/{cgroup_of(directory)}")]


async def settle(directory: Path) -> None:
    """Start again, take everything away that is there, and see that nothing is left."""
    async with open_service(directory) as (service, _image):
        for sandbox in await service.list_pod_sandbox():
            await service.remove_pod_sandbox(sandbox.id)
        assert await service.list_containers() == []
    await asyncio.to_thread(assert_nothing_is_left, directory)


def assert_nothing_is_left(directory: Path) -> None:
    left = leftovers(directory)
    assert left == {name: [] for name in left}


@pytest.mark.parametrize("point", CREATING)
async def test_a_half_made_sandbox_is_gone_after_the_next_start(point: str, tmp_path: Path) -> None:
    await asyncio.to_thread(die_at, point, tmp_path)
    async with open_service(tmp_path) as (service, _image):
        assert await service.list_pod_sandbox() == []
        await asyncio.to_thread(assert_nothing_is_left, tmp_path)
        again = await service.run_pod_sandbox(pod(tmp_path))
        assert (await service.pod_sandbox_status(again)).state is PodSandboxState.READY
    await settle(tmp_path)


@pytest.mark.parametrize("point", STARTING)
async def test_a_container_is_whole_or_gone_after_the_next_start(point: str, tmp_path: Path) -> None:
    await asyncio.to_thread(die_at, point, tmp_path)
    async with open_service(tmp_path) as (service, _image):
        (sandbox,) = await service.list_pod_sandbox()
        assert sandbox.state is PodSandboxState.READY
        containers = await service.list_containers()
        states = [container.state for container in containers]
        expected = {"container.created": [ContainerState.CREATED], "container.started": [ContainerState.RUNNING]}
        assert states == expected.get(point, [])
        for container in containers:
            if container.state is ContainerState.CREATED:
                await service.start_container(container.id)
            await asyncio.to_thread(wait_until_ready, tmp_path)
            await service.stop_container(container.id, 10)
            assert (await service.container_status(container.id)).exit_code == 5
    await settle(tmp_path)


def wait_until_ready(directory: Path) -> None:
    """Wait until the container's shell has set its trap, and said so."""
    log, deadline = directory / "logs" / "main.log", time.monotonic() + 30
    while not (log.exists() and b"ready" in log.read_bytes()):
        assert time.monotonic() < deadline, "the container said nothing"
        time.sleep(0.02)


@pytest.mark.parametrize("point", REMOVING)
async def test_a_removal_begun_is_finished_by_the_next_start(point: str, tmp_path: Path) -> None:
    await asyncio.to_thread(die_at, point, tmp_path)
    async with open_service(tmp_path) as (service, _image):
        assert await service.list_containers() == []
        assert len(await service.list_pod_sandbox()) == (0 if point == "sandbox.forgotten" else 1)
    await settle(tmp_path)


async def test_killed_while_the_monitor_starts(tmp_path: Path) -> None:
    """No fault point can be hit here: the process dies at some moment between the record and the running container."""
    for delay in (0.0, 0.01, 0.02, 0.04):
        await asyncio.to_thread(die_while_starting, tmp_path, delay)
        async with open_service(tmp_path) as (service, _image):
            states = {container.state for container in await service.list_containers()}
            assert states <= {ContainerState.CREATED, ContainerState.RUNNING}
        await settle(tmp_path)


def die_while_starting(directory: Path, delay: float) -> None:
    process = subprocess.Popen([sys.executable, __file__, str(directory)])
    deadline = time.monotonic() + 20
    containers = directory / "engine" / "containers"
    while not list(containers.glob("*/container.json")) and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(delay)
    process.kill()
    process.wait()


if __name__ == "__main__":
    asyncio.run(live_and_die(Path(sys.argv[1])))
