from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from pullet.cri.types import (
    ContainerConfig,
    ContainerEvent,
    ContainerEventType,
    ContainerMetadata,
    DNSConfig,
    ImageSpec,
    LinuxContainerSecurityContext,
    Mount,
    PodSandboxConfig,
    PodSandboxMetadata,
    PortMapping,
)
from pullet.engine.container_events import QUEUE_SIZE, ContainerEvents
from pullet.engine.containers import ending_of
from pullet.engine.sandbox_files import resolv_conf
from pullet.engine.sandboxes import published_ports
from pullet.engine.state_files import ContainerRecord, Ending, SandboxPhase, SandboxRecord, StateFiles
from pullet.ociruntime.cni import PublishedPort
from pullet.ociruntime.monitored_process import Ended

SANDBOX = SandboxRecord(
    id="s" * 64,
    config=PodSandboxConfig(
        metadata=PodSandboxMetadata("web", "u", "default", 2),
        dns_config=DNSConfig(servers=("1.1.1.1",)),
        port_mappings=(PortMapping(80, 8080, "UDP", "127.0.0.1"), PortMapping(81)),
        labels={"a": "b"},
    ),
    created_at=1,
    phase=SandboxPhase.READY,
    ips=("10.0.0.2",),
    network_results={"ips": [{"address": "10.0.0.2/24"}]},
)
CONTAINER = ContainerRecord(
    id="c" * 64,
    sandbox_id=SANDBOX.id,
    pod_uid="u",
    config=ContainerConfig(
        metadata=ContainerMetadata("main", 1),
        image=ImageSpec("sha256:1"),
        envs=(("A", "b"),),
        mounts=(Mount(container_path="/a", image=ImageSpec("sha256:2")),),
        security_context=LinuxContainerSecurityContext(run_as_user=0, masked_paths=()),
    ),
    created_at=2,
    image_id="sha256:1",
    image_name="docker.io/library/x:1",
    image_ref="docker.io/library/x@sha256:3",
    cgroups_path="/pullet/s/c",
    stop_signal="SIGTERM",
    log_path="/log",
)


@pytest.fixture
def files(tmp_path: Path) -> StateFiles:
    return StateFiles(tmp_path)


def test_records_are_read_as_they_were_written(files: StateFiles) -> None:
    files.write_sandbox(SANDBOX)
    assert files.read_sandbox(SANDBOX.id) == SANDBOX
    files.container(CONTAINER.id).mkdir()
    assert files.read_container(CONTAINER.id) is None
    files.write_container(CONTAINER)
    assert files.read_container(CONTAINER.id) == CONTAINER
    ending = Ending(exit_code=3, reason="Error", finished_at=9)
    files.write_ending(CONTAINER.id, ending)
    assert files.read_ending(CONTAINER.id) == ending
    assert list(files.ids(files.containers)) == [CONTAINER.id]


def test_what_was_forgotten_or_torn_is_not_read(files: StateFiles) -> None:
    files.write_sandbox(SANDBOX)
    (files.sandbox(SANDBOX.id) / "sandbox.json").write_text('{"id": "s", "conf')
    assert files.read_sandbox(SANDBOX.id) is None
    files.forget_sandbox(SANDBOX.id)
    files.forget_sandbox(SANDBOX.id)
    assert list(files.ids(files.sandboxes)) == [SANDBOX.id]
    files.remove_directory(files.sandbox(SANDBOX.id))
    files.remove_directory(files.sandbox(SANDBOX.id))
    assert list(files.ids(files.sandboxes)) == []


def test_temporary_files_of_a_crash_are_swept_and_the_monitors_are_not(files: StateFiles) -> None:
    directory = files.container("c")
    directory.mkdir()
    for name in (".container.json.12.tmp", ".started.tmp", "container.json"):
        (directory / name).touch()
    files.sweep_temporary()
    assert sorted(path.name for path in directory.iterdir()) == [".started.tmp", "container.json"]


def test_resolv_conf() -> None:
    settings = DNSConfig(servers=("1.1.1.1", "8.8.8.8"), searches=("a.b", "c"), options=("ndots:5", "rotate"))
    assert resolv_conf(settings).decode().splitlines() == [
        "search a.b c",
        "nameserver 1.1.1.1",
        "nameserver 8.8.8.8",
        "options ndots:5 rotate",
    ]
    assert resolv_conf(DNSConfig()) == b""


def test_only_ports_with_a_host_port_are_published() -> None:
    expected = PublishedPort(host_port=8080, container_port=80, protocol="UDP", host_ip="127.0.0.1")
    assert published_ports(SANDBOX.config) == (expected,)


@pytest.mark.parametrize(
    ("ended", "oom_kills", "exit_code", "reason"),
    [
        (Ended("exited", 0, 9), 0, 0, "Completed"),
        (Ended("exited", 1, 9), 0, 1, "Error"),
        (Ended("exited", 137, 9), 0, 137, "Error"),
        (Ended("exited", 137, 9), 1, 137, "OOMKilled"),
        (None, 0, 137, "Unknown"),
    ],
)
def test_how_an_ending_is_called(ended: Ended | None, oom_kills: int, exit_code: int, reason: str) -> None:
    ending = ending_of(ended, 5, oom_kills=oom_kills, now=9)
    assert (ending.exit_code, ending.reason, ending.started_at, ending.finished_at) == (exit_code, reason, 5, 9)


def event(number: int) -> ContainerEvent:
    return ContainerEvent(
        type=ContainerEventType.CREATED, container_id=str(number), pod_sandbox_id="s", pod_uid="u", created_at=number
    )


async def test_every_listener_hears_what_happens_after_it_came() -> None:
    events = ContainerEvents()
    events.publish(event(0))
    first = events.subscribe()
    events.publish(event(1))
    second = events.subscribe()
    events.publish(event(2))
    assert [(await anext(first)).created_at, (await anext(first)).created_at] == [1, 2]
    assert (await anext(second)).created_at == 2


async def test_a_listener_that_falls_behind_is_cut_off_and_others_are_not() -> None:
    events = ContainerEvents()
    slow, quick = events.subscribe(), events.subscribe()
    heard = []
    for number in range(QUEUE_SIZE + 5):
        events.publish(event(number))
        heard.append((await anext(quick)).created_at)
    assert heard == list(range(QUEUE_SIZE + 5))
    async with asyncio.timeout(1):
        left = [one.created_at async for one in slow]
    assert left == list(range(1, QUEUE_SIZE))
