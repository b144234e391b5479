"""mount(2) and umount2(2), and what /proc tells of mounts."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

from pullet.base.values import Value
from pullet.store.errors import MountError

MS_RDONLY, MS_NODEV = 0x1, 0x4
MNT_DETACH = 0x2

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int) -> int:
    """The result of a C call that is negative on failure. Raises OSError."""
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


def system_call(number: int, *arguments: int | bytes | None) -> int:
    """A system call by its number. Raises OSError."""
    values = [ctypes.c_long(value) if isinstance(value, int) else ctypes.c_char_p(value) for value in arguments]
    return _check(_libc.syscall(ctypes.c_long(number), *values))


def mount(source: str | Path, target: Path, filesystem: str, flags: int = 0, options: str = "") -> None:
    """Mount by the classic call. Raises MountError."""
    try:
        _check(
            _libc.mount(
                os.fsencode(source),
                os.fsencode(target),
                filesystem.encode(),
                ctypes.c_ulong(flags),
                os.fsencode(options),
            )
        )
    except OSError as error:
        raise MountError(f"cannot mount {filesystem} {source} at {target}", error) from error


def unmount(target: Path, flags: int = 0) -> None:
    """umount2(2); what is not mounted is no error. Raises MountError."""
    try:
        _check(_libc.umount2(os.fsencode(target), flags))
    except OSError as error:
        if isinstance(error, FileNotFoundError) or error.errno == 22:  # EINVAL: no mount point
            return
        raise MountError(f"cannot unmount {target}", error) from error


class MountEntry(Value):
    """One line of mountinfo."""

    mount_point: Path
    filesystem: str


def mounts_below(root: Path) -> tuple[MountEntry, ...]:
    """Every mount of this namespace at or below `root`, in mount order."""
    prefix = os.fsencode(root.resolve())
    return tuple(_parse(line) for line in _lines() if _is_below(line.split(b" ")[4], prefix))


def is_mount_point(path: Path) -> bool:
    """Whether something is mounted exactly at `path`."""
    wanted = os.fsencode(path)
    return any(_unescape(line.split(b" ")[4]) == wanted for line in _lines())


def _lines() -> Iterator[bytes]:
    with open("/proc/self/mountinfo", "rb") as file:
        yield from file.read().splitlines()


def _is_below(field: bytes, prefix: bytes) -> bool:
    path = _unescape(field)
    return path == prefix or path.startswith(prefix.rstrip(b"/") + b"/")


def _parse(line: bytes) -> MountEntry:
    fields = line.split(b" ")
    return MountEntry(Path(os.fsdecode(_unescape(fields[4]))), fields[fields.index(b"-") + 1].decode())


def _unescape(field: bytes) -> bytes:
    for code, byte in ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\012", b"\n"), (b"\\134", b"\\")):
        field = field.replace(code, byte)
    return field


def unmount_all_below(root: Path) -> int:
    """Detach every mount below `root`, the last made first; gives how many. Raises MountError."""
    entries = mounts_below(root)
    for entry in reversed(entries):
        unmount(entry.mount_point, MNT_DETACH)
    return len(entries)
