"""The store's SQLite schema. Each table's statements live in the one module that owns the table.

images, image_names, image_layers, image_content   images.py
layers, diff_ids, supplements                       layer_records.py
leases                                              leases.py
content_refs                                        content.py
snapshots                                           snapshot_records.py
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Final

from pullet.kit.sqlite import Database

MIGRATIONS = (
    """
    CREATE TABLE images (
        id TEXT PRIMARY KEY, manifest TEXT NOT NULL, size_bytes INTEGER NOT NULL, is_pinned INTEGER NOT NULL DEFAULT 0,
        created_at TEXT NOT NULL, last_used_at TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE image_names (
        name TEXT PRIMARY KEY, image_id TEXT NOT NULL REFERENCES images(id) ON DELETE CASCADE, target TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX image_names_by_image ON image_names(image_id);
    CREATE TABLE image_layers (
        image_id TEXT NOT NULL REFERENCES images(id) ON DELETE CASCADE, position INTEGER NOT NULL,
        diff_id TEXT NOT NULL, digest TEXT NOT NULL, media_type TEXT NOT NULL, size_bytes INTEGER NOT NULL,
        PRIMARY KEY (image_id, position)
    ) WITHOUT ROWID;
    CREATE TABLE image_content (
        image_id TEXT NOT NULL REFERENCES images(id) ON DELETE CASCADE, digest TEXT NOT NULL,
        PRIMARY KEY (image_id, digest)
    ) WITHOUT ROWID;
    CREATE TABLE layers (
        diff_id TEXT NOT NULL, form TEXT NOT NULL, tar_bytes INTEGER NOT NULL, disk_bytes INTEGER NOT NULL,
        created_at TEXT NOT NULL, boot_id TEXT NOT NULL, is_synced INTEGER NOT NULL DEFAULT 0, needs BLOB NOT NULL,
        PRIMARY KEY (diff_id, form)
    ) WITHOUT ROWID;
    CREATE TABLE diff_ids (digest TEXT PRIMARY KEY, diff_id TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE leases (
        owner TEXT NOT NULL, kind TEXT NOT NULL, key TEXT NOT NULL, created_at TEXT NOT NULL,
        boot_id TEXT NOT NULL DEFAULT '', PRIMARY KEY (owner, kind, key)
    ) WITHOUT ROWID;
    CREATE TABLE content_refs (
        owner TEXT NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (owner, digest)
    ) WITHOUT ROWID;
    CREATE TABLE supplements (
        chain_id TEXT NOT NULL, form TEXT NOT NULL, diff_id TEXT NOT NULL, PRIMARY KEY (chain_id, form)
    ) WITHOUT ROWID;
    CREATE TABLE snapshots (
        key TEXT PRIMARY KEY, kind TEXT NOT NULL, form TEXT NOT NULL, diff_ids TEXT NOT NULL, created_at TEXT NOT NULL
    ) WITHOUT ROWID;
    """,
)

_PAGE_BYTES: Final = 1024  # a pull adds a row at a time: of forty small layers, pages of 4096 were 4 % of what it wrote


def open_database(root: Path) -> Database:
    """The store's database under `root`, migrated. Raises SchemaTooNewError."""
    return Database(root / "store.db", MIGRATIONS, page_bytes=_PAGE_BYTES)


def to_text(moment: datetime) -> str:
    """An aware datetime as stored."""
    return moment.isoformat(timespec="microseconds")


def from_text(text: str) -> datetime:
    """A stored moment."""
    return datetime.fromisoformat(text)
