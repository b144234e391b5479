"""Image records: which names point at which image, and what an image is made of."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec

from pullet.base.values import Value
from pullet.kit.clock import Clock
from pullet.kit.sqlite import Database
from pullet.oci.digest import DiffID, Digest, ImageID
from pullet.store.errors import ContentNotFoundError
from pullet.store.metadata import from_text, to_text


class ImageLayer(Value, kw_only=True):
    """One layer of an image, as its manifest and config name it."""

    diff_id: DiffID
    digest: Digest  # of the compressed bytes
    media_type: str
    size_bytes: int  # compressed


class ImageRecord(Value, kw_only=True):
    """One image of the store. `id` is the digest of its config.

    `names` are what points at it, `repository:tag` and `repository@digest` alike, each with the digest it stands
    for (an index's or a manifest's). `content` are the documents kept for it: manifest, config, indexes.
    """

    id: ImageID
    manifest: Digest
    layers: tuple[ImageLayer, ...]  # lowest first
    content: frozenset[Digest]
    size_bytes: int  # compressed config and layers
    names: tuple[tuple[str, Digest], ...] = ()
    is_pinned: bool = False
    created_at: datetime
    last_used_at: datetime

    @property
    def diff_ids(self) -> tuple[DiffID, ...]:
        """The layers' DiffIDs, lowest first."""
        return tuple(layer.diff_id for layer in self.layers)

    @property
    def tags(self) -> tuple[str, ...]:
        """Names of the form `repository:tag`."""
        return tuple(name for name, _ in self.names if "@" not in name)

    @property
    def digests(self) -> tuple[str, ...]:
        """Names of the form `repository@digest`."""
        return tuple(name for name, _ in self.names if "@" in name)


