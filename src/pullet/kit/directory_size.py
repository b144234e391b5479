"""How much disk a directory takes."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple


class DirectorySize(NamedTuple):
    """Allocated bytes, and inodes."""

    size_bytes: int
    inodes: int


def directory_size(directory: Path) -> DirectorySize:
    """What lies below (and with) `directory` on its file system; a file with several names counts once. Blocking.

    What goes away meanwhile counts for nothing, and so does a directory that is not there. Other file systems mounted
    below are left out.
    """
    try:
        top = directory.stat()
    except FileNotFoundError:
        return DirectorySize(0, 0)
    size, inodes, seen, stack = top.st_blocks * 512, 1, set[int](), [os.fspath(directory)]
    while stack:
        with suppress(FileNotFoundError), os.scandir(stack.pop()) as entries:
            for entry in entries:
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if status.st_dev != top.st_dev or status.st_ino in seen:
                    continue
                if status.st_nlink > 1:
                    seen.add(status.st_ino)
                size, inodes = size + status.st_blocks * 512, inodes + 1
                if entry.is_dir(follow_symlinks=False):
                    stack.append(entry.path)
    return DirectorySize(size, inodes)
