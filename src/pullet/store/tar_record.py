"""What an extracted tree does not keep of its tar, so that the tar can be put together again byte for byte.

    <layer>/tree      the extracted tree
           /record    headers, padding and trailer as they came, compressed; in place of each file's data a reference
           /aside     files that later entries of the same tar replaced: nobody sees them, the tar needs them

A reference names the file by its path when it was written. Where that name was taken away afterwards, a later `moved`
item says under which number the file lies aside. Items are a kind, a length and a body.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final

import zstandard

from pullet.store.errors import StoreError
from pullet.store.safe_paths import directories_below, open_in_root, path_of, remove_directories
from pullet.store.sparse_files import copy_sparse, is_zero_outside

TREE, RECORD, ASIDE = "tree", "record", "aside"
_LITERAL, _DATA, _MOVED, _FINGERPRINT = 0, 1, 2, 3
_ITEM: Final = struct.Struct("<BI")
_DATA_HEAD: Final = struct.Struct("<HI")  # length of the path, number of pieces
_PIECE: Final = struct.Struct("<QQ")  # offset in the file, length
_NUMBER: Final = struct.Struct("<Q")
_BUFFER_BYTES: Final = 256 * 1024
_READ_BYTES: Final = 1 << 20
_LEVEL: Final = 1
_MAX_ITEM_BYTES: Final = 64 << 20
_OPEN: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK  # whatever lies there must not make us wait


class TarRecorder:
    """Writes the record of one layer while it is extracted into `<root>/tree`. One thread."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._tree = os.open(root / TREE, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._file = (root / RECORD).open("xb")
        self._packer = zstandard.ZstdCompressor(level=_LEVEL).compressobj()
        self._buffer = bytearray()
        self._aside_fd = -1
        self._aside_count = 0
        # inodes with several names: the one their data is recorded under; None when that one has been set aside
        self._origins: dict[int, bytes | None] = {}

    def literal(self, data: memoryview) -> None:
        """Bytes of the tar that no file of the tree holds."""
        if data:
            self._item(_LITERAL, data)

    def data(self, path: bytes, pieces: Sequence[tuple[int, int]]) -> None:
        """Bytes of the tar that are these pieces (offset, length) of the file at `path`, one after the other."""
        packed = b"".join(_PIECE.pack(offset, length) for offset, length in pieces)
        self._item(_DATA, _DATA_HEAD.pack(len(path), len(pieces)) + path + packed)

    def linked(self, inode: int, path: bytes) -> None:
        """The file at `path` is about to get another name."""
        self._origins.setdefault(inode, path)

    def take_away(self, path: bytes) -> None:
        """Remove the file or the tree at `path` (no links on its way), if there is one; keep the data the tar needs."""
        above, _, name = path.rpartition(b"/")
        parent = open_in_root(self._tree, above, os.O_RDONLY | os.O_DIRECTORY)
        try:
            status = os.lstat(name, dir_fd=parent)
            if not stat.S_ISDIR(status.st_mode):
                self._take_entry(parent, name, path, status)
                return
            made = []
            for directory, descriptor, entries in directories_below(self._tree, path):
                made.append(directory)
                for entry in entries:
                    if not entry.is_dir(follow_symlinks=False):
                        child = directory + b"/" + entry.name
                        self._take_entry(descriptor, entry.name, child, entry.stat(follow_symlinks=False))
            remove_directories(self._tree, made)
        except FileNotFoundError:
            return
        finally:
            os.close(parent)

    def _take_entry(self, parent: int, name: bytes, path: bytes, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode) or not status.st_size:
            os.unlink(name, dir_fd=parent)
        else:
            self._set_aside(parent, name, path, status)

    def _set_aside(self, parent: int, name: bytes, path: bytes, status: os.stat_result) -> None:
        """A file that keeps other names is copied, so that its link count stays what the tar says."""
        origin = self._origins.get(status.st_ino, path)
        if status.st_nlink == 1:
            self._origins.pop(status.st_ino, None)
        elif origin == path:
            self._origins[status.st_ino] = None
        if origin != path:
            os.unlink(name, dir_fd=parent)
            return
        if self._aside_fd < 0:
            (self._root / ASIDE).mkdir(mode=0o700)
            self._aside_fd = os.open(self._root / ASIDE, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        target = b"%d" % self._aside_count
        if status.st_nlink == 1:
            os.rename(name, target, src_dir_fd=parent, dst_dir_fd=self._aside_fd)
        else:
            source = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
            with open(source, "rb") as old, open(path_of(self._aside_fd) + b"/" + target, "xb") as new:
                copy_sparse(old.fileno(), new.fileno())
            os.unlink(name, dir_fd=parent)
        self._item(_MOVED, _NUMBER.pack(self._aside_count) + path)
        self._aside_count += 1

    def _item(self, kind: int, body: bytes | memoryview) -> None:
        self._buffer += _ITEM.pack(kind, len(body))
        self._buffer += body
        if len(self._buffer) >= _BUFFER_BYTES:
            self._file.write(self._packer.compress(self._buffer))
            self._buffer = bytearray()

    def finish(self, fingerprint: bytes) -> None:
        """The tree is complete and looks like this."""
        self._item(_FINGERPRINT, fingerprint)
        self._file.write(self._packer.compress(self._buffer) + self._packer.flush())
        self.close()

    def close(self) -> None:
        """Close what is open."""
        self._file.close()
        for descriptor in (self._tree, self._aside_fd):
            if descriptor >= 0:
                os.close(descriptor)
        self._tree = self._aside_fd = -1


class RecordedTar:
    """The exact tar of an extracted layer, put together again as it is read.

    Raises StoreError when a part of it is not there any more, or not as long; what it gives may still be wrong if the
    files were altered: only the DiffID can tell.
    """

    def __init__(self, root: Path, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self.fingerprint = b""  # known when all is read
        self._root = root
        try:
            self._tree = os.open(root / TREE, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise self._damaged(f"its tree: {error.strerror}") from error
        self._pieces = self._assemble()
        self._left = memoryview(b"")

    def read(self, count: int = -1) -> bytes:
        """`count` bytes (all that is left when negative), fewer only at the end."""
        parts, wanted = [], count if count >= 0 else self.size_bytes
        while wanted and (self._left or self._next()):
            part = self._left[:wanted]
            parts.append(part)
            self._left, wanted = self._left[len(part) :], wanted - len(part)
        return b"".join(parts)

    def _next(self) -> bool:
        try:
            piece = next(self._pieces, b"")
        except (OSError, zstandard.ZstdError, struct.error) as error:
            raise self._damaged(str(error)) from error
        self._left = memoryview(piece)
        return bool(piece)

    def _damaged(self, what: str) -> StoreError:
        return StoreError(f"the layer at {self._root} is damaged, its tar cannot be put together: {what}")

    def _items(self) -> Iterator[tuple[int, bytes]]:
        with (self._root / RECORD).open("rb") as file:
            stream: BinaryIO = zstandard.ZstdDecompressor().stream_reader(file)
            while head := stream.read(_ITEM.size):
                kind, length = _ITEM.unpack(head)
                body = stream.read(length) if length <= _MAX_ITEM_BYTES else b""
                if len(body) != length:
                    raise self._damaged("its record ends early")
                yield kind, body

    def _assemble(self) -> Iterator[bytes]:
        aside = self._moves()
        for index, (kind, body) in enumerate(self._items()):
            if kind == _LITERAL:
                yield body
            elif kind == _DATA:
                path_length, count = _DATA_HEAD.unpack_from(body)
                path = body[_DATA_HEAD.size : _DATA_HEAD.size + path_length]
                place = next((number for at, number in aside.get(path, ()) if at > index), None)
                at = _DATA_HEAD.size + path_length
                pieces = [_PIECE.unpack_from(body, at + number * _PIECE.size) for number in range(count)]
                yield from self._data(path, place, pieces)
            elif kind == _FINGERPRINT:
                self.fingerprint = body

    def _moves(self) -> dict[bytes, list[tuple[int, bytes]]]:
        """Which names were taken away when (by item), and their numbers."""
        found: dict[bytes, list[tuple[int, bytes]]] = {}
        if (self._root / ASIDE).exists():
            for index, (kind, body) in enumerate(self._items()):
                if kind == _MOVED:
                    (number,) = _NUMBER.unpack_from(body)
                    found.setdefault(body[_NUMBER.size :], []).append((index, b"%d" % number))
        return found

    def _data(self, path: bytes, aside: bytes | None, pieces: Sequence[tuple[int, int]]) -> Iterator[bytes]:
        if aside is None:
            descriptor = open_in_root(self._tree, path, _OPEN)
        else:
            descriptor = os.open(self._root / ASIDE / os.fsdecode(aside), _OPEN | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise self._damaged(f"{os.fsdecode(path)!r} is no file any more")
            for offset, length in pieces:
                end = offset + length
                while offset < end:
                    data = os.pread(descriptor, min(_READ_BYTES, end - offset), offset)
                    if not data:
                        raise self._damaged(f"{os.fsdecode(path)!r} is shorter than it was")
                    offset += len(data)
                    yield data
            if len(pieces) != 1 and not is_zero_outside(descriptor, [(start, start + size) for start, size in pieces]):
                raise self._damaged(f"{os.fsdecode(path)!r} has data in its holes")
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Close what is open."""
        self._pieces.close()  # type: ignore[attr-defined]  # a generator
        if self._tree >= 0:
            os.close(self._tree)
            self._tree = -1

    def __enter__(self) -> RecordedTar:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
