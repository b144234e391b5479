"""Looking after the disk: what CRI has no words for, as optional Protocols, probed as those of cri.extensions."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Protocol, runtime_checkable

from pullet.base.values import Value


class ImageAge(Value, kw_only=True):
    """When an image came to this machine and was last run; `last_used_at` None: never."""

    id: str
    first_seen_at: datetime
    last_used_at: datetime | None


class ImageDisk(Value, kw_only=True):
    """One image on disk. Removing it alone frees `unique_bytes`; `shared_bytes` belong to other images as well."""

    id: str
    names: tuple[str, ...]  # repository:tag, or repository@digest where there is no tag
    digests: tuple[str, ...]  # repository@digest
    unique_bytes: int
    shared_bytes: int
    is_pinned: bool
    last_used_at: datetime | None


class DiskUsage(Value, kw_only=True):
    """The whole store, in bytes as allocated. `orphan_bytes`: what no image needs and a collection frees."""

    images: tuple[ImageDisk, ...]
    layer_count: int
    layer_bytes: int
    blob_count: int
    blob_bytes: int
    orphan_bytes: int
    capacity_bytes: int  # of the file system
    available_bytes: int


class CollectedGarbage(Value, kw_only=True):
    """What a collection removed, or would remove."""

    layers: tuple[str, ...]
    blobs: tuple[str, ...]
    freed_bytes: int


class StoreFinding(Value, kw_only=True):
    """One thing that is wrong in the store. `images`: those that cannot run because of it."""

    kind: str  # "corrupt layer", "missing blob" …
    key: str
    detail: str
    is_repaired: bool
    images: tuple[str, ...] = ()


@runtime_checkable
class ImageAges(Protocol):
    """Remembers times across restarts."""

    async def image_ages(self) -> Sequence[ImageAge]:
        """Of every image."""
        ...

    async def note_used(self, image_ids: Collection[str]) -> None:
        """These images are in use now; unknown ids are passed over."""
        ...


@runtime_checkable
class StoreMaintenance(Protocol):
    """Measures, collects and checks what is on disk."""

    async def disk_usage(self) -> DiskUsage:
        """Everything, per image."""
        ...

    async def freed_by_removing(self, image_ids: Collection[str]) -> int:
        """Bytes that removing these images together would free: exactly what nothing else holds."""
        ...

    async def collect_garbage(self, *, is_plan: bool = False) -> CollectedGarbage:
        """Remove layers and blobs that no image, container or pull needs."""
        ...

    async def check_store(self, *, repair: bool = False) -> Sequence[StoreFinding]:
        """Hash everything again. With `repair` remove what is corrupt or needed by nobody. Takes minutes when full."""
        ...
