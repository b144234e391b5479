"""Exec, attach and ports of the engine's containers, on real parts."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from tests.integration.engine_world import World, engine_world

from pullet.cri.errors import CriError
from pullet.cri.types import (
    ContainerState,
    PortMapping,
)

pytestmark = pytest.mark.root


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with engine_world(tmp_path) as world:
        yield world


class FarEnd:
    """The client's side of exec and attach."""

    def __init__(self, *typed: bytes) -> None:
        self.typed: asyncio.Queue[bytes] = asyncio.Queue()
        for data in typed:
            self.typed.put_nowait(data)
        self.sizes: asyncio.Queue[tuple[int, int]] = asyncio.Queue()
        self.stdout, self.stderr = b"", b""

    async def read_stdin(self) -> bytes:
        return await self.typed.get()

    async def write_stdout(self, data: bytes) -> None:
        self.stdout += data

    async def write_stderr(self, data: bytes) -> None:
        self.stderr += data

    async def next_resize(self) -> tuple[int, int]:
        return await self.sizes.get()

    async def saw(self, text: bytes) -> None:
        async with asyncio.timeout(10):
            while text not in self.stdout:
                await asyncio.sleep(0.02)


async def test_exec_streams_both_ways(world: World) -> None:
    container = await world.start("sleep 1000")
    far = FarEnd(b"one\n", b"two\n", b"")
    code = await world.service.exec_stream(
        container, ["sh", "-c", "cat; echo bad >&2; exit 7"], tty=False, stdin=True, io=far
    )
    assert (far.stdout, far.stderr, code) == (b"one\ntwo\n", b"bad\n", 7)


async def test_exec_with_a_terminal(world: World) -> None:
    container = await world.start("sleep 1000")
    far = FarEnd()
    far.sizes.put_nowait((132, 43))
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        running = group.create_task(
            world.service.exec_stream(container, ["sh"], tty=True, stdin=True, io=far), name="exec"
        )
        await asyncio.sleep(0.3)
        far.typed.put_nowait(b"stty size; tty_is=$TERM; echo $tty_is; exit 3\n")
    assert running.result() == 3
    assert b"43 132" in far.stdout
    assert b"xterm" in far.stdout


async def test_exec_of_what_is_not_there(world: World) -> None:
    container = await world.start("sleep 1000")
    with pytest.raises(CriError, match='exec: "nosuch": executable file not found in'):
        await world.service.exec_stream(container, ["nosuch"], tty=False, stdin=False, io=FarEnd())
    with pytest.raises(CriError, match='exec: "nosuch": executable file not found in'):
        await world.service.exec_stream(container, ["nosuch"], tty=True, stdin=False, io=FarEnd())


async def test_a_cancelled_exec_leaves_no_process(world: World) -> None:
    container = await world.start("sleep 1000")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await world.service.exec_stream(container, ["sleep", "999"], tty=False, stdin=False, io=FarEnd())
    answer = await world.service.exec_sync(container, ["ps"], 5)
    assert b"sleep 1000" in answer.stdout
    assert b"sleep 999" not in answer.stdout


async def test_attach_types_and_reads(world: World) -> None:
    config = world.config(stdin=True, stdin_once=True, command=("sh", "-c", "cat; echo over"))
    container = await world.start("", config)
    far = FarEnd(b"hello\n")
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        group.create_task(world.service.attach_stream(container, tty=False, stdin=True, io=far))
        await far.saw(b"hello\n")
        far.typed.put_nowait(b"")
    assert far.stdout == b"hello\nover\n"
    assert (await world.ended(container)).exit_code == 0


async def test_attach_to_a_terminal(world: World) -> None:
    container = await world.start("", world.config(stdin=True, tty=True, command=("sh",)))
    far = FarEnd()
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        group.create_task(world.service.attach_stream(container, tty=True, stdin=True, io=far))
        far.sizes.put_nowait((99, 33))
        await asyncio.sleep(0.3)
        far.typed.put_nowait(b"stty size\n")
        await far.saw(b"33 99")
        far.typed.put_nowait(b"exit 12\n")
    assert (await world.ended(container)).exit_code == 12
    assert "33 99" in await world.text(await world.service.container_status(container))


async def test_nobody_attaches_to_what_has_ended(world: World, tmp_path: Path) -> None:
    ended = await world.start("true")
    await world.ended(ended)
    running = await world.start("sleep 1000")
    for control in tmp_path.rglob(f"{running}/control.sock"):
        control.unlink()  # as when its process and its monitor are gone, and nobody was told yet
    for container in (ended, running):
        with pytest.raises(CriError, match=r"^container is in CONTAINER_EXITED state$"):
            await world.service.attach_stream(container, tty=False, stdin=False, io=FarEnd())


async def test_two_attached_see_the_same_and_leaving_does_no_harm(world: World) -> None:
    container = await world.start("while :; do echo tick; sleep 0.1; done")
    first, second = FarEnd(), FarEnd()
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(world.service.attach_stream(container, tty=False, stdin=False, io=far))
            for far in (first, second)
        ]
        await first.saw(b"tick")
        await second.saw(b"tick")
        tasks[0].cancel()
        second.stdout = b""
        await second.saw(b"tick\ntick")
        tasks[1].cancel()
    assert (await world.service.container_status(container)).state is ContainerState.RUNNING


async def test_port_forward_reaches_the_pods_loopback(world: World) -> None:
    await world.start("nc -l -p 9000 -e echo from inside")
    await asyncio.sleep(0.3)
    received = []

    async def read(descriptor: int) -> None:
        with socket.socket(fileno=descriptor) as connection:
            connection.setblocking(False)
            received.append(await asyncio.get_running_loop().sock_recv(connection, 100))

    await world.service.port_forward(world.sandbox, 9000, read)
    assert received == [b"from inside\n"]
    with pytest.raises(CriError, match="failed to connect to localhost:9001"):
        await world.service.port_forward(world.sandbox, 9001, read)


async def test_a_host_port_leads_into_the_pod(world: World) -> None:
    with socket.socket() as probe:
        probe.bind(("", 0))
        port = probe.getsockname()[1]
    mapping = PortMapping(container_port=80, host_port=port)
    world.sandbox_config = msgspec.structs.replace(world.sandbox_config, port_mappings=(mapping,))
    await world.start("nc -l -p 80 -e echo published")
    await asyncio.sleep(0.3)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    assert await reader.read() == b"published\n"
    writer.close()
    await writer.wait_closed()
