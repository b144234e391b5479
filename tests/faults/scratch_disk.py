"""A disk whose power can be cut: an ext4 in a file.

A copy of that file, taken at some moment, is what the disk would hold had the power gone then: pages that the file
system had not written back are not in it. The copy is mounted (its journal replayed) and used as after the next boot.
"""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pullet.store.mounts import unmount_all_below


def make_disk(disk: Path, mebibytes: int) -> None:
    """An empty file system in a new file."""
    subprocess.run(["truncate", "-s", f"{mebibytes}M", disk], check=True)
    subprocess.run(["mkfs.ext4", "-q", "-F", disk], check=True)


@contextmanager
def mounted(disk: Path, place: Path) -> Iterator[Path]:
    """The store's root on the file system in `disk`; nothing is written back for the sake of time alone."""
    place.mkdir()
    subprocess.run(["mount", "-o", "loop,commit=300", disk, place], check=True)
    try:
        yield place / "store"
    finally:
        unmount_all_below(place)


def another_boot(root: Path) -> None:
    """What the kernel's boot id says after a restart, seen from the rows."""
    database = sqlite3.connect(root / "store.db")
    with database:
        database.execute("UPDATE layers SET boot_id = 'before the cut'")
    database.close()
