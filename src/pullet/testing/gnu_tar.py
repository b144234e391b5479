"""GNU tar as the oracle of what layers come to, one upon the other."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path


def gnu_tar(root: Path, tars: Sequence[bytes]) -> None:
    """Apply layers one after the other as the image specification says, with GNU tar doing the extraction."""
    root.mkdir(mode=0o755)
    for data in tars:
        with subprocess.Popen(
            ["tar", "-t", "--quoting-style=literal"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as p:
            names = p.communicate(data)[0].decode().splitlines()
        for name in names:
            directory, _, last = name.rpartition("/")
            if last == ".wh..wh..opq":
                subprocess.run(["find", str(root / directory), "-mindepth", "1", "-delete"], check=False)
            elif last.startswith(".wh."):
                subprocess.run(["rm", "-rf", str(root / directory / last[4:])], check=True)
        _clear_the_way(root, data)
        subprocess.run(
            [
                "tar",
                "-x",
                "-p",
                "--same-owner",
                "--numeric-owner",
                "--xattrs",
                "--xattrs-include=*",
                "-C",
                str(root),
                "--exclude=.wh.*",
            ],
            input=data,
            check=True,
        )
        _set_directories(root, data)


def _clear_the_way(root: Path, data: bytes) -> None:
    """Take away files where directories come and directories where files come: GNU tar would stop at these."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for info in tar:
            path = root / info.name
            is_directory = path.is_dir() and not path.is_symlink()
            if os.path.lexists(path) and is_directory != info.isdir() and path != root:
                subprocess.run(["rm", "-rf", path], check=True)


def _set_directories(root: Path, data: bytes) -> None:
    """Directories as their entries say: GNU tar lets links made late disturb their times, and skips the root."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for info in tar:
            if info.isdir():
                path = root / info.name
                os.chown(path, info.uid, info.gid)
                path.chmod(info.mode)
                moment = int(Fraction(info.pax_headers.get("mtime", info.mtime)) * 10**9)
                os.utime(path, ns=(moment, moment))