class Images:
    """The image records. All methods block briefly and may be called from any thread."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock

    def put(
        self,
        image_id: ImageID,
        *,
        manifest: Digest,
        layers: Sequence[ImageLayer],
        content: Iterable[Digest],
        size_bytes: int,
        names: Iterable[tuple[str, Digest]] = (),
    ) -> ImageRecord:
        """Record an image and point `names` at it, in one step. Pulled again: pin, creation time and names stay.

        The caller holds leases on its content and layers until this returned.
        """
        now = to_text(self._clock.now())
        wanted, named = list(content), list(names)

        def write(db: sqlite3.Connection) -> None:
            db.execute(
                "INSERT INTO images(id, manifest, size_bytes, created_at, last_used_at) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT(id) DO UPDATE SET manifest = excluded.manifest, size_bytes = excluded.size_bytes",
                (image_id, manifest, size_bytes, now, now),
            )
            db.execute("DELETE FROM image_layers WHERE image_id = ?", (image_id,))
            db.executemany(
                "INSERT INTO image_layers(image_id, position, diff_id, digest, media_type, size_bytes)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                [
                    (image_id, position, layer.diff_id, layer.digest, layer.media_type, layer.size_bytes)
                    for position, layer in enumerate(layers)
                ],
            )
            db.executemany(
                "INSERT OR IGNORE INTO image_content(image_id, digest) VALUES (?, ?)",
                [(image_id, digest) for digest in (manifest, *wanted)],
            )
            for name, target in named:
                _point(db, name, image_id, target)

        self._database.write_blocking(write)
        return self.get(image_id)

    def tag(self, name: str, image_id: ImageID, target: Digest) -> None:
        """Point `name` at the image; a name that pointed elsewhere moves. Raises ContentNotFoundError."""
        self.get(image_id)
        self._database.write_blocking(lambda db: _point(db, name, image_id, target))

    def untag(self, name: str) -> None:
        """Take a name away; the image stays until `remove` or collection. Raises ContentNotFoundError."""
        removed = self._database.write_blocking(
            lambda db: db.execute("DELETE FROM image_names WHERE name = ?", (name,)).rowcount
        )
        if not removed:
            raise ContentNotFoundError("image name", name)

    def get(self, image_id: str) -> ImageRecord:
        """The image with this id. Raises ContentNotFoundError."""
        found = self._load("WHERE id = ?", (image_id,))
        if not found:
            raise ContentNotFoundError("image", image_id)
        return found[0]

    def find(self, name_or_id: str) -> ImageRecord | None:
        """By name as stored (`repository:tag`, `repository@digest`) or by full image id; None when there is none."""
        found = self._load(
            "WHERE id = ? OR id = (SELECT image_id FROM image_names WHERE name = ?)", (name_or_id, name_or_id)
        )
        return found[0] if found else None

    def list(self) -> tuple[ImageRecord, ...]:
        """Every image, by id."""
        return self._load("", ())

    def remove(self, image_id: str) -> None:
        """Forget the image and its names; its content goes at the next collection. Absent is no error."""
        self._database.write_blocking(lambda db: db.execute("DELETE FROM images WHERE id = ?", (image_id,)))

    def touch(self, image_id: str) -> None:
        """Record that the image is used now."""
        now = to_text(self._clock.now())
        self._database.write_blocking(
            lambda db: db.execute("UPDATE images SET last_used_at = ? WHERE id = ?", (now, image_id))
        )

    def set_pinned(self, image_id: str, *, is_pinned: bool) -> None:
        """Keep the image from collection, or no longer. Raises ContentNotFoundError."""
        self.get(image_id)
        self._database.write_blocking(
            lambda db: db.execute("UPDATE images SET is_pinned = ? WHERE id = ?", (int(is_pinned), image_id))
        )

    def _load(self, where: str, values: tuple[str, ...]) -> tuple[ImageRecord, ...]:
        def read(db: sqlite3.Connection) -> tuple[ImageRecord, ...]:
            db.execute("BEGIN")  # one snapshot for the several reads
            try:
                rows = db.execute(
                    "SELECT id, manifest, size_bytes, is_pinned, created_at, last_used_at FROM images"  # noqa: S608  # `where` is ours
                    f" {where} ORDER BY id",
                    values,
                ).fetchall()
                return tuple(_with_parts(db, _record(row)) for row in rows)
            finally:
                db.execute("ROLLBACK")

        return self._database.read_blocking(read)


def _point(db: sqlite3.Connection, name: str, image_id: str, target: str) -> None:
    db.execute(
        "INSERT INTO image_names(name, image_id, target) VALUES (?, ?, ?)"
        " ON CONFLICT(name) DO UPDATE SET image_id = excluded.image_id, target = excluded.target",
        (name, image_id, target),
    )


def _record(row: tuple[str, str, int, int, str, str]) -> ImageRecord:
    image_id, manifest, size_bytes, is_pinned, created_at, last_used_at = row
    return ImageRecord(
        id=ImageID(image_id),
        manifest=Digest(manifest),
        layers=(),
        content=frozenset(),
        size_bytes=size_bytes,
        is_pinned=bool(is_pinned),
        created_at=from_text(created_at),
        last_used_at=from_text(last_used_at),
    )


def _with_parts(db: sqlite3.Connection, record: ImageRecord) -> ImageRecord:
    key = (record.id,)
    return msgspec.structs.replace(
        record,
        layers=tuple(
            ImageLayer(diff_id=DiffID(diff_id), digest=Digest(digest), media_type=media_type, size_bytes=size)
            for diff_id, digest, media_type, size in db.execute(
                "SELECT diff_id, digest, media_type, size_bytes FROM image_layers WHERE image_id = ? ORDER BY position",
                key,
            )
        ),
        content=frozenset(
            Digest(digest) for (digest,) in db.execute("SELECT digest FROM image_content WHERE image_id = ?", key)
        ),
        names=tuple(
            (name, Digest(target))
            for name, target in db.execute("SELECT name, target FROM image_names WHERE image_id = ? ORDER BY name", key)
        ),
    )
