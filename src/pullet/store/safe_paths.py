"""openat2(2): paths from outside, resolved inside a directory as a chroot would, whatever links lie on the way.

Source: Linux include/uapi/linux/openat2.h.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

_OPENAT2 = 437
_RESOLVE_NO_MAGICLINKS, _RESOLVE_IN_ROOT = 0x02, 0x10
_HOW = struct.Struct("<QQQ")
_libc = ctypes.CDLL(None, use_errno=True)


def open_in_root(root: int, path: bytes, flags: int, mode: int = 0) -> int:
    """open(2) of `path` with `root` (a directory's descriptor) as `/` for every link met. Raises OSError."""
    how = _HOW.pack(flags | os.O_CLOEXEC, mode, _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS)
    result: int = _libc.syscall(
        ctypes.c_long(_OPENAT2), ctypes.c_long(root), ctypes.c_char_p(path or b"."), ctypes.c_char_p(how),
        ctypes.c_long(len(how)),
    )  # fmt: skip
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), path)
    return result


@contextmanager
def found_in_root(root: int, path: bytes, *, follows: bool = False) -> Iterator[int | None]:
    """An O_PATH descriptor of `path` itself or, with `follows`, of what a final link leads to; None: there is none."""
    try:
        descriptor = open_in_root(root, path, os.O_PATH | (0 if follows else os.O_NOFOLLOW))
    except OSError as error:
        if error.errno not in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:
            raise
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def path_of(descriptor: int) -> bytes:
    """A path that names the open file itself."""
    return b"/proc/self/fd/%d" % descriptor


def directories_below(root: int, path: bytes = b"") -> Iterator[tuple[bytes, int, list[os.DirEntry[bytes]]]]:
    """The directory at `path` and all below it, parents first: path, descriptor and entries, good until the next step.

    Trees of any depth: neither the stack nor descriptors are used up. Links are not followed.
    """
    stack = [path]
    while stack:
        path = stack.pop()
        descriptor = open_in_root(root, path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            with os.scandir(path_of(descriptor)) as found:
                entries = list(found)
            below = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
            yield path, descriptor, entries
        finally:
            os.close(descriptor)
        stack += [path + b"/" + name if path else name for name in below]


def remove_directories(root: int, paths: Sequence[bytes]) -> None:
    """Remove empty directories, given parents first."""
    for path in reversed(paths):
        above, _, name = path.rpartition(b"/")
        parent = open_in_root(root, above, os.O_PATH | os.O_DIRECTORY)
        try:
            os.rmdir(name, dir_fd=parent)
        finally:
            os.close(parent)


def remove_tree(directory: Path) -> None:
    """Remove a directory with all below it, as far as that is possible. What is not there is no error."""
    with suppress(OSError):
        root = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            paths = []
            for path, descriptor, entries in directories_below(root):
                paths.append(path)
                for entry in entries:
                    if not entry.is_dir(follow_symlinks=False):
                        os.unlink(entry.name, dir_fd=descriptor)
            remove_directories(root, paths[1:])
        finally:
            os.close(root)
        directory.rmdir()
