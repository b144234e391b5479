"""Many files of one directory in one call: the binding of `tree_files.c`."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
from collections.abc import Sequence
from typing import Final

from pullet.base.values import Value
from pullet.store.native import IS_COMPILED, address_of, native_function
from pullet.store.safe_paths import path_of

_LOOK: Final = struct.Struct("<QQQQQqqIIII")
_NUMBER, _WIDE, _POINTER = ctypes.c_uint32, ctypes.c_uint64, ctypes.c_void_p
_make_files = native_function(
    "tree_make_files", _NUMBER, ctypes.c_int, ctypes.c_char_p, _POINTER, _NUMBER, _POINTER, _WIDE, _WIDE, _NUMBER
)
_look = native_function("tree_look", _NUMBER, ctypes.c_int, ctypes.c_char_p, _NUMBER, _POINTER)


def make_files(
    directory: int, names: Sequence[bytes], inodes: memoryview, *, piece: memoryview, start: int, umask: int
) -> int:
    """Make plain files in an open directory, as `inodes` of tar_scan say, with their data from `piece` of the tar.

    Gives how many were made. The next one, of which nothing stays, does not lie whole in it or could not be made.
    """
    made: int = _make_files(
        directory, b"\0".join(names), address_of(inodes), len(names), address_of(piece), start, len(piece), umask
    )
    return made


class Look(Value):
    """One entry of a directory, itself and not what it leads to. `has_attributes` is told of files, devices, fifos."""

    inode: int
    device_number: int
    links: int
    size: int
    blocks: int  # of 512 bytes
    mtime_ns: int
    mode: int
    uid: int
    gid: int
    has_attributes: bool


def look_at(directory: int, names: Sequence[bytes]) -> list[Look]:
    """The entries of an open directory. Raises OSError."""
    if not IS_COMPILED:
        return [_look_at_one(directory, name) for name in names]
    room = bytearray(_LOOK.size * len(names))
    count: int = _look(directory, b"\0".join(names), len(names), address_of(room)) if names else 0
    if count < len(names):
        _look_at_one(directory, names[count])  # which says why
        raise OSError(errno.EAGAIN, "it changes while it is looked at", names[count])
    return [
        Look(inode, device, links, size, blocks, seconds * 1_000_000_000 + nanos, mode, uid, gid, bool(has_attributes))
        for inode, device, links, size, blocks, seconds, nanos, mode, uid, gid, has_attributes in _LOOK.iter_unpack(
            room
        )
    ]


def _look_at_one(directory: int, name: bytes) -> Look:
    status = os.lstat(name, dir_fd=directory)
    is_asked = not (stat.S_ISLNK(status.st_mode) or stat.S_ISDIR(status.st_mode))
    return Look(
        status.st_ino, status.st_rdev, status.st_nlink, status.st_size, status.st_blocks, status.st_mtime_ns,
        status.st_mode, status.st_uid, status.st_gid,
        is_asked and bool(os.listxattr(path_of(directory) + b"/" + name)),
    )  # fmt: skip
