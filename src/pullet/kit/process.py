"""Short commands run to their end, output capped; and the wait for a process that is not our child's child."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pullet.base.errors import PulletError

MAX_OUTPUT_BYTES = 1 << 20


class CommandMissingError(PulletError):
    """The program is not on this machine."""

    reason = "CommandMissing"


class CommandTimeoutError(PulletError):
    """The program did not end in time and was killed with its process group."""

    reason = "CommandTimeout"


@dataclass(frozen=True, slots=True)
class CommandResult:
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
    try:
        child = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE if stdin is not None else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=dict(environment) if environment is not None else None,
            cwd=directory,
            start_new_session=True,
            pass_fds=tuple(pass_fds),
        )
    except FileNotFoundError as error:
        raise CommandMissingError(f"{argv[0]}: command not found") from error
    try:
        async with asyncio.timeout(timeout_seconds):
            stdout, stderr, _, code = await _talk(child, stdin)
    except TimeoutError as error:
        raise CommandTimeoutError(f"{argv[0]} did not end within {timeout_seconds:g} s") from error
    finally:
        if child.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            await asyncio.shield(child.wait())
    return CommandResult(code, stdout, stderr)


async def _talk(child: asyncio.subprocess.Process, stdin: bytes | None) -> tuple[bytes, bytes, None, int]:
    async with asyncio.TaskGroup() as group:
        assert child.stdout is not None
        assert child.stderr is not None
        out = group.create_task(_read_capped(child.stdout))
        err = group.create_task(_read_capped(child.stderr))
        if stdin is not None:
            assert child.stdin is not None
            with suppress(BrokenPipeError, ConnectionResetError):
                child.stdin.write(stdin)
                await child.stdin.drain()
            child.stdin.close()
        ended = group.create_task(child.wait())
    return out.result(), err.result(), None, ended.result()


async def _read_capped(stream: asyncio.StreamReader) -> bytes:
    kept = bytearray()
    while chunk := await stream.read(1 << 16):
        kept += chunk[: max(0, MAX_OUTPUT_BYTES - len(kept))]
    return bytes(kept)


async def wait_readable(descriptor: int) -> None:
    """Wait until `descriptor` is readable; a pidfd is when its process has ended."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(descriptor, wake)
    try:
        await ready
    finally:
        loop.remove_reader(descriptor)
