"""Layers as one file each, `layers/sha256/<hex>`: at once the exact tar and a mountable EROFS image."""

from __future__ import annotations

import ctypes
import hashlib
import itertools
import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from pullet.kit import faults
from pullet.oci.digest import DiffID, Digest
from pullet.oci.layer_entry import LayerEntryError
from pullet.store.erofs_image import SUPERBLOCK_AT, build_image
from pullet.store.errors import disk_full_named
from pullet.store.layer_form import detach_into, layer_path, sweep_names
from pullet.store.layer_records import Layer, LayerForm
from pullet.store.layer_tree import LayerTree
from pullet.store.settings import UnpackLimits
from pullet.store.sparse_files import is_zero_outside
from pullet.store.sparse_pieces import ChunkMap, lay_out
from pullet.store.tar_scan import DATA_START
from pullet.store.tar_stream import TarMember, TarWalker

_READ_BYTES = 1 << 20
_ALLOCATE_BYTES = 16 << 20
_libc = ctypes.CDLL(None)


class ErofsLayers:
    """The directory of layer files."""

    form = LayerForm.EROFS
    makes_files = False

    def __init__(self, root: Path, limits: UnpackLimits) -> None:
        self.root = root / "layers"
        self._temporary = self.root / "tmp"
        self._limits = limits
        self._numbers = itertools.count(1)
        self._temporary.mkdir(parents=True, exist_ok=True)
        (self.root / "sha256").mkdir(exist_ok=True)

    def path(self, diff_id: str) -> Path:
        """The layer's file."""
        return layer_path(self.root, diff_id)

    def start(self, compressed_bytes: int) -> ErofsLayerWriter:
        """A new file in the temporary directory."""
        path = self._temporary / f"{os.getpid()}.{next(self._numbers)}"
        return ErofsLayerWriter(path, self, self._limits, is_large=compressed_bytes >= _ALLOCATE_BYTES // 4)

    def open_tar(self, layer: Layer) -> FileStretch:
        """The tar, as it came."""
        return FileStretch(layer.path, DATA_START, layer.tar_bytes)

    def verify(self, layer: Layer) -> bool:
        """Hash the tar inside against the DiffID, and build the metadata anew from it to compare with what is there."""
        digest = hashlib.new(Digest(layer.diff_id).algorithm)
        tree = LayerTree()
        walker = TarWalker(tree, self._limits)
        try:
            with self.open_tar(layer) as tar:
                while data := tar.read(_READ_BYTES):
                    digest.update(data)
                    walker.feed(data)
            if digest.hexdigest() != Digest(layer.diff_id).hex:
                return False
            walker.finish()
            return self._metadata_matches(layer, tree)
        except (OSError, ValueError, LayerEntryError):
            return False

    def _metadata_matches(self, layer: Layer, tree: LayerTree) -> bool:
        """Whether the file holds what is built of `tree`, nothing but zeros besides, and ends where it should."""
        tree.finish()
        with layer.path.open("rb") as file:
            descriptor = file.fileno()
            right = [(DATA_START, DATA_START + layer.tar_bytes)]
            chunks, data_end = _lay_out_all(descriptor, tree, layer.tar_bytes, checked=right)
            image = build_image(tree, data_end, chunks)
            at, superblock_end = image.metadata_at, SUPERBLOCK_AT + len(image.superblock)
            if os.pread(descriptor, len(image.superblock), SUPERBLOCK_AT) != image.superblock:
                return False
            for part in image.metadata:
                if os.pread(descriptor, len(part), at) != part:
                    return False
                at += len(part)
            right += [(SUPERBLOCK_AT, superblock_end), (image.metadata_at, at)]
            return image.total_bytes == os.fstat(descriptor).st_size and is_zero_outside(descriptor, right)

    def sync(self, layer: Layer) -> None:
        """Fsync the file and its directory."""
        for path in (layer.path, layer.path.parent):
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def detach(self, diff_id: str) -> Path | None:
        """Rename into the temporary directory; what has it mounted is not disturbed."""
        return detach_into(self._temporary, self.path(diff_id))

    def dispose(self, path: Path) -> None:
        """Unlink."""
        path.unlink(missing_ok=True)

    def sweep(self, known: Collection[str]) -> int:
        """Unlink unfinished and unknown files."""
        count = 0
        for path in list(self._temporary.iterdir()):
            path.unlink()
            count += 1
        return count + sweep_names(self.root, known, Path.unlink)


class FileStretch:
    """A stretch of a file, read as a stream: the tar inside a layer file."""

    def __init__(self, path: Path, start: int, size_bytes: int) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._at, self._end = start, start + size_bytes
        self.size_bytes = size_bytes

    def read(self, count: int = -1) -> bytes:
        """`count` bytes (all that is left when negative), fewer only at the end."""
        left = self._end - self._at
        data = os.pread(self._fd, left if count < 0 else min(count, left), self._at)
        self._at += len(data)
        return data

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> FileStretch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class ErofsLayerWriter:
    """One layer file being written: tar bytes as they come, metadata at the end, the superblock last."""

    def __init__(self, path: Path, layers: ErofsLayers, limits: UnpackLimits, *, is_large: bool) -> None:
        self._path, self._layers = path, layers
        self._allocated = 0 if is_large else -1  # up to which byte there are blocks; -1: they come as they are written
        self._tree = LayerTree()
        self._walker = TarWalker(self._tree, limits)
        self._written = 0
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def write(self, data: bytes | memoryview) -> None:
        """Append to the tar."""
        with disk_full_named(self._layers.root):
            at = DATA_START + self._written
            if -1 < self._allocated < at + len(data):
                self._allocate()
            count = os.pwrite(self._fd, data, at)
            if count != len(data):
                view = memoryview(data)
                while count < len(data):
                    count += os.pwrite(self._fd, view[count:], at + count)
        self._written += len(data)

    def _allocate(self) -> None:
        """Take blocks ahead: a third of what writing costs is finding them one by one. Where that fails, so be it."""
        size = ctypes.c_longlong(_ALLOCATE_BYTES)
        if _libc.fallocate(self._fd, 0, ctypes.c_longlong(self._allocated), size) == 0:
            self._allocated += _ALLOCATE_BYTES
        else:
            self._allocated = -1

    def walk(self, data: bytes | memoryview) -> None:
        """Note the members."""
        self._walker.feed(data)

    def commit(self, diff_id: DiffID) -> Layer:
        """Write metadata and superblock, rename into place."""
        self._walker.finish()
        needs = self._tree.finish()
        with disk_full_named(self._layers.root):
            chunks, data_end = _lay_out_all(self._fd, self._tree, self._written)
            image = build_image(self._tree, data_end, chunks)
            at = image.metadata_at
            for part in _gathered(image.metadata):
                view = memoryview(part)
                while view:
                    count = os.pwrite(self._fd, view, at)
                    at, view = at + count, view[count:]
            if os.fstat(self._fd).st_size > at:  # taken ahead and not needed; also by an attempt that failed half-way
                os.ftruncate(self._fd, at)
            faults.hit("layer.metadata")
            os.pwrite(self._fd, image.superblock, SUPERBLOCK_AT)
            target = self._layers.path(diff_id)
            disk_bytes = os.fstat(self._fd).st_blocks * 512
            os.fchmod(self._fd, 0o400)
            faults.hit("layer.rename")
            self._path.rename(target)
        self._close()
        return Layer(
            diff_id=diff_id, form=LayerForm.EROFS, path=target, tar_bytes=self._written, disk_bytes=disk_bytes,
            needs=needs,
        )  # fmt: skip

    def abort(self) -> None:
        """Unlink the temporary file, if it is still one."""
        with suppress(FileNotFoundError):
            self._path.unlink()
        self._close()

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _gathered(parts: Iterable[bytes | bytearray]) -> Iterator[bytes | bytearray]:
    """The same bytes in fewer pieces: a call each for many small ones takes longer than joining them."""
    buffer = bytearray()
    for part in parts:
        if len(buffer) + len(part) > _READ_BYTES:
            yield buffer
            buffer = bytearray()
        if len(part) > _READ_BYTES:
            yield part
        else:
            buffer += part
    yield buffer


def _lay_out_all(
    descriptor: int, tree: LayerTree, data_end: int, *, checked: list[tuple[int, int]] | None = None
) -> tuple[dict[int, ChunkMap], int]:
    """The chunk maps of all sparse files, by id() of their nodes, and where the data ends now."""
    chunks: dict[int, ChunkMap] = {}
    for directory in tree.directories():
        for _, child in directory.objects():
            if isinstance(child.payload, TarMember) and id(child) not in chunks:
                chunks[id(child)], data_end = lay_out(descriptor, child.payload, data_end, checked=checked)
    return chunks, data_end
