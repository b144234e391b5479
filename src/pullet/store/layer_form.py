"""One form of layer on disk, as the pipeline and the snapshotter see it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import Protocol, Self

from pullet.oci.digest import DiffID, Digest
from pullet.store.layer_records import Layer, LayerForm


class TarSource(Protocol):
    """The exact tar of a layer as a stream. Raises StoreError where its layer is damaged beyond reading."""

    size_bytes: int

    def read(self, count: int = -1) -> bytes:
        """`count` bytes (all that is left when negative), fewer only at the end."""
        ...

    def close(self) -> None:
        """Close its files."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class LayerWriter(Protocol):
    """One layer being written. `write` and `walk` each get the whole tar, in order, a piece first by `write`.

    A piece is good until the call returns. A memoryview is of a buffer that can be written to.
    """

    def write(self, data: bytes | memoryview) -> None:
        """Bytes of the tar, for writers that keep the tar."""
        ...

    def walk(self, data: bytes | memoryview) -> None:
        """The same bytes, for those that read it. Raises LayerEntryError, TarFormatError."""
        ...

    def commit(self, diff_id: DiffID) -> Layer:
        """Everything matched: finish and make visible by one rename."""
        ...

    def abort(self) -> None:
        """Leave nothing behind. Never raises for what is not there."""
        ...


class LayerForms(Protocol):
    """Where layers of one form lie and how they are made, read and removed."""

    form: LayerForm
    makes_files: bool  # a walk makes the files, not only a note of them
    root: Path

    def path(self, diff_id: str) -> Path:
        """Where the layer is or would be."""
        ...

    def start(self, compressed_bytes: int) -> LayerWriter:
        """Begin a layer in a temporary place."""
        ...

    def open_tar(self, layer: Layer) -> TarSource:
        """The exact tar."""
        ...

    def verify(self, layer: Layer) -> bool:
        """Whether the layer is whole, judged from its bytes."""
        ...

    def sync(self, layer: Layer) -> None:
        """Bring the layer to the disk itself."""
        ...

    def detach(self, diff_id: str) -> Path | None:
        """Make it invisible, by one rename, and say where it lies now; None if it is not here."""
        ...

    def dispose(self, path: Path) -> None:
        """Free the space of what `detach` gave. What a crash leaves of it, `sweep` removes."""
        ...

    def sweep(self, known: Collection[str]) -> int:
        """Remove unfinished layers and those not known; gives how many."""
        ...


def layer_path(root: Path, diff_id: str) -> Path:
    """`<root>/<algorithm>/<hex>`."""
    digest = Digest(diff_id)
    return root / digest.algorithm / digest.hex


def sweep_names(root: Path, known: Collection[str], remove: Callable[[Path], None]) -> int:
    """Call `remove` for every entry of `<root>/sha256` that is not known."""
    removed = 0
    with suppress(FileNotFoundError):
        for path in list((root / "sha256").iterdir()):
            if f"sha256:{path.name}" not in known:
                remove(path)
                removed += 1
    return removed


def detach_into(temporary: Path, path: Path) -> Path | None:
    """Rename `path` into the temporary directory under a name of its own."""
    target = temporary / f"gone.{os.getpid()}.{threading.get_ident()}.{path.name}"
    try:
        path.rename(target)
    except FileNotFoundError:
        return None
    return target
