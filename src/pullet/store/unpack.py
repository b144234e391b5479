"""One layer from compressed stream to visible layer, in one pass, every byte touched once per step.

    calling thread                 thread "inflate"                    thread "take in"
    read ─ sha256(blob) ──8 MiB──▶ inflate [─ sha256(tar)] ──16 MiB──▶ [sha256(tar) ─] write ─ walk headers ─┐
                     └───────────── size and digest match? ─────────── and ────────── DiffID matches? ───────┴─▶ rename

The second hash is taken where there is time for it: behind the inflating when a walk is a matter of headers, before
the queue when it makes files. All heavy calls release the interpreter lock. Small layers do the same on the calling
thread alone. Memory: the channel, the buffers that go round between the last two, and the tree (about 100 bytes an
entry): below 64 MiB per layer of any size, plus the window of a zstd frame: 8 MiB a layer, and one window of up to 128
MiB in the whole process (see zstd_frames).
"""

from __future__ import annotations

import hashlib
import sys
import threading
from collections.abc import Callable, Iterable
from functools import partial
from typing import Protocol

from pullet.kit import faults
from pullet.kit.buffer_ring import BufferRing
from pullet.kit.byte_channel import ByteChannel
from pullet.kit.worker_threads import StopFlag
from pullet.oci.descriptor import Descriptor
from pullet.oci.digest import DiffID, Digest
from pullet.oci.layer_entry import LayerEntryError
from pullet.store.content import ContentStore
from pullet.store.decompress import DecompressError, decompress
from pullet.store.errors import (
    DiffIDMismatchError,
    DigestMismatchError,
    LayerCorruptError,
    LayerRefusedError,
    SizeMismatchError,
)
from pullet.store.ingest import Ingest
from pullet.store.layer_form import LayerForms, LayerWriter
from pullet.store.layer_records import Layer
from pullet.store.settings import MIB, StoreSettings
from pullet.store.tar_header import TarFormatError
from pullet.store.zstd_frames import LargeWindow

READ_BYTES = 512 * 1024
_COMPRESSED_CHANNEL = 8 * MIB
_BUFFER_BYTES = MIB  # of the tar; whole blocks, so that a header is seldom cut
_BUFFERS = 16
_INLINE_BYTES = 128 * 1024
_SWITCH_SECONDS = 0.0001


class Readable(Protocol):
    """Where the compressed bytes come from."""

    def read(self, count: int, /) -> bytes:
        """Up to `count` bytes; empty at the end."""
        ...


