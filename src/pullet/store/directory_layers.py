"""Layers as extracted trees, `trees/sha256/<hex>`: for kernels and file systems that cannot mount EROFS files."""

from __future__ import annotations

import ctypes
import itertools
import os
import shutil
from collections.abc import Collection
from pathlib import Path

from pullet.kit import faults
from pullet.oci.digest import DiffID
from pullet.store.errors import StoreError, disk_full_named
from pullet.store.extract import TreeExtractor
from pullet.store.layer_form import TarSource, detach_into, layer_path, sweep_names
from pullet.store.layer_records import Layer, LayerForm
from pullet.store.settings import UnpackLimits

_libc = ctypes.CDLL(None, use_errno=True)


class DirectoryLayers:
    """The directory of trees."""

    form = LayerForm.DIRECTORY

    def __init__(self, root: Path, limits: UnpackLimits) -> None:
        self.root = root / "trees"
        self._temporary = self.root / "tmp"
        self._limits = limits
        self._numbers = itertools.count(1)
        self._temporary.mkdir(parents=True, exist_ok=True)
        (self.root / "sha256").mkdir(exist_ok=True)

    def path(self, diff_id: str) -> Path:
        """The layer's tree."""
        return layer_path(self.root, diff_id)

    def start(self, compressed_bytes: int) -> DirectoryLayerWriter:
        """An empty tree in the temporary directory."""
        return DirectoryLayerWriter(self._temporary / f"{os.getpid()}.{next(self._numbers)}", self, self._limits)

    def open_tar(self, layer: Layer) -> TarSource:
        """Not kept in this form."""
        raise StoreError(f"layer {layer.diff_id} lies here as an extracted directory, its tar was not kept")

    def verify(self, layer: Layer) -> bool | None:
        """A tree cannot tell: None, or False when it is gone."""
        return None if layer.path.is_dir() else False

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
        shutil.rmtree(path, ignore_errors=True)

    def sweep(self, known: Collection[str]) -> int:
        """Remove unfinished and unknown trees."""
        count = 0
        for path in list(self._temporary.iterdir()):
            self.dispose(path)
            count += 1
        return count + sweep_names(self.root, known, self.dispose)


class DirectoryLayerWriter:
    """One tree being extracted."""

    def __init__(self, path: Path, layers: DirectoryLayers, limits: UnpackLimits) -> None:
        self._path, self._layers = path, layers
        self._tar_bytes = 0
        path.mkdir(mode=0o755)
        self._extractor = TreeExtractor(path, limits)

    def write(self, data: bytes) -> None:
        """The tar is not kept."""
        self._tar_bytes += len(data)

    def walk(self, data: bytes) -> None:
        """Extract."""
        with disk_full_named(self._layers.root):
            self._extractor.walk(data)

    def commit(self, diff_id: DiffID) -> Layer:
        """Set the times of directories, rename into place."""
        with disk_full_named(self._layers.root):
            needs = self._extractor.finish()
            self._extractor.close()
            faults.hit("layer.metadata")
            target = self._layers.path(diff_id)
            faults.hit("layer.rename")
            self._path.rename(target)
        return Layer(
            diff_id=diff_id,
            form=LayerForm.DIRECTORY,
            path=target,
            tar_bytes=self._tar_bytes,
            disk_bytes=_allocated(target),
            needs=needs,
        )

    def abort(self) -> None:
        """Remove what was extracted."""
        self._extractor.close()
        self._layers.dispose(self._path)


def _allocated(directory: Path) -> int:
    """Bytes allocated below `directory`; a file with several names counts once."""
    size, seen, stack = 0, set[int](), [os.fspath(directory)]
    while stack:
        with os.scandir(stack.pop()) as entries:
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                if status.st_ino not in seen:
                    seen.add(status.st_ino)
                    size += status.st_blocks * 512
                if entry.is_dir(follow_symlinks=False):
                    stack.append(entry.path)
    return size
