"""Starting a monitor and finding it again: the node's side of `monitor`.

Liveness is the lock on `monitor.lock`: its descriptor is handed down to the monitor, so it is held from before the
monitor exists until it is gone, whatever happens to us in between; no pid is trusted without it.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal

from pullet.base.values import Value
from pullet.kit.process import run_command
from pullet.kit.worker_threads import WorkerThreads
from pullet.ociruntime import monitor
from pullet.ociruntime.errors import OciRuntimeError, StartFailedError
from pullet.ociruntime.runtime import ENVIRONMENT, OciRuntime, explain_start_failure

START_TIMEOUT_SECONDS: Final = 120.0
MONITOR_SCRIPT: Final = Path(monitor.__file__)
RUNTIME_LOG: Final = "runtime.log"
RUNTIME_OUTPUT: Final = "runtime.output"  # the monitor writes it


class Started(Value):
    """The container's first process and when it ran, nanoseconds since the epoch."""

    pid: int
    started_at: int


class Ended(Value):
    """How it ended. `failed`: it never ran, and `exit_code` is the OCI runtime's."""

    kind: Literal["exited", "failed"]
    exit_code: int
    finished_at: int


async def start_monitored(
    runtime: OciRuntime,
    *,
    threads: WorkerThreads,
    container_id: str,
    directory: Path,
    log_path: Path | None,
    has_terminal: bool,
    has_stdin: bool,
    stdin_once: bool,
) -> Started:
    """Run the container of the bundle in `directory` under a new monitor.

    Cancelled: the monitor goes on; shield this call or look with `read_started` afterwards.

    Raises:
        StartFailedError: the OCI runtime could not run it; `exit` in the directory says so too.
    """
    flags = [name for name, given in _flags(has_terminal, has_stdin, stdin_once) if given]
    console = ["--console-socket", "@CONSOLE@"] if has_terminal else []
    command = runtime.command(
        "run",
        "--detach",
        "--bundle",
        str(directory),
        "--pid-file",
        str(directory / "init.pid"),
        *console,
        container_id,
        log=directory / RUNTIME_LOG,
    )
    lock = await threads.run(_lock, directory)
    try:
        result = await run_command(
            [
                sys.executable,
                "-I",
                "-S",
                "-E",
                str(MONITOR_SCRIPT),
                str(lock),
                ",".join(flags),
                str(log_path or ""),
                *command,
            ],
            environment=ENVIRONMENT,
            directory=directory,
            timeout_seconds=START_TIMEOUT_SECONDS,
            pass_fds=[lock],
        )
    finally:
        os.close(lock)
    words = result.stdout.decode().split()
    if words and words[0] == "started":
        return Started(int(words[1]), int(words[2]))
    if words and words[0] == "failed":
        raise StartFailedError(await threads.run(start_failure, directory))
    raise OciRuntimeError(f"the monitor of container {container_id} died at start: {result.stderr_tail}")


def _flags(has_terminal: bool, has_stdin: bool, stdin_once: bool) -> Sequence[tuple[str, bool]]:
    return ("tty", has_terminal), ("stdin", has_stdin), ("stdin-once", stdin_once)


def _lock(directory: Path) -> int:
    descriptor = os.open(directory / "monitor.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise OciRuntimeError(f"a monitor is already running for {directory.name}") from error
    return descriptor


def start_failure(directory: Path) -> str:
    """Why the OCI runtime could not run it: from its log, or its output where it failed before it had one. Blocking."""
    said = b""
    for name in (RUNTIME_OUTPUT, RUNTIME_LOG):  # the last message counts
        with suppress(OSError):
            said += (directory / name).read_bytes() + b"\n"
    return explain_start_failure(said)


def has_monitor(directory: Path) -> bool:
    """Whether a monitor lives or is just being started for this container. Blocking."""
    try:
        os.close(_lock(directory))
    except OciRuntimeError:
        return True
    except FileNotFoundError:
        return False
    return False


def open_monitor(directory: Path) -> int | None:
    """A pidfd of the living monitor, for waiting; None if there is none. Blocking."""
    try:
        pidfd = os.pidfd_open(int((directory / "monitor.pid").read_text()))
    except (OSError, ValueError):
        return None
    # Held after the pidfd was opened: the pid was the monitor's then, and the pidfd stays its own for good.
    if has_monitor(directory):
        return pidfd
    os.close(pidfd)
    return None


def kill_monitor(directory: Path) -> None:
    """SIGKILL to a monitor that does not come to an end; none is success. Blocking."""
    pidfd = open_monitor(directory)
    if pidfd is None:
        return
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    os.close(pidfd)


def read_started(directory: Path) -> Started | None:
    """What the monitor noted when the container ran; None if it did not get that far. Blocking."""
    words = _words(directory / "started")
    return Started(int(words[0]), int(words[1])) if len(words) == 2 else None


def read_ended(directory: Path) -> Ended | None:
    """How it ended, as the monitor saw it; None if it has not, or the monitor was killed. Blocking."""
    words = _words(directory / "exit")
    if len(words) != 3 or words[0] not in ("exited", "failed"):
        return None
    return Ended("exited" if words[0] == "exited" else "failed", int(words[1]), int(words[2]))


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:
        return []


def connect_control(directory: Path) -> socket.socket:
    """A connection to the monitor's control socket, not blocking on reads. Blocking for a moment.

    Raises:
        OciRuntimeError: there is no monitor any more.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # Addressed through a descriptor: the path may be longer than a socket address can be.
    holder = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        connection.settimeout(5.0)
        connection.connect(f"/proc/self/fd/{holder}/control.sock")
        connection.setblocking(False)
    except OSError as error:
        connection.close()
        raise OciRuntimeError(f"the monitor of container {directory.name} does not answer: {error}") from error
    finally:
        os.close(holder)
    return connection


def reopen_log(directory: Path) -> None:
    """Have the monitor open the log file anew, and wait until it did. Blocking.

    Raises:
        OciRuntimeError: there is no monitor any more.
    """
    with connect_control(directory) as connection:
        connection.settimeout(5.0)
        try:
            connection.sendall(b"reopen\n")
            connection.recv(16)
        except OSError as error:
            raise OciRuntimeError(f"the monitor of container {directory.name} does not answer: {error}") from error
