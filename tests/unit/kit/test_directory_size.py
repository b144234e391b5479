"""What a directory takes on its disk."""

from __future__ import annotations

import os
from pathlib import Path

from pullet.kit.directory_size import directory_size


def test_files_directories_and_links_count_once(tmp_path: Path) -> None:
    empty = directory_size(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_bytes(b"x" * 100_000)
    os.link(tmp_path / "a" / "file", tmp_path / "same")
    (tmp_path / "link").symlink_to("/etc")
    found = directory_size(tmp_path)
    assert found.inodes == empty.inodes + 3
    assert 100_000 <= found.size_bytes - empty.size_bytes < 200_000


def test_what_is_not_there_takes_nothing(tmp_path: Path) -> None:
    assert directory_size(tmp_path / "nowhere") == (0, 0)


def test_a_sparse_file_counts_what_it_has(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 30)
    assert directory_size(tmp_path).size_bytes < 1 << 20
