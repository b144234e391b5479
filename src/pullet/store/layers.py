"""Layers by DiffID: streamed in, verified, then visible; read back as the exact tar; verified again; removed."""

from __future__ import annotations

import builtins
import hashlib
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from pullet.kit import faults
from pullet.kit.locks import ThreadKeyedLock
from pullet.kit.worker_threads import StopFlag
from pullet.oci.descriptor import Descriptor
from pullet.oci.digest import DiffID, Digest
from pullet.store.content import ContentStore
from pullet.store.errors import ContentNotFoundError, disk_full_named
from pullet.store.layer_form import LayerForms, TarSource
from pullet.store.layer_records import Layer, LayerForm, LayerRecords
from pullet.store.layer_syncer import LayerSyncer
from pullet.store.settings import StoreSettings
from pullet.store.unpack import Readable, UnpackJob
from pullet.store.zstd_frames import LargeWindow

LAYER_TAR = "application/vnd.oci.image.layer.v1.tar"


class Layers:
    """The layers of one store, all in the form its snapshotter mounts. Thread-safe; calls block."""

    def __init__(
        self, *, form: LayerForms, records: LayerRecords, content: ContentStore, settings: StoreSettings
    ) -> None:
        self._form, self._records, self._content, self._settings = form, records, content, settings
        self._syncer = LayerSyncer(form, records)
        self._locks = ThreadKeyedLock()
        self._large_window = LargeWindow()
        self._checked: set[str] = set()  # of an earlier boot, verified under this one

    def get(self, diff_id: str) -> Layer | None:
        """The layer if it is here, whole.

        A layer that a crash of the machine may have torn (not known synced, written under another boot) is verified
        first, once, from its own bytes; when it is torn it is removed and None is given.
        """
        found = self._records.get(diff_id, self._form.form, self._form.path(diff_id))
        if found is None:
            return None
        layer, sync = found
        if not layer.path.exists():
            self._records.remove(diff_id, self._form.form)
            return None
        if sync.is_synced or sync.boot_id == self._records.boot_id or diff_id in self._checked:
            return layer
        with self._locks.hold(diff_id):
            if diff_id in self._checked:
                return layer
            if not self._form.verify(layer):
                self._delete(diff_id)
                return None
            self._checked.add(diff_id)
        self._syncer.enqueue(layer)
        return layer

    def diff_id_of(self, blob_digest: str) -> DiffID | None:
        """What a compressed blob unpacks to, if that was seen (and verified) here before."""
        return self._records.diff_id_of(blob_digest)

    def unpack(
        self,
        source: Readable,
        *,
        descriptor: Descriptor,
        diff_id: DiffID,
        stop: StopFlag | None = None,
        on_bytes: Callable[[int], None] | None = None,
    ) -> Layer:
        """Read one compressed layer to its end, verify it, and make it visible. Reads on the calling thread.

        Verified are the size and digest of `descriptor` and the DiffID of the tar inside. Present already (also when
        another thread finished it meanwhile): `source` is not read. `on_bytes` gets the number of compressed bytes of
        each piece. On every error nothing is left behind.

        Raises:
            DigestMismatchError, SizeMismatchError: what came is not the blob; another endpoint may do better.
            DiffIDMismatchError, LayerCorruptError, LayerRefusedError: the blob itself is bad.
            DiskFullError: no space.
            StoppedError: `stop` was set.
            whatever `source.read` raises.
        """
        with self._locks.hold(diff_id):
            found = self._records.get(diff_id, self._form.form, self._form.path(diff_id))
            if found is not None and found[0].path.exists():
                return found[0]
            with disk_full_named(self._form.root):
                job = UnpackJob(
                    descriptor=descriptor,
                    diff_id=diff_id,
                    form=self._form,
                    settings=self._settings,
                    stop=stop or StopFlag(),
                    keep=self._content if self._settings.keep_compressed_blobs else None,
                    large_window=self._large_window,
                )
                layer = job.run(source, on_bytes or (lambda _count: None))
                faults.hit("layer.renamed")
            self._records.add(layer, descriptor.digest)
        self._syncer.enqueue(layer)
        return layer

    def add_tar(self, tar: BinaryIO) -> Layer:
        """Make a layer of a local uncompressed tar (seekable); present already is success.

        Raises LayerRefusedError, LayerCorruptError, DiskFullError.
        """
        tar.seek(0)
        digest = Digest("sha256:" + hashlib.file_digest(tar, "sha256").hexdigest())  # type: ignore[arg-type]  # typeshed wants readinto
        size = tar.tell()
        tar.seek(0)
        descriptor = Descriptor(media_type=LAYER_TAR, digest=digest, size=size)
        return self.unpack(tar, descriptor=descriptor, diff_id=DiffID(digest))

    def tar_stream(self, diff_id: str) -> TarSource:
        """The exact uncompressed tar as a readable file with its `size_bytes`; close it.

        Raises:
            ContentNotFoundError: no such layer.
            StoreError: it is damaged; also from reading.
        """
        return self._form.open_tar(self._required(diff_id))

    def verify(self, diff_id: str) -> bool:
        """Whether the layer's bytes still give its DiffID, and its metadata is what it was.

        Raises ContentNotFoundError.
        """
        return self._form.verify(self._required(diff_id))

    def _required(self, diff_id: str) -> Layer:
        layer = self.get(diff_id)
        if layer is None:
            raise ContentNotFoundError("layer", diff_id)
        return layer

    def list(self) -> tuple[tuple[DiffID, int, int], ...]:
        """(DiffID, tar bytes, disk bytes) of every layer here."""
        return self._records.list(self._form.form)

    def remove(self, diff_id: str) -> int:
        """Remove the layer; gives the bytes freed. Absent is no error. The caller knows that nothing needs it."""
        with self._locks.hold(diff_id):
            return self._delete(diff_id)

    def _delete(self, diff_id: str) -> int:
        found = self._records.get(diff_id, self._form.form, self._form.path(diff_id))
        self._records.remove(diff_id, self._form.form)
        gone = self._form.detach(diff_id)
        if gone is not None:
            self._form.dispose(gone)
        return found[0].disk_bytes if found else 0

    def remove_unreferenced(self, is_referenced: Callable[[sqlite3.Connection], frozenset[str]]) -> builtins.list[str]:
        """Remove every layer that `is_referenced`, asked inside the deciding transaction, does not name.

        Whoever takes a lease later finds the layer gone; whoever took it before is seen. Gives the DiffIDs removed.
        """

        def decide(db: sqlite3.Connection) -> builtins.list[tuple[str, Path | None]]:
            wanted = is_referenced(db)
            names = self._records.remove_others(db, self._form.form, wanted)
            return [(name, self._form.detach(name)) for name in names]

        gone = self._records.write(decide)
        for _, path in gone:
            if path is not None:
                self._form.dispose(path)
        return [name for name, _ in gone]

    def sync_leftovers(self) -> None:
        """Have those synced that an earlier process of this boot left unsynced."""
        for diff_id in self._records.unsynced(self._form.form):
            layer = self.get(diff_id)
            if layer is not None:
                self._syncer.enqueue(layer)

    def sweep_leftovers(self) -> int:
        """Remove files that no row names and unfinished ones: what a crash left. Only while nothing unpacks.

        Gives how many.
        """
        known = {diff_id for diff_id, _, _ in self._records.list(self._form.form)}
        return self._form.sweep(known)

    def sync(self) -> None:
        """Wait until every layer so far is on the disk itself."""
        self._syncer.wait()

    def close(self) -> None:
        """Finish the sync under way and stop; layers not synced are verified after a crash of the machine."""
        self._syncer.close()

    @property
    def form(self) -> LayerForm:
        """The form all layers here have."""
        return self._form.form

    @property
    def root(self) -> Path:
        """Where the layers lie."""
        return self._form.root
