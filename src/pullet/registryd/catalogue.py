"""Repositories: which manifests, tags and blobs each has. All SQL text of the registry is here; all methods block.

A repository exists as long as it has a manifest. A blob belongs to the repositories it was pushed or mounted into;
asking another repository for it is answered with "unknown", as any registry does.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from pullet.base.values import Value
from pullet.kit.sqlite import Database
from pullet.oci.digest import Digest

_SCHEMA = """
CREATE TABLE manifests (
  repository TEXT NOT NULL, digest TEXT NOT NULL, media_type TEXT NOT NULL, size INTEGER NOT NULL,
  subject TEXT NOT NULL, artifact_type TEXT NOT NULL, annotations TEXT NOT NULL,
  PRIMARY KEY (repository, digest)
);
CREATE INDEX manifests_by_subject ON manifests (repository, subject);
CREATE TABLE tags (
  repository TEXT NOT NULL, tag TEXT NOT NULL, digest TEXT NOT NULL,
  PRIMARY KEY (repository, tag),
  FOREIGN KEY (repository, digest) REFERENCES manifests (repository, digest) ON DELETE CASCADE
);
CREATE TABLE blobs (repository TEXT NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (repository, digest));
"""


class ManifestRow(Value, kw_only=True):
    """One manifest or index of a repository. `subject` is empty unless it refers to another manifest."""

    digest: Digest
    media_type: str
    size_bytes: int
    subject: str = ""
    artifact_type: str = ""
    annotations: dict[str, str] = msgspec.field(default_factory=dict)


class Catalogue:
    """What the registry holds, by repository."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path, [_SCHEMA])

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def put_manifest(self, repository: str, row: ManifestRow, tag: str | None) -> None:
        """Add (or replace) a manifest and point `tag` at it, in one step."""

        def write(db: sqlite3.Connection) -> None:
            db.execute(
                "INSERT INTO manifests VALUES (?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET media_type = excluded.media_type",
                (
                    repository,
                    row.digest,
                    row.media_type,
                    row.size_bytes,
                    row.subject,
                    row.artifact_type,
                    json.dumps(row.annotations),
                ),
            )
            if tag is not None:
                db.execute("INSERT OR REPLACE INTO tags VALUES (?, ?, ?)", (repository, tag, row.digest))

        self._database.write_blocking(write)

    def manifest(self, repository: str, reference: str) -> ManifestRow | None:
        """By tag or digest; None when there is none."""
        rows = self._manifests(
            "repository = ? AND digest = coalesce((SELECT digest FROM tags WHERE repository = ? AND tag = ?), ?)",
            (repository, repository, reference, reference),
        )
        return rows[0] if rows else None

    def referrers(self, repository: str, subject: str) -> Sequence[ManifestRow]:
        """Manifests that refer to `subject`."""
        return self._manifests("repository = ? AND subject = ?", (repository, subject))

    def _manifests(self, where: str, values: tuple[str, ...]) -> list[ManifestRow]:
        columns = "digest, media_type, size, subject, artifact_type, annotations"
        sql = f"SELECT {columns} FROM manifests WHERE {where} ORDER BY digest"  # noqa: S608 - `where` is ours
        rows = self._database.read_blocking(lambda db: db.execute(sql, values).fetchall())
        return [
            ManifestRow(
                digest=Digest(digest),
                media_type=media_type,
                size_bytes=size,
                subject=subject,
                artifact_type=artifact_type,
                annotations=json.loads(annotations),
            )
            for digest, media_type, size, subject, artifact_type, annotations in rows
        ]

    def delete_manifest(self, repository: str, digest: str) -> bool:
        """Remove a manifest with the tags that point at it; whether it was there."""
        sql = "DELETE FROM manifests WHERE repository = ? AND digest = ?"
        return bool(self._database.write_blocking(lambda db: db.execute(sql, (repository, digest)).rowcount))

    def delete_tag(self, repository: str, tag: str) -> bool:
        """Remove a tag, leaving its manifest; whether it was there."""
        sql = "DELETE FROM tags WHERE repository = ? AND tag = ?"
        return bool(self._database.write_blocking(lambda db: db.execute(sql, (repository, tag)).rowcount))

    def tags(self, repository: str, *, after: str = "", limit: int = -1) -> list[str]:
        """Tags in lexical order."""
        sql = "SELECT tag FROM tags WHERE repository = ? AND tag > ? ORDER BY tag LIMIT ?"
        return self._column(sql, (repository, after, limit))

    def repositories(self, *, after: str = "", limit: int = -1) -> list[str]:
        """Repositories in lexical order."""
        sql = "SELECT DISTINCT repository FROM manifests WHERE repository > ? ORDER BY repository LIMIT ?"
        return self._column(sql, (after, limit))

    def _column(self, sql: str, values: tuple[str | int, ...]) -> list[str]:
        return [value for (value,) in self._database.read_blocking(lambda db: db.execute(sql, values).fetchall())]

    def has_repository(self, repository: str) -> bool:
        """Whether the repository has a manifest."""
        return bool(self._column("SELECT 1 FROM manifests WHERE repository = ? LIMIT 1", (repository,)))

    def add_blobs(self, repository: str, digests: Iterable[str]) -> None:
        """The repository has these blobs from now on."""
        rows = [(repository, digest) for digest in digests]
        self._database.write_blocking(lambda db: db.executemany("INSERT OR IGNORE INTO blobs VALUES (?, ?)", rows))

    def has_blob(self, repository: str, digest: str) -> bool:
        """Whether the blob belongs to the repository."""
        return bool(self._column("SELECT 1 FROM blobs WHERE repository = ? AND digest = ?", (repository, digest)))

    def repository_with_blob(self, digest: str) -> str | None:
        """Some repository that has the blob."""
        found = self._column("SELECT repository FROM blobs WHERE digest = ? LIMIT 1", (digest,))
        return found[0] if found else None

    def delete_blob(self, repository: str, digest: str) -> bool:
        """The repository no longer has the blob; whether it had it."""
        sql = "DELETE FROM blobs WHERE repository = ? AND digest = ?"
        return bool(self._database.write_blocking(lambda db: db.execute(sql, (repository, digest)).rowcount))
