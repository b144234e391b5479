"""mount(2) and the newer mount calls, by their system call numbers, which all of Linux's 64-bit machines share.

`fsopen`/`fsconfig` take one option at a time, so an overlay of hundreds of layers does not meet the one-page limit of
mount(2)'s option string. Source: Linux include/uapi/linux/mount.h; Documentation/filesystems/overlayfs.rst.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pullet.store.errors import MountError

MS_RDONLY, MS_NODEV = 0x1, 0x4
MNT_DETACH = 0x2
_MOVE_MOUNT, _FSOPEN, _FSCONFIG, _FSMOUNT = 429, 430, 431, 432
_FSOPEN_CLOEXEC, _FSMOUNT_CLOEXEC = 1, 1
_SET_FLAG, _SET_STRING, _CREATE = 0, 1, 6
_MOVE_MOUNT_F_EMPTY_PATH = 4
_AT_FDCWD = -100
_MOUNT_ATTR_RDONLY = 1

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


def _syscall(number: int, *arguments: int | bytes | None) -> int:
    values = [ctypes.c_long(value) if isinstance(value, int) else ctypes.c_char_p(value) for value in arguments]
    return _check(_libc.syscall(ctypes.c_long(number), *values))


def mount(source: str | Path, target: Path, filesystem: str, flags: int = 0, options: str = "") -> None:
    """Mount by the classic call. Raises MountError."""
    try:
        _check(
            _libc.mount(
                os.fsencode(source), os.fsencode(target), filesystem.encode(), ctypes.c_ulong(flags), options.encode()
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


def mount_overlay(
    target: Path,
    lower: Sequence[Path],
    *,
    upper: Path | None = None,
    work: Path | None = None,
    userxattr: bool = False,
    is_volatile: bool = False,
) -> None:
    """Mount an overlay of `lower` (topmost first), writable when `upper` and `work` are given. Raises MountError."""
    options = [("lowerdir+", str(path)) for path in lower]
    flags = []
    if upper is not None and work is not None:
        options += [("upperdir", str(upper)), ("workdir", str(work))]
    if userxattr:
        flags.append("userxattr")
    if is_volatile:
        flags.append("volatile")
    options.append(("source", "overlay"))
    context = -1
    try:
        context = _syscall(_FSOPEN, b"overlay", _FSOPEN_CLOEXEC)
        for key, value in options:
            _syscall(_FSCONFIG, context, _SET_STRING, key.encode(), os.fsencode(value), 0)
        for flag in flags:
            _syscall(_FSCONFIG, context, _SET_FLAG, flag.encode(), None, 0)
        _syscall(_FSCONFIG, context, _CREATE, None, None, 0)
        made = _syscall(_FSMOUNT, context, _FSMOUNT_CLOEXEC, 0 if upper is not None else _MOUNT_ATTR_RDONLY)
        try:
            _syscall(_MOVE_MOUNT, made, b"", _AT_FDCWD, os.fsencode(target), _MOVE_MOUNT_F_EMPTY_PATH)
        finally:
            os.close(made)
    except OSError as error:
        said = _kernel_words(context)
        if said:
            error = OSError(error.errno, f"{error.strerror} ({said})")
        raise MountError(f"cannot mount overlay of {len(lower)} layers at {target}", error) from error
    finally:
        if context >= 0:
            os.close(context)


def _kernel_words(context: int) -> str:
    """What the kernel wrote about the failure."""
    words: list[str] = []
    try:
        while len(words) < 8 and (line := os.read(context, 512)):
            words.append(line.decode(errors="replace").strip())
    except OSError:
        pass
    return "; ".join(words)


@dataclass(frozen=True, slots=True)
class MountEntry:
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
