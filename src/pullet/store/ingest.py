"""Receiving a blob in pieces: resumable, hashed while it is written, visible only at commit.

    start ── write ── write ── commit → content/<digest>
      └─ (crash) ── open: offset = bytes on disk ── write …

The bytes on disk are what counts after a crash: `open` hashes them again, so a torn tail can only make the final
digest wrong, never slip through.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Protocol

from pullet.kit import faults
from pullet.kit.atomic_file import fsync_directory
from pullet.kit.locks import ThreadKeyedLock
from pullet.oci.digest import Digest
from pullet.store.errors import ContentNotFoundError, DigestMismatchError, SizeMismatchError, disk_full_named


class BlobPaths(Protocol):
    """Where blobs lie."""

    def path(self, digest: str) -> Path:
        """The blob's file."""
        ...


class Ingest:
    """One blob being received. One thread at a time; close it (or commit or abort) when done."""

    def __init__(self, path: Path, blobs: BlobPaths, *, algorithm: str) -> None:
        self._path, self._blobs = path, blobs
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._algorithm = algorithm
        self._hash = hashlib.new(algorithm)
        self.offset = 0  # bytes received so far
        while data := os.pread(self._fd, 1 << 20, self.offset):
            self._hash.update(data)
            self.offset += len(data)

    def write(self, data: bytes) -> None:
        """Append. Raises DiskFullError; what was written before stays and `offset` says how much."""
        view = memoryview(data)
        with disk_full_named(self._path.parent):
            while view:
                written = os.pwrite(self._fd, view, self.offset)
                self._hash.update(view[:written])
                self.offset += written
                view = view[written:]

    def commit(self, want: Digest, size_bytes: int | None = None) -> None:
        """Make the bytes visible under `want`, durably. Idempotent for content already present.

        Raises:
            SizeMismatchError: the ingest stays when bytes are missing (go on at `offset`), else it is dropped.
            DigestMismatchError: the ingest is dropped.
            DiskFullError: the ingest stays.
        """
        if size_bytes is not None and self.offset != size_bytes:
            if self.offset > size_bytes:
                self.abort()
            raise SizeMismatchError(digest=want, want_bytes=size_bytes, got_bytes=self.offset)
        got = self._digest(want.algorithm)
        if got != want:
            self.abort()
            raise DigestMismatchError(want=want, got=got, size_bytes=self.offset)
        target = self._blobs.path(want)
        with disk_full_named(self._path.parent):
            os.fsync(self._fd)
            os.fchmod(self._fd, 0o644)
            faults.hit("ingest.rename")
            self._path.rename(target)
            faults.hit("ingest.renamed")
            fsync_directory(target.parent)
        self.close()

    def _digest(self, algorithm: str) -> Digest:
        if algorithm != self._algorithm:
            self._hash = hashlib.new(algorithm)
            with open(self._fd, "rb", closefd=False) as file:
                file.seek(0)
                while data := file.read(1 << 20):
                    self._hash.update(data)
        return Digest(f"{algorithm}:{self._hash.hexdigest()}")

    def abort(self) -> None:
        """Drop the bytes."""
        self._path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Stop for now; the bytes stay for `open_ingest`."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class IngestArea:
    """The directory of unfinished blobs, by caller's key."""

    def __init__(self, root: Path, blobs: BlobPaths) -> None:
        self._root, self._blobs = root, blobs
        self._locks = ThreadKeyedLock()
        root.mkdir(parents=True, exist_ok=True)

    def _path(self, key: str) -> Path:
        return self._root / hashlib.sha256(key.encode()).hexdigest()

    def start(self, key: str, *, algorithm: str = "sha256") -> Ingest:
        """An empty ingest under `key`."""
        with self._locks.hold(key):
            self._path(key).unlink(missing_ok=True)
            return Ingest(self._path(key), self._blobs, algorithm=algorithm)

    def open(self, key: str, *, algorithm: str = "sha256") -> Ingest:
        """The ingest under `key` at its end. Raises ContentNotFoundError."""
        with self._locks.hold(key):
            if not self._path(key).exists():
                raise ContentNotFoundError("ingest", key)
            return Ingest(self._path(key), self._blobs, algorithm=algorithm)

    def drop_stale(self, older_than_seconds: float, now: float) -> int:
        """Remove ingests whose last write is that old."""
        dropped = 0
        with os.scandir(self._root) as entries:
            for entry in entries:
                if now - entry.stat().st_mtime > older_than_seconds:
                    Path(entry.path).unlink(missing_ok=True)
                    dropped += 1
        return dropped
