"""Plain headers by the piece: the binding of `tar_scan.c`, and the runs of files that it gives."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterator
from typing import Final, TypeAlias

from pullet.store.native import address_of, native_function

FILES, DIRECTORY, LINK = 0, 1, 2
# of EROFS, extended: i_format i_xattr_icount i_mode - i_size i_u i_ino i_uid i_gid i_mtime i_mtime_nsec i_nlink
INODE: Final = struct.Struct("<HHHHQIIIIqII16x")
INODE_BYTES: Final = 64
BLOCK_BITS: Final = 9
DATA_START: Final = 4096  # of the tar in the layer file
_MAX_INODES: Final = 512  # of one call; a piece of 1 MiB seldom holds more
_TEXT_BYTES: Final = 48 * 1024
_RUN: Final = struct.Struct("<III")


class _Scan(ctypes.Structure):
    """`struct scan` of tar_scan.c."""

    _fields_ = (
        ("start", ctypes.c_uint64), ("position", ctypes.c_uint64), ("stored", ctypes.c_uint64),
        ("number", ctypes.c_uint32), ("left", ctypes.c_uint32), ("max_path", ctypes.c_uint32),
        ("max_inodes", ctypes.c_uint32), ("max_runs", ctypes.c_uint32), ("max_text", ctypes.c_uint32),
        ("inodes", ctypes.c_uint32), ("runs", ctypes.c_uint32), ("text", ctypes.c_uint32),
    )  # fmt: skip


_POINTER = ctypes.c_void_p
_tar_scan = native_function("tar_scan", None, _POINTER, _POINTER, ctypes.c_uint64, _POINTER, _POINTER, _POINTER)


PlainFile: TypeAlias = tuple[bytes, int, int, int, int, int, int]
"""Path, mode, uid, gid, mtime, size and offset of the data in the tar (0 of an empty file)."""


def files_of(above: bytes, names: list[bytes], inodes: memoryview) -> Iterator[PlainFile]:
    """What the inodes of the files `names` in the directory `above` say, file by file."""
    prefix = above + b"/" if above else b""
    for name, inode in zip(names, INODE.iter_unpack(inodes), strict=True):
        _, _, mode, _, size, block, _, uid, gid, mtime, _, _ = inode
        yield prefix + name, mode & 0o7777, uid, gid, mtime, size, (block << BLOCK_BITS) - DATA_START if size else 0


class HeaderScanner:
    """Reads runs of plain headers. One walk, one thread; to be made where IS_COMPILED."""

    def __init__(self, max_path_bytes: int) -> None:
        self._inodes = bytearray(INODE_BYTES * _MAX_INODES)
        self._runs = bytearray(_RUN.size * _MAX_INODES)
        self._text = bytearray(_TEXT_BYTES)
        self._scan = _Scan(max_path=max_path_bytes, max_inodes=_MAX_INODES, max_runs=_MAX_INODES, max_text=_TEXT_BYTES)
        self._places = [
            ctypes.addressof(ctypes.c_char.from_buffer(room)) for room in (self._inodes, self._runs, self._text)
        ]
        self.position = self.stored = 0

    def scan(
        self, piece: bytes | memoryview, position: int, *, start: int, number: int, left: int
    ) -> list[tuple[int, bytes, memoryview]]:
        """What the plain headers from `position` on say: kind, names, inodes, run by run.

        Names are the directory's path and the files' names, a directory's path, or a link's path and target, a NUL
        between any two. Inodes of files are numbered from `number` on; others say in their size where data would begin.
        They are good until the next call. `self.position` is then where the first header not read begins, in or beyond
        the piece; `self.stored` is the size of the last file, if there was one. At most `left` headers are read.
        """
        scan = self._scan
        scan.start, scan.position, scan.number, scan.left = start, position, number, min(left, 0xFFFFFFFF)
        scan.stored = self.stored
        _tar_scan(ctypes.byref(scan), address_of(piece), len(piece), *self._places)
        self.position, self.stored = scan.position, scan.stored
        inodes, found, at, text_at = memoryview(self._inodes), [], 0, 0
        for kind, count, length in _RUN.iter_unpack(memoryview(self._runs)[: _RUN.size * scan.runs]):
            end = at + INODE_BYTES * count
            found.append((kind, bytes(self._text[text_at : text_at + length]), inodes[at:end]))
            at, text_at = end, text_at + length
        return found
