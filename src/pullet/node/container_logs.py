"""Container logs as `kubectl logs` wants them: tail, since, timestamps, byte limit, follow across rotation.

Source: kubernetes pkg/kubelet/kuberuntime/logs/logs.go; the lines are cri.log_format's.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, ClassVar

from pullet.base.errors import PulletError
from pullet.base.values import Value
from pullet.cri.log_format import LogRecord, parse_record
from pullet.kit.clock import Clock
from pullet.kit.worker_threads import WorkerThreads
from pullet.kube.meta import parse_time

CHUNK_BYTES = 256 << 10
BLOCK_BYTES = 8 << 10
POLL_SECONDS = 0.25


class LogUnavailableError(PulletError):
    """There is no such log (yet)."""

    reason: ClassVar[str] = "BadRequest"


class LogOptions(Value, kw_only=True):
    """What part of the log is wanted, and how. `tail_lines` and `limit_bytes` None: all of it."""

    follow: bool = False
    timestamps: bool = False
    tail_lines: int | None = None
    limit_bytes: int | None = None
    since: datetime | None = None
    stream: str = "All"  # All, Stdout or Stderr


class ContainerLogs:
    """Reads log files on `threads`."""

    def __init__(self, *, threads: WorkerThreads, clock: Clock) -> None:
        self._threads, self._clock = threads, clock

    async def read(
        self, path: Path, options: LogOptions, *, is_running: Callable[[], Awaitable[bool]]
    ) -> AsyncIterator[bytes]:
        """The wanted bytes; with `follow` until the container has ended and its last line was read.

        Raises:
            LogUnavailableError: the file is not there.
        """
        try:
            file = await self._threads.run(_open, path, options.tail_lines)
        except OSError as error:
            raise LogUnavailableError(f'failed to try resolving symlinks in path "{path}": {error}') from error
        left = options.limit_bytes
        pending = b""
        try:
            while left is None or left > 0:
                was_running = options.follow and await is_running()
                chunk = await self._threads.run(file.read, CHUNK_BYTES)
                if chunk:
                    *lines, pending = (pending + chunk).split(b"\n")
                    text = _render(lines, options)
                    text = text if left is None else text[:left]
                    left = None if left is None else left - len(text)
                    if text:
                        yield text
                    continue
                rotated = await self._threads.run(_reopen_if_rotated, path, file)
                if rotated is not None:
                    file = rotated
                elif not was_running:
                    return
                else:
                    await self._clock.sleep(POLL_SECONDS)
        finally:
            file.close()


def _open(path: Path, tail_lines: int | None) -> BinaryIO:
    file = path.open("rb")
    if tail_lines is not None:
        file.seek(tail_offset(file, tail_lines))
    return file


def _reopen_if_rotated(path: Path, file: BinaryIO) -> BinaryIO | None:
    try:
        if os.stat(path).st_ino == os.fstat(file.fileno()).st_ino:
            return None
        fresh = path.open("rb")
    except OSError:
        return None  # between rename and reopen, or removed
    file.close()
    return fresh


def tail_offset(file: BinaryIO, lines: int) -> int:
    """Where the last `lines` lines begin."""
    end = file.seek(0, os.SEEK_END)
    if lines <= 0:
        return end
    wanted, position = lines + 1, end  # the newline before the first wanted line
    while position > 0:
        size = min(BLOCK_BYTES, position)
        position -= size
        file.seek(position)
        block = file.read(size)
        found = block.count(b"\n")
        if found < wanted:
            wanted -= found
            continue
        index = len(block)
        for _ in range(wanted):
            index = block.rindex(b"\n", 0, index)
        return position + index + 1
    return 0


def _render(lines: list[bytes], options: LogOptions) -> bytes:
    out = bytearray()
    for line in lines:
        record = parse_record(line)
        if record is not None and _is_wanted(record, options):
            if options.timestamps:
                out += record.timestamp.encode() + b" "
            out += record.text
            if not record.is_partial:
                out += b"\n"
    return bytes(out)


def _is_wanted(record: LogRecord, options: LogOptions) -> bool:
    if options.stream != "All" and record.stream != options.stream.lower():
        return False
    if options.since is None:
        return True
    written = parse_time(record.timestamp)
    return written is None or written >= options.since
