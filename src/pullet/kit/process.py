"""Short commands run to their end, output capped; and the wait for a process that is not our child's child."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TypeVar

from pullet.base.errors import PulletError
from pullet.base.values import Value
from pullet.kit.tasks import one_error

T = TypeVar("T")

MAX_OUTPUT_BYTES = 1 << 20


class CommandMissingError(PulletError):
    """The program is not on this machine."""

    reason = "CommandMissing"


class CommandTimeoutError(PulletError):
    """The program did not end in time and was killed with its process group."""

    reason = "CommandTimeout"


class CommandResult(Value):
    """How a command ended. `exit_code` is negative for a signal, as in subprocess."""

    exit_code: int
    stdout: bytes
    stderr: bytes

    @property
    def stderr_tail(self) -> str:
        """The last 1000 characters of stderr, for messages."""
        return self.stderr.decode(errors="replace").strip()[-1000:]


async def run_command(
    argv: Sequence[str],
    *,
    stdin: bytes | None = None,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
    timeout_seconds: float = 60.0,
    pass_fds: Sequence[int] = (),
) -> CommandResult:
    """Run `argv` in its own process group to its end. Cancelled or timed out: the group is killed and reaped.

    Output beyond MAX_OUTPUT_BYTES is read and dropped.

    Raises:
        CommandMissingError: no such program.
        CommandTimeoutError: not done after `timeout_seconds`.
    """
    loop = asyncio.get_running_loop()
    with ExitStack() as stack:
        out_read, out_write = _pipe(stack)
        err_read, err_write = _pipe(stack)
        in_read, in_write = _pipe(stack) if stdin is not None else (subprocess.DEVNULL, -1)

        # Popen forks and waits for exec: a thread does that, whatever the loop's own ideas of processes are.
        def spawn() -> subprocess.Popen[bytes]:
            return subprocess.Popen(
                list(argv),
                stdin=in_read,
                stdout=out_write,
                stderr=err_write,
                env=dict(environment) if environment is not None else None,
                cwd=directory,
                start_new_session=True,
                pass_fds=tuple(pass_fds),
            )

        spawning = loop.run_in_executor(None, spawn)
        try:
            child = await shielded(spawning)
        except asyncio.CancelledError:
            if spawning.exception() is None:
                await _kill(spawning.result())
            raise
        except FileNotFoundError as error:
            raise CommandMissingError(f"{argv[0]}: command not found") from error
        for descriptor in {out_write, err_write, in_read} - {subprocess.DEVNULL}:
            os.close(descriptor)
        stack.pop_all()
    try:
        async with asyncio.timeout(timeout_seconds):
            return await _talk(child, out_read, err_read, in_write, stdin)
    except TimeoutError as error:
        raise CommandTimeoutError(f"{argv[0]} did not end within {timeout_seconds:g} s") from error
    finally:
        if child.returncode is None:
            await _kill(child)


async def _kill(child: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    await shielded(asyncio.get_running_loop().run_in_executor(None, child.wait))


def _pipe(stack: ExitStack) -> tuple[int, int]:
    read, write = os.pipe2(os.O_CLOEXEC)
    for descriptor in (read, write):
        stack.callback(_close, descriptor)
    return read, write


def _close(descriptor: int) -> None:
    with suppress(OSError):
        os.close(descriptor)


async def shielded(work: asyncio.Future[T]) -> T:
    """Await work that cannot be interrupted; cancellation is kept back until it is done."""
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        while not work.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([work])
        raise


async def _talk(
    child: subprocess.Popen[bytes], out: int, err: int, in_write: int, stdin: bytes | None
) -> CommandResult:
    with one_error():
        async with asyncio.TaskGroup() as group:
            stdout = group.create_task(_read_capped(out))
            stderr = group.create_task(_read_capped(err))
            if stdin is not None:
                group.create_task(_write_all(in_write, stdin))
            pidfd = os.pidfd_open(child.pid)
            try:
                await wait_readable(pidfd)
            finally:
                os.close(pidfd)
            child.wait()
    assert child.returncode is not None
    return CommandResult(child.returncode, stdout.result(), stderr.result())


async def _read_capped(descriptor: int) -> bytes:
    """Everything the pipe gives, up to the cap; closes it."""
    os.set_blocking(descriptor, False)
    kept = bytearray()
    try:
        while True:
            try:
                chunk = os.read(descriptor, 1 << 16)
            except BlockingIOError:
                await wait_readable(descriptor)
                continue
            if not chunk:
                return bytes(kept)
            kept += chunk[: max(0, MAX_OUTPUT_BYTES - len(kept))]
    finally:
        os.close(descriptor)


async def _write_all(descriptor: int, data: bytes) -> None:
    """Write everything, or as much as the child takes; closes the pipe."""
    os.set_blocking(descriptor, False)
    try:
        while data:
            try:
                data = data[os.write(descriptor, data) :]
            except BlockingIOError:
                await _wait_writable(descriptor)
            except BrokenPipeError:
                return
    finally:
        os.close(descriptor)


async def _wait_writable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_writer(descriptor, _settle, ready)
    try:
        await ready
    finally:
        loop.remove_writer(descriptor)


async def wait_readable(descriptor: int) -> None:
    """Wait until `descriptor` is readable; a pidfd is when its process has ended."""
    loop = asyncio.get_running_loop()
    # A loop may report what an earlier owner of the same number became; only the kernel knows about this one.
    probe = select.poll()
    probe.register(descriptor, select.POLLIN)
    while not probe.poll(0):
        ready: asyncio.Future[None] = loop.create_future()
        loop.add_reader(descriptor, _settle, ready)
        try:
            await ready
        finally:
            loop.remove_reader(descriptor)


def _settle(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
