"""The store's settings, with their units and defaults."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from pullet.base.values import Value

MIB = 1 << 20
GIB = 1 << 30


class SnapshotterChoice(StrEnum):
    """Which form layers take on disk. `auto` probes the kernel once at start.

    `erofs` mounts layer files as the kernel can, `erofs-loop` through loop devices even where it need not.
    """

    AUTO = "auto"
    EROFS = "erofs"
    EROFS_LOOP = "erofs-loop"
    DIRECTORY = "directory"


class UnpackLimits(Value, kw_only=True):
    """What a layer may ask for before it is refused, while it streams."""

    max_layer_bytes: int = 64 * GIB  # uncompressed tar
    max_ratio: int = 250  # uncompressed ÷ compressed, looked at beyond ratio_free_bytes
    ratio_free_bytes: int = 1 * GIB  # layers unpacking to less may compress as well as they like
    max_entries: int = 4_000_000
    max_metadata_bytes: int = 4 * MIB  # one PAX or GNU long-name record
    max_path_bytes: int = 4095  # PATH_MAX without its terminator; one name is limited to 255 by the kernel
    max_sparse_bytes: int = 1024 * GIB  # apparent size of one sparse file
    max_window_bytes: int = 128 * MIB  # zstd window
    device_nodes_allowed: bool = True

    def uncompressed_limit(self, compressed_bytes: int) -> int:
        """The most bytes a layer of `compressed_bytes` may unpack to."""
        return min(self.max_layer_bytes, max(self.ratio_free_bytes, self.max_ratio * compressed_bytes))


class StoreSettings(Value, kw_only=True):
    """How one store works."""

    snapshotter: SnapshotterChoice = SnapshotterChoice.AUTO
    keep_compressed_blobs: bool = False
    inline_below_bytes: int = 512 * 1024  # compressed size under which a layer is unpacked without helper threads
    limits: UnpackLimits = msgspec.field(default_factory=UnpackLimits)
