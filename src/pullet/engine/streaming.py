"""exec, attach and port-forward with the far end in this process (cri.extensions.InProcessStreaming)."""

from __future__ import annotations

import asyncio
import ctypes
import os
import secrets
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from pullet.cri.errors import CriError, DeadlineExceededError
from pullet.cri.extensions import StreamIO
from pullet.cri.types import ContainerState, ExecSyncResponse
from pullet.engine.containers import Containers, not_running
from pullet.engine.executable_lookup import missing_executable
from pullet.engine.sandboxes import Sandboxes
from pullet.engine.state_files import StateFiles
from pullet.kit.worker_threads import WorkerThreads
from pullet.ociruntime import monitor
from pullet.ociruntime.errors import ExecFailedError, OciRuntimeError
from pullet.ociruntime.exec_session import ExecSession, Terminal, open_exec
from pullet.ociruntime.monitored_process import connect_control
from pullet.ociruntime.runtime import OciRuntime

MAX_SYNC_BYTES: Final = 16 << 20  # what exec_sync keeps of each stream, as containerd does
_CHUNK_BYTES: Final = 1 << 16
_CLONE_NEWNET: Final = 0x40000000


class Streaming:
    """The streams of one engine."""

    def __init__(
        self,
        *,
        files: StateFiles,
        containers: Containers,
        sandboxes: Sandboxes,
        runtime: OciRuntime,
        threads: WorkerThreads,
    ) -> None:
        self._files, self._containers, self._sandboxes = files, containers, sandboxes
        self._runtime, self._threads = runtime, threads

    # -- exec -------------------------------------------------------------------------------------------------------

    async def exec_sync(self, container_id: str, command: Sequence[str], timeout_seconds: float) -> ExecSyncResponse:
        """As `RuntimeService.exec_sync`."""
        output = _Collector()
        try:
            async with asyncio.timeout(timeout_seconds if timeout_seconds > 0 else None):
                code = await self.exec_stream(container_id, command, tty=False, stdin=False, io=output)
        except TimeoutError as error:
            raise DeadlineExceededError(
                f"failed to exec in container: timeout {timeout_seconds:g}s exceeded: context deadline exceeded"
            ) from error
        return ExecSyncResponse(bytes(output.stdout), bytes(output.stderr), code)

    async def exec_stream(
        self, container_id: str, command: Sequence[str], *, tty: bool, stdin: bool, io: StreamIO
    ) -> int:
        """As `InProcessStreaming.exec_stream`. Cancelled: the process is killed."""
        self._containers.running(container_id)
        directory = self._files.container(container_id)
        exec_id = secrets.token_hex(32)
        try:
            problem = await self._threads.run(missing_executable, directory, command[0])
            if problem:
                raise ExecFailedError(problem)
            async with open_exec(
                self._runtime,
                threads=self._threads,
                container_id=container_id,
                directory=directory,
                command=command,
                has_terminal=tty,
                has_stdin=stdin,
            ) as session:
                if session.terminal is not None:
                    await _while_output(
                        [_pump_out(session.terminal.read, io.write_stdout)],
                        [_pump_in(io, session.terminal.write), _resize(io, session.terminal)],
                    )
                elif not tty:
                    await _run_pipes(session, io)
                return await session.wait(self._threads)
        except ExecFailedError as error:
            raise CriError(f'failed to exec in container: failed to start exec "{exec_id}": {error}') from error
        except OciRuntimeError as error:
            raise CriError(f"failed to exec in container: {error}") from error

    # -- attach -----------------------------------------------------------------------------------------------------

    async def attach(self, container_id: str, *, tty: bool, stdin: bool, io: StreamIO) -> None:
        """As `InProcessStreaming.attach_stream`."""
        self._containers.running(container_id)
        try:
            connection = await self._threads.run(connect_control, self._files.container(container_id))
        except OciRuntimeError as error:
            if not isinstance(error.__cause__, (FileNotFoundError, ConnectionRefusedError)):
                raise CriError(f"failed to attach to container: {error}") from error
            # its monitor went with it; that it ended is just not noted yet
            raise not_running(ContainerState.EXITED) from error
        loop = asyncio.get_running_loop()
        with connection:
            await loop.sock_sendall(connection, b"attach\n")

            async def send(kind: int, data: bytes) -> None:
                with suppress(OSError):
                    await loop.sock_sendall(connection, struct.pack("!BI", kind, len(data)) + data)

            async def type_in() -> None:
                while data := await io.read_stdin():
                    await send(monitor.STDIN, data)
                await send(monitor.STDIN_END, b"")

            async def resize() -> None:
                while True:
                    columns, rows = await io.next_resize()
                    await send(monitor.RESIZE, b"%d %d" % (columns, rows))

            inputs = [type_in()] if stdin else []
            await _while_output([_frames(connection, io)], [*inputs, *([resize()] if tty else [])])

    # -- port-forward -----------------------------------------------------------------------------------------------

    async def port_forward(self, sandbox_id: str, port: int, on_connected: Callable[[int], Awaitable[None]]) -> None:
        """As `InProcessStreaming.port_forward`."""
        self._sandboxes.get(sandbox_id)
        netns = self._files.sandbox(sandbox_id) / "ns" / "net"
        loop = asyncio.get_running_loop()
        refusals = []
        ways = ((socket.AF_INET, "127.0.0.1", "tcp4 127.0.0.1"), (socket.AF_INET6, "::1", "tcp6 [::1]"))
        for family, address, words in ways:
            connection = await self._threads.run(_socket_inside, netns, family)
            try:
                await loop.sock_connect(connection, (address, port))
            except OSError as error:
                connection.close()
                refusals.append(f"dial {words}:{port}: connect: {os.strerror(error.errno or 0).lower()}")
                continue
            await on_connected(connection.detach())
            return
        where = netns if await self._threads.run(netns.exists) else "host"
        raise CriError(
            f'failed to execute portforward in network namespace "{where}": failed to connect to localhost:{port} '
            f'inside namespace "{sandbox_id}", IPv4: {refusals[0]} IPv6 {refusals[1]} '
        )


