"""Batches of files made and looked at by compiled code are what Python makes and sees."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pullet.store.native import IS_COMPILED
from pullet.store.tar_scan import BLOCK_BITS, DATA_START, INODE
from pullet.store.tree_files import look_at, make_files

compiled = pytest.mark.skipif(not IS_COMPILED, reason="no C compiler")


def test_where_there_is_a_compiler_it_was_used() -> None:
    assert IS_COMPILED or shutil.which("cc") is None or os.environ.get("PULLET_NATIVE") == "off", "run `make setup`"


def test_it_can_be_left_out() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from pullet.store.native import IS_COMPILED; print(IS_COMPILED)"],
        env={**os.environ, "PULLET_NATIVE": "off"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "False\n"


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)


def inode(size: int, offset: int, mode: int = 0o644, mtime: int = 1_600_000_000) -> bytes:
    block = (DATA_START + offset) >> BLOCK_BITS if size else 0
    return INODE.pack(1, 0, 0o100000 | mode, 0, size, block, 0, os.getuid(), os.getgid(), mtime, 0, 1)


def files(*inodes: bytes) -> memoryview:
    return memoryview(bytearray(b"".join(inodes)))


@compiled
def test_files_are_made_with_data_mode_owner_and_time(tmp_path: Path, directory: int) -> None:
    piece = memoryview(bytearray(b"h" * 512 + b"first" + bytes(507) + b"h" * 512 + b"second"))
    made = make_files(
        directory, [b"a", b"b\xff", b"empty"], files(inode(5, 10752, 0o4751), inode(6, 11776), inode(0, 0, mtime=0)),
        piece=piece, start=10240, umask=0o077,
    )  # fmt: skip
    assert made == 3
    assert [(tmp_path / os.fsdecode(name)).read_bytes() for name in (b"a", b"b\xff", b"empty")] == [
        b"first", b"second", b"",
    ]  # fmt: skip
    first = (tmp_path / "a").stat()
    assert (stat.S_IMODE(first.st_mode), first.st_mtime) == (0o4751, 1_600_000_000)
    assert (tmp_path / "empty").stat().st_mtime == 0


@compiled
@pytest.mark.parametrize("offset", [9728, 10752, 1 << 40])
def test_a_file_that_is_not_whole_in_the_piece_ends_the_batch(tmp_path: Path, directory: int, offset: int) -> None:
    made = make_files(
        directory, [b"a", b"b", b"c"], files(inode(0, 0), inode(600, offset), inode(0, 0)),
        piece=memoryview(bytearray(1024)), start=10240, umask=0o022,
    )  # fmt: skip
    assert made == 1
    assert os.listdir(tmp_path) == ["a"]


@compiled
def test_nothing_is_followed_or_written_over(tmp_path: Path, directory: int) -> None:
    (tmp_path / "outside").write_bytes(b"mine")
    (tmp_path / "link").symlink_to("outside")
    for name in (b"link", b"outside"):
        piece = memoryview(bytearray(1024))
        assert not make_files(directory, [name], files(inode(4, 512)), piece=piece, start=0, umask=0o022)
    assert (tmp_path / "outside").read_bytes() == b"mine"
    assert (tmp_path / "link").is_symlink()


def test_looks_say_what_stat_says(tmp_path: Path, directory: int) -> None:
    (tmp_path / "file").write_bytes(b"x" * 5000)
    os.setxattr(tmp_path / "file", "user.note", b"1")
    os.utime(tmp_path / "file", ns=(5, -1_500_000_001))
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "directory").mkdir(mode=0o711)
    os.mkfifo(tmp_path / "fifo")
    names = sorted(os.listdir(os.fsencode(tmp_path)))
    looks = look_at(directory, names)
    for name, look in zip(names, looks, strict=True):
        status = os.lstat(name, dir_fd=directory)
        assert (look.inode, look.device_number, look.links, look.size, look.blocks, look.mtime_ns, look.mode) == (
            status.st_ino, status.st_rdev, status.st_nlink, status.st_size, status.st_blocks, status.st_mtime_ns,
            status.st_mode,
        )  # fmt: skip
        assert (look.uid, look.gid, look.has_attributes) == (status.st_uid, status.st_gid, name == b"file")
    assert look_at(directory, []) == []
    with pytest.raises(FileNotFoundError):
        look_at(directory, [b"file", b"gone"])
