"""Namespaces that outlive the process that made them: each is kept by a bind mount of its file.

They are made by util-linux' `unshare` in a process of its own, so that we never change our own namespaces. The files
lie in one directory per sandbox: `net`, `ipc`, `uts`. After a reboot the files are there and empty: `is_alive` tells.
A PID namespace alone needs a first process, so pods that share their processes get one, a sleeping shell: `pid`.
Source: namespaces(7), "The /proc/pid/ns/ directory": a bind mount keeps a namespace alive.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from pullet.kit.clock import Clock
from pullet.kit.process import run_command
from pullet.kit.worker_threads import WorkerThreads
from pullet.ociruntime.errors import NamespaceError
from pullet.ociruntime.runtime import ENVIRONMENT

KINDS: Final = ("net", "ipc", "uts", "pid")
_MNT_DETACH: Final = 2

# Values arrive as arguments, never as text of the script.
_APPLY_SYSCTLS: Final = """
while [ $# -gt 0 ]; do
  printf '%s' "$2" > "/proc/sys/$1" || { echo "cannot set sysctl $1 to $2" >&2; exit 1; }
  shift 2
done
"""
_DEFAULT_SYSCTLS: Final = {"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647"}


# The first process of a shared PID namespace: reaps what is orphaned, ends with SIGKILL alone.
_FIRST_PROCESS: Final = 'trap "" TERM INT HUP; while :; do sleep 2147483647 & wait; done'
_DETACHED: Final = 'setsid --fork unshare --pid="$1" --fork /bin/sh -c "$2" < /dev/null > /dev/null 2>&1'
_FIRST_PROCESS_SECONDS: Final = 10.0


async def create_pid_namespace(directory: Path, *, clock: Clock, threads: WorkerThreads) -> None:
    """Make the PID namespace of a pod whose containers see each other's processes, as `pid` in `directory`.

    Raises:
        NamespaceError: it did not come up in time.
    """
    file = directory / "pid"
    await run_command(["/bin/sh", "-c", _DETACHED, "sh", str(file), _FIRST_PROCESS], environment=ENVIRONMENT)
    deadline = clock.monotonic() + _FIRST_PROCESS_SECONDS
    while not await threads.run(processes_in, file):
        if clock.monotonic() > deadline:
            raise NamespaceError("cannot make the PID namespace of the sandbox")
        await clock.sleep(0.005)


def processes_in(file: Path) -> list[int]:
    """Pids of the processes in the PID namespace mounted on `file`; none when there is no such mount. Blocking."""
    if not is_alive(file):
        return []
    wanted = file.stat().st_ino
    found = []
    for process in Path("/proc").iterdir():
        with suppress(OSError):
            if process.name.isdigit() and (process / "ns" / "pid").stat().st_ino == wanted:
                found.append(int(process.name))
    return found


async def create_namespaces(
    directory: Path, *, kinds: Iterable[str], hostname: str, sysctls: Mapping[str, str]
) -> None:
    """Make namespaces of `kinds` as files in the existing `directory`; set the hostname and sysctls inside.

    On failure the files may be there: `remove_namespaces` cleans up.

    Raises:
        NamespaceError: the kernel refused, or a sysctl is not known, or is not of these namespaces alone.
    """
    chosen = list(kinds)
    for name in sysctls:
        if sysctl_kind(name) not in chosen:
            raise NamespaceError(f"sysctl {name!r} is not in a separate kernel namespace")
    settings = {**(_DEFAULT_SYSCTLS if "net" in chosen else {}), **sysctls}
    if "uts" in chosen and hostname:
        settings["kernel.hostname"] = hostname
    arguments: list[str] = []
    for name, value in settings.items():
        arguments += [sysctl_path(name), value]
    result = await run_command(
        [
            "unshare",
            *(f"--{kind}={directory / kind}" for kind in chosen),
            "/bin/sh",
            "-c",
            _APPLY_SYSCTLS,
            "sh",
            *arguments,
        ],
        environment=ENVIRONMENT,
    )
    if result.exit_code != 0:
        raise NamespaceError(f"cannot make the namespaces of the sandbox: {result.stderr_tail}")


def prepare_files(directory: Path, kinds: Iterable[str]) -> None:
    """Make the empty files that the namespaces are mounted on. Blocking."""
    directory.mkdir(mode=0o700, exist_ok=True)
    for kind in kinds:
        (directory / kind).touch(mode=0o600)


def sysctl_path(name: str) -> str:
    """`net.ipv4.ip_forward` or `net/ipv4/conf/eth0.1/forwarding` as a path below /proc/sys.

    Raises:
        NamespaceError: the name would leave /proc/sys.
    """
    path = name if "/" in name.split(".", 1)[0] or "/" in name else name.replace(".", "/")
    if not path or path.startswith("/") or ".." in path.split("/"):
        raise NamespaceError(f"{name!r} is not the name of a sysctl")
    return path


def sysctl_kind(name: str) -> str:
    """Which kind of namespace has a value of its own; empty where the value is the whole machine's.

    Source: runc libcontainer/configs/validate, sysctl.
    """
    path = sysctl_path(name)
    if path.startswith("net/"):
        return "net"
    is_ipc = path.startswith(("kernel/msg", "kernel/shm", "fs/mqueue/")) or path == "kernel/sem"
    return "ipc" if is_ipc else ""


def is_alive(file: Path) -> bool:
    """Whether a namespace is mounted on `file`. Blocking."""
    try:
        return file.stat().st_dev != file.parent.stat().st_dev
    except OSError:
        return False


def remove_namespaces(directory: Path) -> None:
    """Unmount and delete, end a PID namespace with all in it; the kernel ends the others. Idempotent. Blocking."""
    for pid in processes_in(directory / "pid"):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for kind in KINDS:
        file = directory / kind
        unmount_all(file)
        file.unlink(missing_ok=True)
    with suppress(FileNotFoundError):
        directory.rmdir()


def unmount_all(path: Path) -> None:
    """Take away every mount on `path`, lazily; none is success."""
    libc = ctypes.CDLL(None, use_errno=True)
    while libc.umount2(os.fsencode(path), _MNT_DETACH) == 0:
        pass
