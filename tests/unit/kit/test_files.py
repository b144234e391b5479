"""SQLite and files: all of a change or nothing of it."""

from __future__ import annotations

import sqlite3
import stat
from pathlib import Path

import pytest

from pullet.kit.atomic_file import write_atomic
from pullet.kit.sqlite import Database, SchemaTooNewError

FIRST = "CREATE TABLE things (name TEXT PRIMARY KEY)"
SECOND = "ALTER TABLE things ADD COLUMN size INTEGER NOT NULL DEFAULT 7"


def test_migrations_run_once_and_in_order(tmp_path: Path) -> None:
    database = Database(tmp_path / "db", [FIRST])
    database.write_blocking(lambda db: db.execute("INSERT INTO things VALUES ('a')"))
    database.close()
    database = Database(tmp_path / "db", [FIRST, SECOND])
    assert database.read_blocking(lambda db: db.execute("SELECT * FROM things").fetchall()) == [("a", 7)]
    database.close()
    with pytest.raises(SchemaTooNewError, match="use a newer pullet"):
        Database(tmp_path / "db", [FIRST])


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    database = Database(tmp_path / "db", [FIRST])

    def work(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO things VALUES ('a')")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        database.write_blocking(work)
    assert database.read_blocking(lambda db: db.execute("SELECT count(*) FROM things").fetchone()) == (0,)
    database.close()


def test_a_written_file_has_its_mode_and_leaves_no_other(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    write_atomic(path, b"one", mode=0o600)
    write_atomic(path, b"two", mode=0o640)
    assert path.read_bytes() == b"two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.mkdir()
    with pytest.raises(IsADirectoryError):
        write_atomic(path, b"data")
    assert list(tmp_path.iterdir()) == [path]