class UnpackJob:
    """One layer being unpacked. Use once."""

    def __init__(
        self,
        *,
        descriptor: Descriptor,
        diff_id: DiffID,
        form: LayerForms,
        settings: StoreSettings,
        stop: StopFlag,
        keep: ContentStore | None,
        large_window: LargeWindow,
    ) -> None:
        self._descriptor, self._diff_id, self._form = descriptor, diff_id, form
        self._settings, self._stop, self._keep, self._large_window = settings, stop, keep, large_window
        self._blob_hash = hashlib.new(descriptor.digest.algorithm)
        self._tar_hash = hashlib.new(Digest(diff_id).algorithm)
        self._blob_bytes = 0
        self._tar_bytes = 0
        self._tar_limit = settings.limits.uncompressed_limit(descriptor.size)

    def run(self, source: Readable, on_bytes: Callable[[int], None]) -> Layer:
        """Read `source` to its end; on any error nothing is left behind."""
        writer = self._form.start(self._descriptor.size)
        ingest = self._keep.start_ingest(f"layer/{self._descriptor.digest}") if self._keep is not None else None
        try:
            if self._descriptor.size < self._settings.inline_below_bytes:
                self._run_inline(source, writer, ingest, on_bytes)
            else:
                self._run_threads(source, writer, ingest, on_bytes)
            self._stop.check()
            self._check_tar()
            faults.hit("layer.verified")
            if ingest is not None:
                ingest.commit(self._descriptor.digest, self._descriptor.size)
            with self._named():
                return writer.commit(self._diff_id)
        except BaseException:
            writer.abort()
            if ingest is not None:
                ingest.abort()
            raise

    # -- reading
    def _pieces(self, source: Readable, ingest: Ingest | None, on_bytes: Callable[[int], None]) -> Iterable[bytes]:
        """Pieces of the blob, hashed; at the end size and digest are checked."""
        size = self._descriptor.size
        while data := source.read(READ_BYTES):
            self._stop.check()
            self._blob_bytes += len(data)
            if self._blob_bytes > size:
                break
            yield data  # first: the next thread works while this one hashes
            self._blob_hash.update(data)
            if ingest is not None:
                ingest.write(data)
            on_bytes(len(data))
        digest = self._descriptor.digest
        if self._blob_bytes != size:
            raise SizeMismatchError(digest=digest, want_bytes=size, got_bytes=self._blob_bytes)
        got = f"{digest.algorithm}:{self._blob_hash.hexdigest()}"
        if got != digest:
            raise DigestMismatchError(want=digest, got=got, size_bytes=size)

    def _run_inline(
        self, source: Readable, writer: LayerWriter, ingest: Ingest | None, on_bytes: Callable[[int], None]
    ) -> None:
        pieces = list(self._pieces(source, ingest, on_bytes))[::-1]  # small by definition; all of it verified first
        buffer = memoryview(bytearray(_INLINE_BYTES))
        with self._named(), self._large_window.leave(self._stop.check) as admit:
            tar = decompress(_Inbox(pieces), max_window_bytes=self._settings.limits.max_window_bytes, admit=admit)
            while count := tar.readinto(buffer):
                self._count(count)
                self._take_in(buffer[:count], writer, hashed=False)

    def _run_threads(
        self, source: Readable, writer: LayerWriter, ingest: Ingest | None, on_bytes: Callable[[int], None]
    ) -> None:
        compressed, tar = ByteChannel(_COMPRESSED_CHANNEL), BufferRing(_BUFFERS, _BUFFER_BYTES)
        errors: list[BaseException] = []

        def fail(error: BaseException) -> None:
            errors.append(error)
            compressed.fail(error)
            tar.fail(error)

        works: dict[str, Callable[[], None]] = {
            "inflate": partial(self._inflate, compressed, tar),
            "take-in": partial(self._take_in_all, tar, writer),
        }
        threads = [
            threading.Thread(target=_guarded, args=(work, fail), name=f"layer-{name}", daemon=True)
            for name, work in works.items()
        ]
        # threads back from hashing or inflating a piece must not wait the default 5 ms for the one that walks headers
        sys.setswitchinterval(min(sys.getswitchinterval(), _SWITCH_SECONDS))
        for thread in threads:
            thread.start()
        pieces = self._pieces(source, ingest, on_bytes)
        try:
            for data in pieces:
                compressed.put(data)
            compressed.end()
        except LayerCorruptError:  # a thread's; is it the blob, or was the blob altered on its way? Read on to know.
            try:
                for _ in pieces:
                    pass
            except BaseException as error:  # noqa: BLE001  # raised below, when the threads are gone
                errors.append(error)
        except BaseException as error:  # noqa: BLE001  # raised below, when the threads are gone
            fail(error)
        for thread in threads:
            thread.join()
        if errors:
            raise next((e for e in errors if isinstance(e, DigestMismatchError | SizeMismatchError)), errors[0])

    def _inflate(self, compressed: ByteChannel, ring: BufferRing) -> None:
        with self._named(), self._large_window.leave(compressed.check) as admit:
            tar = decompress(compressed, max_window_bytes=self._settings.limits.max_window_bytes, admit=admit)
            while count := tar.readinto(buffer := ring.empty()):
                self._count(count)
                if self._form.makes_files:
                    self._tar_hash.update(buffer[:count])
                ring.put(buffer, count)
        ring.end()

    def _take_in_all(self, ring: BufferRing, writer: LayerWriter) -> None:
        with self._named():
            for data in ring:
                self._take_in(data, writer, hashed=self._form.makes_files)

    def _take_in(self, data: memoryview, writer: LayerWriter, *, hashed: bool) -> None:
        writer.write(data)
        if not hashed:
            self._tar_hash.update(data)
        writer.walk(data)

    # -- checking
    def _count(self, count: int) -> None:
        self._tar_bytes += count
        if self._tar_bytes > self._tar_limit:
            raise LayerRefusedError(
                layer=self._descriptor.digest,
                entry=b"",
                rule=f"its {self._descriptor.size} bytes unpack to more than {self._tar_limit} bytes",
            )

    def _check_tar(self) -> None:
        got = f"{Digest(self._diff_id).algorithm}:{self._tar_hash.hexdigest()}"
        if got != self._diff_id:
            raise DiffIDMismatchError(layer=self._descriptor.digest, want=self._diff_id, got=got)

    def _named(self) -> _Named:
        return _Named(self._descriptor.digest)


class _Named:
    """Gives errors about bytes the name of their layer."""

    def __init__(self, layer: str) -> None:
        self._layer = layer

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, LayerEntryError):
            raise LayerRefusedError(layer=self._layer, entry=error.entry, rule=error.rule) from error
        if isinstance(error, TarFormatError):
            name = error.entry[:256].decode("utf-8", "backslashreplace")
            where = f"entry {name!r}: " if name else ""
            raise LayerCorruptError(layer=self._layer, detail=where + error.detail) from error
        if isinstance(error, DecompressError):
            raise LayerCorruptError(layer=self._layer, detail=str(error)) from error


class _Inbox:
    """Pieces already here, last first."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    def get(self) -> bytes:
        return self._pieces.pop() if self._pieces else b""


def _guarded(work: Callable[[], None], fail: Callable[[BaseException], None]) -> None:
    try:
        work()
    except BaseException as error:  # noqa: BLE001  # handed to the calling thread, which raises it
        fail(error)
