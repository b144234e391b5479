"""Layers as extracted trees, `trees/sha256/<hex>/tree`: for kernels and file systems that cannot mount EROFS files.

Beside the tree lies what it does not keep of its tar (see `tar_record`), so that the tar comes back byte for byte and
the layer can be verified against its DiffID here too.
"""

from __future__ import annotations

import ctypes
import hashlib
import itertools
import os
import stat
from collections.abc import Collection
from pathlib import Path

from pullet.kit import faults
from pullet.oci.digest import DiffID, Digest
from pullet.store.errors import StoreError, disk_full_named
from pullet.store.extract import TreeExtractor
from pullet.store.layer_form import detach_into, layer_path, sweep_names
from pullet.store.layer_records import Layer, LayerForm
from pullet.store.safe_paths import directories_below, path_of, remove_tree
from pullet.store.settings import UnpackLimits
from pullet.store.tar_record import TREE, RecordedTar
from pullet.store.tree_files import Look, look_at

_READ_BYTES = 1 << 20
_libc = ctypes.CDLL(None, use_errno=True)


class DirectoryLayers:
    """The directory of trees."""

    form = LayerForm.DIRECTORY
    makes_files = True

    def __init__(self, root: Path, limits: UnpackLimits, *, userxattr: bool = False) -> None:
        self.root = root / "trees"
        self._temporary = self.root / "tmp"
        self._limits, self._userxattr = limits, userxattr
        self._numbers = itertools.count(1)
        self._temporary.mkdir(parents=True, exist_ok=True)
        (self.root / "sha256").mkdir(exist_ok=True)

    def path(self, diff_id: str) -> Path:
        """The layer's tree."""
        return layer_path(self.root, diff_id)

    def start(self, compressed_bytes: int) -> DirectoryLayerWriter:
        """An empty tree in the temporary directory."""
        path = self._temporary / f"{os.getpid()}.{next(self._numbers)}"
        return DirectoryLayerWriter(path, self, self._limits, userxattr=self._userxattr)

    def open_tar(self, layer: Layer) -> RecordedTar:
        """The tar, put together from the record and the files."""
        return RecordedTar(layer.path, layer.tar_bytes)

    def verify(self, layer: Layer) -> bool:
        """Put the tar together and hash it against the DiffID; look at every entry's metadata."""
        digest = hashlib.new(Digest(layer.diff_id).algorithm)
        try:
            with self.open_tar(layer) as tar:
                while data := tar.read(_READ_BYTES):
                    digest.update(data)
                looks, _ = _survey(layer.path / TREE)
                return digest.hexdigest() == Digest(layer.diff_id).hex and looks == tar.fingerprint
        except (OSError, StoreError):
            return False

    def sync(self, layer: Layer) -> None:
        """syncfs: a tree has too many files for one fsync each."""
        descriptor = os.open(layer.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if _libc.syncfs(descriptor) < 0:
                error = ctypes.get_errno()
                raise OSError(error, os.strerror(error))
        finally:
            os.close(descriptor)

    def detach(self, diff_id: str) -> Path | None:
        """Rename into the temporary directory."""
        return detach_into(self._temporary, self.path(diff_id))

    def dispose(self, path: Path) -> None:
        """Remove the tree."""
        remove_tree(path)

    def sweep(self, known: Collection[str]) -> int:
        """Remove unfinished and unknown trees."""
        count = 0
        for path in list(self._temporary.iterdir()):
            self.dispose(path)
            count += 1
        return count + sweep_names(self.root, known, self.dispose)


class DirectoryLayerWriter:
    """One tree being extracted."""

    def __init__(self, path: Path, layers: DirectoryLayers, limits: UnpackLimits, *, userxattr: bool) -> None:
        self._path, self._layers = path, layers
        self._tar_bytes = 0
        path.mkdir(mode=0o755)
        self._extractor = TreeExtractor(path, limits, userxattr=userxattr)

    def write(self, data: bytes | memoryview) -> None:
        """The tar is not kept."""
        self._tar_bytes += len(data)

    def walk(self, data: bytes | memoryview) -> None:
        """Extract."""
        with disk_full_named(self._layers.root):
            self._extractor.walk(data)

    def commit(self, diff_id: DiffID) -> Layer:
        """Set the times of directories, rename into place."""
        with disk_full_named(self._layers.root):
            needs = self._extractor.finish()
            fingerprint, disk_bytes = _survey(self._path / TREE)
            self._extractor.seal(fingerprint)
            faults.hit("layer.metadata")
            target = self._layers.path(diff_id)
            faults.hit("layer.rename")
            self._path.rename(target)
        return Layer(
            diff_id=diff_id,
            form=LayerForm.DIRECTORY,
            path=target,
            tar_bytes=self._tar_bytes,
            disk_bytes=disk_bytes,
            needs=needs,
        )

    def abort(self) -> None:
        """Remove what was extracted."""
        self._extractor.close()
        self._layers.dispose(self._path)


def _survey(directory: Path) -> tuple[bytes, int]:
    """What every entry below `directory` looks like, as one hash, and the bytes allocated for all (each file once)."""
    digest, size, seen = hashlib.sha256(), 0, set[int]()
    root = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for path, descriptor, entries in directories_below(root):
            digest.update(b"%s\0%r" % (path, _attributes(path_of(descriptor))))
            names = sorted(entry.name for entry in entries)
            lines = []
            for name, look in zip(names, look_at(descriptor, names), strict=True):
                lines.append(_line(descriptor, name, look))
                if look.links == 1 or look.inode not in seen:
                    seen.add(look.inode)
                    size += look.blocks * 512
            digest.update(b"".join(lines))
    finally:
        os.close(root)
    return digest.digest(), size


def _line(directory: int, name: bytes, look: Look) -> bytes:
    """One line; a file's content is the business of the DiffID."""
    more: object = look.mtime_ns
    if stat.S_ISLNK(look.mode):
        more = os.readlink(name, dir_fd=directory)
    elif not stat.S_ISDIR(look.mode):
        attributes = _attributes(path_of(directory) + b"/" + name) if look.has_attributes else []
        more = look.device_number, look.links, look.size, look.mtime_ns, attributes
    return b"%s\0%o %d %d %r\n" % (name, look.mode, look.uid, look.gid, more)


def _attributes(path: bytes) -> list[tuple[str, bytes]]:
    return [(name, os.getxattr(path, name)) for name in sorted(os.listxattr(path))]