async def _run_pipes(session: ExecSession, io: StreamIO) -> None:
    process = session.process
    assert process.stdout is not None
    assert process.stderr is not None
    stdout, stderr, stdin = process.stdout, process.stderr, process.stdin
    outputs = [
        _pump_out(lambda: stdout.read(_CHUNK_BYTES), io.write_stdout),
        _pump_out(lambda: stderr.read(_CHUNK_BYTES), io.write_stderr),
    ]
    inputs: list[Coroutine[Any, Any, None]] = []
    if stdin is not None:
        writer = stdin

        async def write(data: bytes) -> None:
            writer.write(data)
            await writer.drain()

        async def feed() -> None:
            with suppress(BrokenPipeError, ConnectionResetError):
                await _pump_in(io, write)
            writer.close()

        inputs.append(feed())
    await _while_output(outputs, inputs)


async def _while_output(
    outputs: Sequence[Coroutine[Any, Any, None]], inputs: Sequence[Coroutine[Any, Any, None]]
) -> None:
    """Run both until every output has ended; then the inputs are cancelled."""
    async with asyncio.TaskGroup() as group:
        feeding = [group.create_task(work) for work in inputs]
        async with asyncio.TaskGroup() as reading:
            for work in outputs:
                reading.create_task(work)
        for task in feeding:
            task.cancel()


async def _pump_out(read: Callable[[], Awaitable[bytes]], write: Callable[[bytes], Awaitable[None]]) -> None:
    while data := await read():
        await write(data)


async def _pump_in(io: StreamIO, write: Callable[[bytes], Awaitable[None]]) -> None:
    while data := await io.read_stdin():
        await write(data)


async def _resize(io: StreamIO, terminal: Terminal) -> None:
    while True:
        columns, rows = await io.next_resize()
        terminal.resize(columns, rows)


async def _frames(connection: socket.socket, io: StreamIO) -> None:
    """What the monitor sends: `ok` and then frames, until it closes."""
    loop = asyncio.get_running_loop()
    received = b""
    is_attached = False
    while data := await loop.sock_recv(connection, _CHUNK_BYTES):
        received += data
        if not is_attached:
            if len(received) < len(b"ok\n"):
                continue
            received, is_attached = received[len(b"ok\n") :], True
        while len(received) >= struct.calcsize("!BI"):
            kind, length = struct.unpack_from("!BI", received)
            end = struct.calcsize("!BI") + length
            if len(received) < end:
                break
            payload, received = received[end - length : end], received[end:]
            await (io.write_stderr if kind == monitor.STDERR else io.write_stdout)(payload)


def _socket_inside(netns: Path, family: socket.AddressFamily) -> socket.socket:
    """A socket of the sandbox's network, made by a thread that joins that network and ends. Blocking."""
    made: list[socket.socket | CriError] = []
    thread = threading.Thread(target=lambda: made.append(_make_socket(netns, family)), name="join-network")
    thread.start()
    thread.join()
    (result,) = made
    if isinstance(result, CriError):
        raise result
    return result


def _make_socket(netns: Path, family: socket.AddressFamily) -> socket.socket | CriError:
    if netns.exists():  # not so in the machine's own network
        descriptor = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.setns(descriptor, _CLONE_NEWNET) != 0:
                return CriError(f"cannot join the network of the sandbox: {os.strerror(ctypes.get_errno())}")
        finally:
            os.close(descriptor)
    connection = socket.socket(family, socket.SOCK_STREAM)
    connection.setblocking(False)
    return connection


class _Collector:
    """A far end that keeps what it gets, for exec_sync."""

    def __init__(self) -> None:
        self.stdout, self.stderr = bytearray(), bytearray()

    async def read_stdin(self) -> bytes:
        """Nothing."""
        return b""

    async def write_stdout(self, data: bytes) -> None:
        """Keep it, up to the limit."""
        self.stdout += data[: MAX_SYNC_BYTES - len(self.stdout)]

    async def write_stderr(self, data: bytes) -> None:
        """Keep it, up to the limit."""
        self.stderr += data[: MAX_SYNC_BYTES - len(self.stderr)]

    async def next_resize(self) -> tuple[int, int]:
        """Never."""
        never: asyncio.Future[tuple[int, int]] = asyncio.get_running_loop().create_future()
        return await never
