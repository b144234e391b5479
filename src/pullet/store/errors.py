"""What the store raises.

StoreError
├ StoreLockedError         another process has this store open
├ ContentNotFoundError     no such blob, layer, image, ingest or snapshot
├ DigestMismatchError      the bytes received are not the bytes asked for
├ SizeMismatchError        too few or too many bytes
├ DiffIDMismatchError      the layer unpacks to something else than the image's config says
├ LayerCorruptError        the compressed stream or the tar in it cannot be read
├ LayerRefusedError        the layer is well-formed and not acceptable (escape, bomb, limits)
├ DiskFullError            no space, quota or inodes left; nothing half-written stays visible
└ MountError               the kernel refused a mount
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from pullet.base.errors import PulletError

_SHOWN_NAME_BYTES = 256
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class StoreError(PulletError):
    """A failure of the local store."""

    reason: ClassVar[str] = "StoreError"


class StoreLockedError(StoreError):
    """Another process has the store open; two writers would corrupt it."""

    reason: ClassVar[str] = "StoreLocked"


class ContentNotFoundError(StoreError):
    """What was asked for is not in the store."""

    reason: ClassVar[str] = "ContentNotFound"

    def __init__(self, kind: str, key: str) -> None:
        super().__init__(f"{kind} {key}: not in the store")
        self.kind, self.key = kind, key


class DigestMismatchError(StoreError):
    """The bytes received do not hash to the digest asked for."""

    reason: ClassVar[str] = "DigestMismatch"
    retryable: ClassVar[bool] = True  # another endpoint, or the same one later, may send the right bytes

    def __init__(self, *, want: str, got: str, size_bytes: int) -> None:
        super().__init__(f"content is {got} after {size_bytes} bytes, want {want}")
        self.want, self.got, self.size_bytes = want, got, size_bytes


class SizeMismatchError(StoreError):
    """The number of bytes is not the one the descriptor states."""

    reason: ClassVar[str] = "SizeMismatch"
    retryable: ClassVar[bool] = True

    def __init__(self, *, digest: str, want_bytes: int, got_bytes: int) -> None:
        more = "at least " if got_bytes > want_bytes else ""
        super().__init__(f"{digest}: {more}{got_bytes} bytes received, its descriptor says {want_bytes}")
        self.digest, self.want_bytes, self.got_bytes = digest, want_bytes, got_bytes


class DiffIDMismatchError(StoreError):
    """The compressed bytes are right but unpack to something else than the image's config promises."""

    reason: ClassVar[str] = "DiffIDMismatch"

    def __init__(self, *, layer: str, want: str, got: str) -> None:
        super().__init__(f"layer {layer} unpacks to {got}, the image config says {want}: the image is inconsistent")
        self.layer, self.want, self.got = layer, want, got


class LayerCorruptError(StoreError):
    """The layer's compressed stream or its tar cannot be read."""

    reason: ClassVar[str] = "LayerCorrupt"

    def __init__(self, *, layer: str, detail: str) -> None:
        super().__init__(f"layer {layer} is corrupt: {detail}")
        self.layer, self.detail = layer, detail


class LayerRefusedError(StoreError):
    """The layer asks for something that is never done: the text names the layer, the entry and the rule."""

    reason: ClassVar[str] = "LayerRefused"

    def __init__(self, *, layer: str, entry: bytes, rule: str) -> None:
        name = entry[:_SHOWN_NAME_BYTES].decode("utf-8", "backslashreplace")
        where = f"entry {name!r}: " if entry else ""
        super().__init__(f"layer {layer} refused: {where}{rule}")
        self.layer, self.entry, self.rule = layer, entry, rule


class DiskFullError(StoreError):
    """No space, quota or inodes left on the store's file system."""

    reason: ClassVar[str] = "DiskFull"
    retryable: ClassVar[bool] = True  # garbage collection may make room


class MountError(StoreError):
    """The kernel refused a mount; `errno` and its own words are kept."""

    reason: ClassVar[str] = "MountFailed"

    def __init__(self, what: str, error: OSError) -> None:
        super().__init__(f"{what}: {error.strerror or error}")
        self.errno = error.errno


@contextmanager
def disk_full_named(path: Path) -> Iterator[None]:
    """Turn ENOSPC and EDQUOT inside the block into DiskFullError naming the store's path."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise DiskFullError(
                f"no space left for the image store at {path}: {error.strerror}; remove unused images or grow the disk"
            ) from error
        raise
