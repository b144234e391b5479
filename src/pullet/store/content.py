"""Blobs by digest: manifests, configs, and what was pushed. A blob is visible only whole and verified.

Files lie in `content/<algorithm>/<hex>`; the directory is the truth, no row says that a blob exists. `content_refs`
says who wants a blob kept (an embedded registry's repository, for example), for garbage collection.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from io import FileIO
from pathlib import Path

from pullet.kit import faults
from pullet.kit.atomic_file import fsync_directory, write_atomic
from pullet.kit.sqlite import Database
from pullet.oci.digest import HEX_LENGTH, Digest
from pullet.store.errors import ContentNotFoundError, DigestMismatchError, disk_full_named
from pullet.store.ingest import Ingest, IngestArea


class ContentStore:
    """Blobs by digest. All methods block and may be called from any thread."""

    def __init__(self, root: Path, database: Database) -> None:
        self._root = root / "content"
        for algorithm in HEX_LENGTH:
            (self._root / algorithm).mkdir(parents=True, exist_ok=True)
        self._database = database
        self._ingests = IngestArea(root / "ingest", self)

    def path(self, digest: str) -> Path:
        """Where the blob's file is or would be."""
        checked = Digest(digest)
        return self._root / checked.algorithm / checked.hex

    def has(self, digest: str) -> bool:
        """Whether the blob is here."""
        return self.path(digest).exists()

    def size(self, digest: str) -> int:
        """Bytes of the blob. Raises ContentNotFoundError."""
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError as error:
            raise ContentNotFoundError("blob", digest) from error

    def read(self, digest: str) -> bytes:
        """The whole blob, verified. For small documents.

        Raises:
            ContentNotFoundError: not here.
            DigestMismatchError: the disk gave back other bytes than were stored.
        """
        with self.open(digest) as file:
            data = file.read()
        got = Digest.of(data, Digest(digest).algorithm)
        if got != digest:
            raise DigestMismatchError(want=digest, got=got, size_bytes=len(data))
        return data

    def open(self, digest: str) -> FileIO:
        """The blob as an unbuffered file; stays readable if the blob is removed meanwhile.

        Raises ContentNotFoundError.
        """
        try:
            return FileIO(self.path(digest))
        except FileNotFoundError as error:
            raise ContentNotFoundError("blob", digest) from error

    def put(self, digest: str, data: bytes, *, durable: bool = True) -> None:
        """Store `data` under `digest`, durably unless the caller is going to `sync`.

        Already present is success, and what was damaged on disk is replaced.

        Raises:
            DigestMismatchError: `data` hashes to something else.
            DiskFullError: nothing is left behind.
        """
        got = Digest.of(data, Digest(digest).algorithm)
        if got != digest:
            raise DigestMismatchError(want=digest, got=got, size_bytes=len(data))
        path = self.path(digest)
        if not path.exists() or path.read_bytes() != data:
            with disk_full_named(self._root):
                write_atomic(path, data, mode=0o644, durable=durable)
            faults.hit("content.stored")

    def sync(self, digests: Iterable[str]) -> None:
        """Bring these blobs to the disk itself; those that are gone are passed over."""
        directories = set()
        for digest in digests:
            path = self.path(digest)
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            directories.add(path.parent)
        for directory in directories:
            fsync_directory(directory)

    def remove(self, digest: str) -> int:
        """Remove the blob; gives the bytes freed, 0 when it was not here. Only garbage collection should call it."""
        path = self.path(digest)
        try:
            size = path.stat().st_size
            path.unlink()
        except FileNotFoundError:
            return 0
        return size

    def list(self) -> Iterator[tuple[Digest, int]]:
        """Every blob with its size in bytes."""
        for algorithm in HEX_LENGTH:
            with os.scandir(self._root / algorithm) as entries:
                for entry in entries:
                    if not entry.name.startswith("."):
                        yield Digest(f"{algorithm}:{entry.name}"), entry.stat().st_size

    def verify(self, digest: str) -> bool:
        """Whether the blob's bytes still hash to its digest. Raises ContentNotFoundError."""
        with self.open(digest) as file:
            return hashlib.file_digest(file, Digest(digest).algorithm).hexdigest() == Digest(digest).hex

    def remove_unreferenced(self, is_referenced: Callable[[sqlite3.Connection], frozenset[str]]) -> dict[str, int]:
        """Remove every blob that `is_referenced`, asked inside the deciding transaction, does not name.

        Gives the digests removed with their bytes.
        """

        def decide(db: sqlite3.Connection) -> dict[str, int]:
            wanted = is_referenced(db)
            return {digest: self.remove(digest) for digest, _ in tuple(self.list()) if digest not in wanted}

        return self._database.write_blocking(decide)

    # -- who wants it kept
    def retain(self, owner: str, digests: Iterable[str]) -> None:
        """Keep these blobs for `owner`, beside what it kept before. They need not be here yet."""
        rows = [(owner, str(digest)) for digest in digests]

        def add(db: sqlite3.Connection) -> None:
            db.executemany("INSERT OR IGNORE INTO content_refs(owner, digest) VALUES (?, ?)", rows)

        self._database.write_blocking(add)

    def release(self, owner: str) -> None:
        """Keep nothing for `owner` any more; garbage collection removes what nobody else wants."""
        self._database.write_blocking(lambda db: db.execute("DELETE FROM content_refs WHERE owner = ?", (owner,)))

    def retained(self) -> frozenset[str]:
        """Every digest somebody retains."""
        return self._database.read_blocking(
            lambda db: frozenset(digest for (digest,) in db.execute("SELECT DISTINCT digest FROM content_refs"))
        )

    # -- pieces
    def start_ingest(self, key: str) -> Ingest:
        """Begin (anew) to receive a blob in pieces; pieces received before under this key are dropped."""
        return self._ingests.start(key)

    def open_ingest(self, key: str) -> Ingest:
        """Go on with an ingest at its offset, also after a restart. Raises ContentNotFoundError."""
        return self._ingests.open(key)

    def drop_stale_ingests(self, older_than_seconds: float, now: float) -> int:
        """Drop ingests untouched for that long (`now` is POSIX time); gives how many."""
        return self._ingests.drop_stale(older_than_seconds, now)
