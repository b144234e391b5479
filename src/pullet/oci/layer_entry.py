"""Rules for the names inside a layer's tar: where an entry goes, what a whiteout means, what is never obeyed.

Source: image-spec v1.1 layer.md, "Whiteouts" and "Representing Changes"; overlayfs.rst for the attributes the kernel
obeys in a lower layer.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import ClassVar, Final

from pullet.base.errors import PulletError
from pullet.base.values import Value

MAX_NAME_BYTES: Final = 255  # NAME_MAX
WHITEOUT_PREFIX: Final = b".wh."
OPAQUE_MARKER: Final = b".wh..wh..opq"
_AUFS_PREFIX: Final = b".wh..wh."
_OVERLAY_ATTRIBUTES: Final = (b"trusted.overlay.", b"user.overlay.")


class LayerEntryError(PulletError):
    """An entry of a layer is not acceptable. `entry` is its name as written, `rule` what it breaks."""

    reason: ClassVar[str] = "LayerEntryRefused"

    def __init__(self, entry: bytes, rule: str) -> None:
        super().__init__(f"entry {entry[:256]!r}: {rule}")
        self.entry, self.rule = entry, rule


def clean_path(name: bytes, *, max_path_bytes: int = 4095) -> bytes:
    """The path below the root without `.`, `..`, doubled or outer slashes; empty for the root itself.

    Absolute names are taken from the root, as every runtime does.

    Raises:
        LayerEntryError: it climbs out of the root, a part is longer than 255 bytes, or it holds a NUL.
    """
    if b"\0" in name:
        raise LayerEntryError(name, "a name cannot hold a NUL byte")
    parts: list[bytes] = []
    for part in name.split(b"/"):
        if part in {b"", b"."}:
            continue
        if part == b"..":
            if not parts:
                raise LayerEntryError(name, "the path leads out of the root")
            parts.pop()
        elif len(part) > MAX_NAME_BYTES:
            raise LayerEntryError(name, f"a name of {len(part)} bytes is longer than {MAX_NAME_BYTES}")
        else:
            parts.append(part)
    path = b"/".join(parts)
    if len(path) > max_path_bytes:
        raise LayerEntryError(name, f"a path of {len(path)} bytes is longer than {max_path_bytes}")
    return path


class Marker(Enum):
    """What a name beginning with `.wh.` says."""

    WHITEOUT = auto()  # the lower entry `name` is gone
    OPAQUE = auto()  # everything lower in this directory is gone
    IGNORED = auto()  # AUFS's own bookkeeping


class WhiteoutMarker(Value):
    """A decoded marker; `name` is the entry it removes, for WHITEOUT."""

    marker: Marker
    name: bytes = b""


def parse_whiteout(path: bytes) -> WhiteoutMarker | None:
    """What the last part of `path` says if it is a marker, else None. Raises LayerEntryError for a senseless one."""
    name = path.rpartition(b"/")[2]
    if not name.startswith(WHITEOUT_PREFIX):
        return None
    if name == OPAQUE_MARKER:
        return WhiteoutMarker(Marker.OPAQUE)
    if name.startswith(_AUFS_PREFIX):
        return WhiteoutMarker(Marker.IGNORED)
    target = name[len(WHITEOUT_PREFIX) :]
    if target in {b"", b".", b".."}:
        raise LayerEntryError(path, "a whiteout must name an entry")
    return WhiteoutMarker(Marker.WHITEOUT, target)


def is_kept_xattr(name: bytes) -> bool:
    """Whether an extended attribute of a layer is applied: all but those that overlayfs would obey as commands."""
    return not name.startswith(_OVERLAY_ATTRIBUTES)
