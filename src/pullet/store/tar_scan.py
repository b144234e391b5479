"""The compiled reader of plain headers (`tar_scan.c`), where it was built; without it the walk is Python alone.

`scripts/build_native.py` puts it beside this file. It is plain C without Python's headers, called through ctypes: one
build serves every interpreter, and the interpreter lock is free meanwhile.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

LIBRARY: Final = Path(__file__).with_name("libtar_scan.so")
FILES, DIRECTORY = 0, 1
# of EROFS, extended: i_format i_xattr_icount i_mode - i_size i_u i_ino i_uid i_gid i_mtime i_mtime_nsec i_nlink
INODE: Final = struct.Struct("<HHHHQIIIIqII16x")
INODE_BYTES: Final = 64
BLOCK_BITS: Final = 9
DATA_START: Final = 4096  # of the tar in the layer file
_PIECE_ENTRIES: Final = 2048  # as many as a piece of 1 MiB can hold
_TEXT_BYTES: Final = 2 * 260 * _PIECE_ENTRIES
_RUN: Final = struct.Struct("<III")


class _Scan(ctypes.Structure):
    """`struct scan` of tar_scan.c."""

    _fields_ = (
        ("start", ctypes.c_uint64), ("position", ctypes.c_uint64), ("stored", ctypes.c_uint64),
        ("number", ctypes.c_uint32), ("left", ctypes.c_uint32), ("max_path", ctypes.c_uint32),
        ("max_records", ctypes.c_uint32), ("max_runs", ctypes.c_uint32), ("max_text", ctypes.c_uint32),
        ("records", ctypes.c_uint32), ("runs", ctypes.c_uint32), ("text", ctypes.c_uint32),
    )  # fmt: skip


def _load() -> Callable[..., None] | None:
    if sys.byteorder != "little":  # records are written as they lie in memory
        return None
    try:
        function: Callable[..., None] = ctypes.CDLL(os.fspath(LIBRARY)).tar_scan
    except (OSError, AttributeError):
        return None
    function.argtypes = (ctypes.c_void_p,) * 2 + (ctypes.c_uint64,) + (ctypes.c_void_p,) * 3  # type: ignore[attr-defined]
    function.restype = None  # type: ignore[attr-defined]
    return function


_tar_scan = _load()
IS_COMPILED: Final = _tar_scan is not None


def files_of(
    above: bytes, names: list[bytes], inodes: memoryview
) -> Iterator[tuple[bytes, int, int, int, int, int, int]]:
    """Path, mode, uid, gid, mtime, size and offset of the data in the tar (0 of an empty file), file by file."""
    prefix = above + b"/" if above else b""
    for name, inode in zip(names, INODE.iter_unpack(inodes), strict=True):
        _, _, mode, _, size, block, _, uid, gid, mtime, _, _ = inode
        yield prefix + name, mode & 0o7777, uid, gid, mtime, size, (block << BLOCK_BITS) - DATA_START if size else 0


class HeaderScanner:
    """Reads runs of plain headers. One walk, one thread; to be made where IS_COMPILED."""

    def __init__(self, max_path_bytes: int) -> None:
        self._records = bytearray(INODE_BYTES * _PIECE_ENTRIES)
        self._runs = bytearray(_RUN.size * _PIECE_ENTRIES)
        self._text = bytearray(_TEXT_BYTES)
        self._scan = _Scan(
            max_path=max_path_bytes, max_records=_PIECE_ENTRIES, max_runs=_PIECE_ENTRIES, max_text=_TEXT_BYTES
        )
        self._places = [
            ctypes.addressof(ctypes.c_char.from_buffer(room)) for room in (self._records, self._runs, self._text)
        ]
        self.position = self.stored = 0

    def scan(
        self, piece: bytes | memoryview, position: int, *, start: int, number: int, left: int
    ) -> list[tuple[int, bytes, memoryview]]:
        """What the plain headers from `position` on say: kind, names, records, run by run.

        Names are the directory's path and the files' names, a NUL between any two, or a directory's path. Records are
        EROFS inodes, a file's numbered from `number` on; of a directory, the size says where its data would begin.
        They are good until the next call. `self.position` is then where the first header not read begins, in or beyond
        the piece; `self.stored` is the size of the last file, if there was one. At most `left` headers are read.
        """
        assert _tar_scan is not None
        scan = self._scan
        scan.start, scan.position, scan.number, scan.left = start, position, number, min(left, 0xFFFFFFFF)
        scan.stored = self.stored
        place = ctypes.c_char_p(piece) if isinstance(piece, bytes) else ctypes.byref(ctypes.c_char.from_buffer(piece))
        _tar_scan(ctypes.byref(scan), place, len(piece), *self._places)
        self.position, self.stored = scan.position, scan.stored
        records, found, at, text_at = memoryview(self._records), [], 0, 0
        for kind, count, length in _RUN.iter_unpack(memoryview(self._runs)[: _RUN.size * scan.runs]):
            end = at + INODE_BYTES * count
            found.append((kind, bytes(self._text[text_at : text_at + length]), records[at:end]))
            at, text_at = end, text_at + length
        return found
