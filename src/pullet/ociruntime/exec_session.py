"""A second process in a running container: the runtime's `exec`, with pipes or a terminal of our own.

The runtime is our child and waits for the process; the pid file is there so that a timeout ends the process itself
and not only the runtime that waits for it.
"""

from __future__ import annotations

import array
import asyncio
import fcntl
import json
import os
import secrets
import signal
import socket
import struct
import termios
import tty
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from pullet.base.values import State
from pullet.kit.process import wait_readable
from pullet.kit.worker_threads import WorkerThreads
from pullet.ociruntime.errors import ExecFailedError
from pullet.ociruntime.runtime import ENVIRONMENT, OciRuntime, last_message, name_missing_executable

_CHUNK_BYTES = 1 << 16
_WITH_TERMINAL = ("/usr/bin/setsid", "--ctty")  # so that it hears of the window's size
_REAP_SECONDS = 2.0  # killed first, the runtime would leave a zombie that holds up the end of the whole container


class Terminal:
    """Our end of the process's terminal."""

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor

    async def read(self) -> bytes:
        """What the process wrote; empty when the last holder of the terminal is gone."""
        while True:
            try:
                return os.read(self._descriptor, _CHUNK_BYTES)
            except BlockingIOError:
                await wait_readable(self._descriptor)
            except OSError:  # EIO
                return b""

    async def write(self, data: bytes) -> None:
        """Type it. A process that does not read holds us up."""
        while data:
            try:
                data = data[os.write(self._descriptor, data) :]
            except BlockingIOError:
                await _wait_writable(self._descriptor)
            except OSError:
                return

    def resize(self, columns: int, rows: int) -> None:
        """Tell the process its window's size."""
        with suppress(OSError):
            fcntl.ioctl(self._descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def close(self) -> None:
        """Hang up."""
        os.close(self._descriptor)


async def _wait_writable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_writer(descriptor, wake)
    try:
        await ready
    finally:
        loop.remove_writer(descriptor)


class ExecSession(State, kw_only=True):
    """One process under way. With a terminal, `process` has no pipes, and `terminal` is set if it came into being."""

    process: asyncio.subprocess.Process
    terminal: Terminal | None
    _files: Path

    async def wait(self, threads: WorkerThreads) -> int:
        """Its exit code.

        Raises:
            ExecFailedError: it could not be run at all.
        """
        code = await self.process.wait()
        failure = await threads.run(self._failure) if code != 0 else ""
        if failure:
            raise ExecFailedError(failure)
        return 128 - code if code < 0 else code

    def _failure(self) -> str:
        with suppress(OSError):
            log = (self._files / "log").read_bytes()
            if b'"error"' in log:
                return name_missing_executable(last_message(log))
        return ""

    async def kill(self, threads: WorkerThreads) -> None:
        """SIGKILL to the process in the container; the runtime that waits for it then ends by itself, or is made to."""
        with suppress(OSError, ValueError):
            os.kill(int(await threads.run((self._files / "pid").read_text)), signal.SIGKILL)
            with suppress(TimeoutError):
                async with asyncio.timeout(_REAP_SECONDS):
                    await self.process.wait()
        with suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def open_exec(
    runtime: OciRuntime,
    *,
    threads: WorkerThreads,
    container_id: str,
    directory: Path,
    command: Sequence[str],
    has_terminal: bool,
    has_stdin: bool,
) -> AsyncIterator[ExecSession]:
    """Run `command` in the container as its own user, with its environment. Leaving the block ends what still runs."""
    files = directory / f"exec-{secrets.token_hex(8)}"
    await threads.run(_prepare, directory, files, command, has_terminal)
    console: socket.socket | None = None
    terminal: Terminal | None = None
    holder = far_end = -1
    session: ExecSession | None = None
    try:
        options = ["--pid-file", str(files / "pid"), "--process", str(files / "process.json")]
        prefix: Sequence[str] = ()
        if has_terminal and not runtime.sends_terminals:
            terminal, far_end = _open_terminal()
            prefix = _WITH_TERMINAL
        elif has_terminal:
            # Named through a descriptor: the path may be longer than a socket address can be.
            holder = os.open(files, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            address = f"/proc/{os.getpid()}/fd/{holder}/console"
            console = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            console.setblocking(False)
            console.bind(address)
            console.listen(1)
            options += ["--console-socket", address]
        pipe = asyncio.subprocess.PIPE
        nothing = asyncio.subprocess.DEVNULL
        own = far_end if far_end >= 0 else nothing
        process = await asyncio.create_subprocess_exec(
            *prefix,
            *runtime.command("exec", *options, container_id, log=files / "log"),
            stdin=pipe if has_stdin and not has_terminal else own,
            stdout=own if has_terminal else pipe,
            stderr=own if has_terminal else pipe,
            env=ENVIRONMENT,
            start_new_session=not prefix,
        )
        session = ExecSession(process=process, terminal=terminal, _files=files)
        if far_end >= 0:
            os.close(far_end)  # the runtime holds it: its end is the terminal's
            far_end = -1
        if console is not None:
            session.terminal = await _receive_terminal(console, process)
        yield session
    finally:
        if console is not None:
            console.close()
        for descriptor in (holder, far_end):
            if descriptor >= 0:
                os.close(descriptor)
        if session is not None:
            if session.process.returncode is None:
                await session.kill(threads)
            terminal = session.terminal
        if terminal is not None:
            terminal.close()
        await threads.run(_remove, files)


def _open_terminal() -> tuple[Terminal, int]:
    """A terminal of ours and its far end, which passes on what is typed and says nothing itself."""
    near, far = os.openpty()
    tty.setraw(far)
    return Terminal(near), far


async def _receive_terminal(console: socket.socket, process: asyncio.subprocess.Process) -> Terminal | None:
    """The terminal that the runtime sends us; None when it ended without sending one."""
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as group:
        accepting = group.create_task(loop.sock_accept(console))
        ending = group.create_task(process.wait())
        await asyncio.wait([accepting, ending], return_when=asyncio.FIRST_COMPLETED)
        for task in (accepting, ending):
            task.cancel()
    if accepting.cancelled():
        return None
    connection, _ = accepting.result()
    with connection:
        await wait_readable(connection.fileno())
        _, ancillary, _, _ = connection.recvmsg(1024, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC)
    for _level, _kind, data in ancillary:
        descriptors = array.array("i")
        descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
        return Terminal(descriptors[0])
    return None


def _prepare(directory: Path, files: Path, command: Sequence[str], has_terminal: bool) -> None:
    """The process object of the container with another command: same user, groups, rights and environment."""
    process = json.loads((directory / "config.json").read_bytes())["process"]
    process["args"] = list(command)
    process["terminal"] = has_terminal
    if has_terminal and not any(item.startswith("TERM=") for item in process["env"]):
        process["env"].append("TERM=xterm")
    files.mkdir(mode=0o700)
    (files / "process.json").write_text(json.dumps(process))


def _remove(files: Path) -> None:
    for file in files.iterdir():
        file.unlink(missing_ok=True)
    files.rmdir()
