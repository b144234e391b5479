"""Directories whose files come from objects, replaced all at once.

    <volume>/..2026_11_20_18_13_51.123456789/file     one generation of the payload
    <volume>/..data  → that directory                 moved by one rename
    <volume>/file    → ..data/file                    what containers open

A reader sees either the old files or the new ones. Source: kubernetes pkg/volume/util/atomic_writer.go.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import ClassVar

from pullet.base.errors import PulletError
from pullet.base.values import Value

_DATA = "..data"


class PayloadPathError(PulletError):
    """A file of the payload would lie outside the volume."""

    reason: ClassVar[str] = "InvalidPath"


class PayloadFile(Value):
    """Content and mode of one file."""

    data: bytes
    mode: int = 0o644


def write_payload(
    volume: Path, payload: Mapping[str, PayloadFile], *, now: datetime, fs_group: int | None = None
) -> bool:
    """Make the volume hold exactly `payload` (paths relative to it); False if it already did. Blocking.

    Raises:
        PayloadPathError: a path is absolute, empty or leaves the volume.
    """
    for path in payload:
        check_relative(path)
    volume.mkdir(parents=True, exist_ok=True, mode=0o755)
    volume.chmod(0o755)
    link = volume / _DATA
    current = volume / os.readlink(link) if link.is_symlink() else None
    if current is not None and _read_payload(current) == {path: file.data for path, file in payload.items()}:
        return False
    generation = volume / f"..{now:%Y_%m_%d_%H_%M_%S}.{now.microsecond:06d}{_serial(volume)}"
    generation.mkdir(mode=0o755)
    for path, file in payload.items():
        _write_file(generation, path, file, fs_group)
    temporary = volume / "..data_tmp"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(generation.name)
    temporary.rename(link)
    _sync_visible(volume, {PurePosixPath(path).parts[0] for path in payload})
    if current is not None and current != generation:
        shutil.rmtree(current, ignore_errors=True)
    return True


def check_relative(path: str) -> None:
    """Raise PayloadPathError unless `path` stays inside whatever it is put below."""
    pure = PurePosixPath(path)
    if not path or pure.is_absolute() or ".." in pure.parts or (pure.parts[:1] and pure.parts[0].startswith("..")):
        raise PayloadPathError(f"{path!r} must be a relative path without '..'")


def _serial(volume: Path) -> str:
    return f"{sum(1 for each in volume.iterdir() if each.name.startswith('..2')):03d}"


def _read_payload(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def _write_file(generation: Path, path: str, file: PayloadFile, fs_group: int | None) -> None:
    target = generation / path
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    target.write_bytes(file.data)
    target.chmod(file.mode | (0o440 if fs_group is not None else 0))
    if fs_group is not None:
        with suppress(PermissionError):  # not root: the files stay readable by their owner
            os.chown(target, -1, fs_group)


def _sync_visible(volume: Path, names: set[str]) -> None:
    for entry in volume.iterdir():
        if entry.is_symlink() and not entry.name.startswith("..") and entry.name not in names:
            entry.unlink()
    for name in names:
        visible = volume / name
        if not visible.is_symlink():
            visible.symlink_to(f"{_DATA}/{name}")
