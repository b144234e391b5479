"""What a layer leaves to the layers below it, made explicit as one small layer of ours laid on top of it.

A tar may leave out parent directories (their metadata is that of the directory below, also of one that a link below
leads to: the link itself is hidden, as containerd has it) or hard-link to a file of a
layer below (overlayfs cannot link across layers, so the file is copied up under both names, as writing through an
overlay would do). Such a layer looks different over different lower layers; the supplement belongs to the chain.
"""

from __future__ import annotations

import os
import stat
import tarfile
from pathlib import Path
from typing import BinaryIO

from pullet.oci.layer_entry import is_kept_xattr
from pullet.store.errors import LayerRefusedError
from pullet.store.layer_records import Layer
from pullet.store.safe_paths import found_in_root, path_of

_OPAQUE_MARKS = ("trusted.overlay.opaque", "user.overlay.opaque")


def write_supplement(layer: Layer, top: Path, below: Path, out: BinaryIO) -> bool:
    """Write the supplement of `layer`, mounted at `top`, over the merged `below`, as a tar; False if it is empty.

    Raises LayerRefusedError when a hard link's target is nowhere.
    """
    top_fd = os.open(top, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        below_fd = os.open(below, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            writer = _SupplementWriter(layer, top_fd, below_fd, out)
            writer.write()
            return writer.count > 0
        finally:
            os.close(below_fd)
    finally:
        os.close(top_fd)


class _SupplementWriter:
    def __init__(self, layer: Layer, top: int, below: int, out: BinaryIO) -> None:
        self._layer, self._top, self._below, self._out = layer, top, below, out
        self._written: set[bytes] = set()
        self.count = 0

    def write(self) -> None:
        """Directories first, then the links."""
        with tarfile.open(fileobj=self._out, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for path in self._layer.needs.implied_directories:
                if self._lets_through(path) and self._is_directory(self._below, path):
                    self._parents(tar, path)
                    self._entry(tar, self._below, path, follows=True)
            for path, target in self._layer.needs.lower_links:
                self._link(tar, path, target)

    def _link(self, tar: tarfile.TarFile, path: bytes, target: bytes) -> None:
        real = self._real_path(target) if self._lets_through(target) else None
        if real is None or not self._lets_through(real):
            raise LayerRefusedError(
                layer=self._layer.diff_id,
                entry=path,
                rule=f"hard link to {target[:256]!r}, which neither this layer nor one below has",
            )
        self._parents(tar, real)
        self._entry(tar, self._below, real)
        self._parents(tar, path)
        info = tarfile.TarInfo(os.fsdecode(path))
        info.type, info.linkname = tarfile.LNKTYPE, os.fsdecode(real)
        tar.addfile(info)
        self.count += 1

    def _real_path(self, path: bytes) -> bytes | None:
        """Where `path` leads below once links in its directories are followed, if there is a file."""
        with found_in_root(self._below, path) as found:
            if found is None or stat.S_ISDIR(os.fstat(found).st_mode):
                return None
            root = os.readlink(path_of(self._below))
            return os.readlink(path_of(found))[len(root) :].lstrip(b"/")

    def _parents(self, tar: tarfile.TarFile, path: bytes) -> None:
        """The directories above, as they are seen: this layer's own entry, else the one below."""
        parts = path.split(b"/")[:-1]
        for depth in range(1, len(parts) + 1):
            above = b"/".join(parts[:depth])
            implied = above in self._layer.needs.implied_directories
            has_own = self._is_directory(self._top, above) and not implied
            source = self._top if has_own or not self._is_directory(self._below, above) else self._below
            self._entry(tar, source, above, follows=True)

    def _entry(self, tar: tarfile.TarFile, source: int, path: bytes, *, follows: bool = False) -> None:
        if path in self._written:
            return
        with found_in_root(source, path, follows=follows) as found:
            if found is None:
                return
            self._written.add(path)
            self._add(tar, path, found)
            self.count += 1

    def _add(self, tar: tarfile.TarFile, path: bytes, found: int) -> None:
        status = os.fstat(found)
        headers: dict[str, str] = {}
        info = tarfile.TarInfo(os.fsdecode(path))
        info.pax_headers = headers
        info.mode, info.uid, info.gid = stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid
        seconds, nanoseconds = divmod(status.st_mtime_ns, 1_000_000_000)
        info.mtime = seconds
        if nanoseconds:
            headers["mtime"] = decimal_time(seconds, nanoseconds)
        if not stat.S_ISLNK(status.st_mode):
            for name in os.listxattr(path_of(found)):
                if is_kept_xattr(os.fsencode(name)):
                    value = os.getxattr(path_of(found), name)
                    headers[f"SCHILY.xattr.{name}"] = value.decode("utf-8", "surrogateescape")
        if stat.S_ISREG(status.st_mode):
            info.size = status.st_size
            with open(path_of(found), "rb") as file:
                tar.addfile(info, file)
            return
        if stat.S_ISDIR(status.st_mode):
            info.type = tarfile.DIRTYPE
        elif stat.S_ISLNK(status.st_mode):
            info.type, info.linkname = tarfile.SYMTYPE, os.fsdecode(os.readlink(b"", dir_fd=found))
        elif stat.S_ISFIFO(status.st_mode):
            info.type = tarfile.FIFOTYPE
        else:
            info.type = tarfile.CHRTYPE if stat.S_ISCHR(status.st_mode) else tarfile.BLKTYPE
            info.devmajor, info.devminor = os.major(status.st_rdev), os.minor(status.st_rdev)
        tar.addfile(info)

    def _lets_through(self, path: bytes) -> bool:
        """Whether this layer lets what lies below at `path` be seen: nothing on the way is opaque or whited out."""
        if self._layer.needs.is_root_opaque:
            return False
        parts = path.split(b"/")
        for depth in range(1, len(parts) + 1):
            with found_in_root(self._top, b"/".join(parts[:depth])) as found:
                if found is None:
                    return True
                if not stat.S_ISDIR(os.fstat(found).st_mode):
                    return False
                if any(_has_mark(found, mark) for mark in _OPAQUE_MARKS):
                    return False
        return True

    @staticmethod
    def _is_directory(root: int, path: bytes) -> bool:
        with found_in_root(root, path, follows=True) as found:
            return found is not None and stat.S_ISDIR(os.fstat(found).st_mode)


def _has_mark(found: int, mark: str) -> bool:
    try:
        return os.getxattr(path_of(found), mark) == b"y"
    except OSError:
        return False


def decimal_time(seconds: int, nanoseconds: int) -> str:
    """A PAX time; before 1970 the fraction counts away from zero."""
    if seconds < 0 and nanoseconds:
        seconds, nanoseconds = seconds + 1, 1_000_000_000 - nanoseconds
        return f"-{-seconds}.{nanoseconds:09}"
    return f"{seconds}.{nanoseconds:09}"
