"""Layer tars to order, and trees written down so that they can be compared."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import stat
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from pullet.base.values import Value
from pullet.oci.descriptor import Descriptor
from pullet.oci.digest import DiffID, Digest

EPOCH = 1_700_000_000
# mode, uid, gid, size or device, mtime in ns, link count of files, extended attributes, hash of content or target
Line: TypeAlias = tuple[str, int, int, int, int, int, tuple[tuple[str, bytes], ...], str]


class LayerBlob(Value):
    """A layer as a registry holds it."""

    tar: bytes
    blob: bytes
    media_type: str = "application/vnd.oci.image.layer.v1.tar+gzip"

    @property
    def diff_id(self) -> DiffID:
        """sha256 of the tar."""
        return DiffID(Digest.of(self.tar))

    @property
    def descriptor(self) -> Descriptor:
        """Of the compressed blob."""
        return Descriptor(media_type=self.media_type, digest=Digest.of(self.blob), size=len(self.blob))

    def open(self) -> io.BytesIO:
        """The compressed bytes as a stream."""
        return io.BytesIO(self.blob)


def gzipped(tar: bytes) -> LayerBlob:
    """The tar as a gzip layer, the same bytes every time."""
    return LayerBlob(tar, gzip.compress(tar, 1, mtime=0))


class LayerTar:
    """Writes one layer's tar, entry by entry, in the order of the calls. Parents are not made by themselves."""

    def __init__(self, tar_format: int = tarfile.PAX_FORMAT) -> None:
        self._buffer = io.BytesIO()
        self._tar = tarfile.open(fileobj=self._buffer, mode="w", format=tar_format)  # noqa: SIM115  # closed by `bytes`

    def _info(
        self, name: str, mode: int, owner: tuple[int, int], mtime: float, pax: Mapping[str, str]
    ) -> tarfile.TarInfo:
        info = tarfile.TarInfo(name)
        info.mode, (info.uid, info.gid), info.mtime = mode, owner, mtime
        info.pax_headers = dict(pax)
        return info

    def file(
        self, name: str, content: bytes = b"", *, mode: int = 0o644, owner: tuple[int, int] = (0, 0),
        mtime: float = EPOCH, xattrs: Mapping[str, bytes] | None = None,
    ) -> LayerTar:  # fmt: skip
        """A regular file."""
        info = self._info(name, mode, owner, mtime, _pax(xattrs))
        info.size = len(content)
        self._tar.addfile(info, io.BytesIO(content))
        return self

    def directory(
        self, name: str, *, mode: int = 0o755, owner: tuple[int, int] = (0, 0), mtime: float = EPOCH,
        xattrs: Mapping[str, bytes] | None = None,
    ) -> LayerTar:  # fmt: skip
        """A directory's own entry."""
        info = self._info(name, mode, owner, mtime, _pax(xattrs))
        info.type = tarfile.DIRTYPE
        self._tar.addfile(info)
        return self

    def link(
        self, name: str, target: str, *, is_hard: bool = False, owner: tuple[int, int] = (0, 0), mtime: float = EPOCH
    ) -> LayerTar:
        """A symbolic or hard link."""
        info = self._info(name, 0o777, owner, mtime, {})
        info.type, info.linkname = (tarfile.LNKTYPE if is_hard else tarfile.SYMTYPE), target
        self._tar.addfile(info)
        return self

    def node(
        self, name: str, kind: bytes, *, device: tuple[int, int] = (0, 0), mode: int = 0o600, mtime: float = EPOCH
    ) -> LayerTar:
        """A device or fifo; `kind` is tarfile's type."""
        info = self._info(name, mode, (0, 0), mtime, {})
        info.type, (info.devmajor, info.devminor) = kind, device
        self._tar.addfile(info)
        return self

    def sparse_file(self, name: str, pieces: Mapping[int, bytes], size: int) -> LayerTar:
        """A file with holes, in GNU's PAX format 0.1; `pieces` by offset, in order."""
        sparse_map = ",".join(f"{offset},{len(data)}" for offset, data in pieces.items())
        info = self._info(name, 0o644, (0, 0), EPOCH, {"GNU.sparse.map": sparse_map, "GNU.sparse.size": str(size)})
        content = b"".join(pieces.values())
        info.size = len(content)
        self._tar.addfile(info, io.BytesIO(content))
        return self

    def whiteout(self, name: str) -> LayerTar:
        """The marker that `name` of a lower layer is gone."""
        directory, _, last = name.rpartition("/")
        return self.file(f"{directory}/.wh.{last}" if directory else f".wh.{last}")

    def opaque(self, directory: str) -> LayerTar:
        """The marker that everything lower in `directory` is gone."""
        return self.file(f"{directory}/.wh..wh..opq" if directory else ".wh..wh..opq")

    def bytes(self) -> bytes:
        """The finished tar."""
        self._tar.close()
        return self._buffer.getvalue()

    def blob(self) -> LayerBlob:
        """The finished tar as a gzip layer."""
        return gzipped(self.bytes())


def _pax(xattrs: Mapping[str, bytes] | None) -> dict[str, str]:
    return {f"SCHILY.xattr.{key}": value.decode("utf-8", "surrogateescape") for key, value in (xattrs or {}).items()}


def read_tree(root: Path) -> dict[str, Line]:
    """Every entry below `root` (and `.`, the root itself) with all that a container can see of it."""
    lines = {}
    base = os.fsencode(root)
    for directory, subdirectories, files in os.walk(base):
        names = subdirectories + files + ([b"."] if directory == base else [])
        for name in names:
            path = os.path.normpath(os.path.join(directory, name))
            lines[os.fsdecode(os.path.relpath(path, base))] = _line(path)
    return lines


def _line(path: bytes) -> Line:
    status = os.lstat(path)
    kind = stat.S_IFMT(status.st_mode)
    content, size = "", 0
    if kind == stat.S_IFREG:
        size = status.st_size
        with open(path, "rb") as file:
            content = hashlib.file_digest(
                file,
                "md5",
            ).hexdigest()  # for comparison alone
    elif kind == stat.S_IFLNK:
        content = os.fsdecode(os.readlink(path))
    elif kind in {stat.S_IFCHR, stat.S_IFBLK}:
        size = status.st_rdev
    xattrs = tuple(
        sorted(
            (name, os.getxattr(path, name, follow_symlinks=False))
            for name in os.listxattr(path, follow_symlinks=False)
            if not name.startswith("trusted.overlay.")
        )
    )
    links = status.st_nlink if kind != stat.S_IFDIR else 0
    return stat.filemode(status.st_mode), status.st_uid, status.st_gid, size, status.st_mtime_ns, links, xattrs, content
