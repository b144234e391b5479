"""What a container needs of the image side: which image an id names, and its content as a mounted directory."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Protocol

from pullet.base.values import Value
from pullet.kit.directory_size import DirectorySize
from pullet.oci.digest import DiffID
from pullet.oci.image_config import ContainerDefaults
from pullet.oci.platform import Platform


class RunnableImage(Value, kw_only=True):
    """An image that is here. `tags` and `digests` are its full names, `layers` its DiffIDs, lowest first."""

    id: str
    defaults: ContainerDefaults
    tags: Sequence[str] = ()
    digests: Sequence[str] = ()
    layers: Sequence[DiffID] = ()
    platform: Platform | None = None  # what its config says it was built for


class ContainerImages(Protocol):
    """Images as root file systems. All methods block and may be called from any thread.

    `owner` is the container; a second snapshot of the same owner has a `name` (an image volume).
    """

    def find(self, image: str) -> RunnableImage | None:
        """By image id or full name; None if absent."""
        ...

    def prepare(self, owner: str, image: RunnableImage) -> Path:
        """A writable root for `owner`, and the image kept from collection until `release`.

        Raises CriError where the image cannot run on this machine.
        """
        ...

    def view(self, owner: str, name: str, image: RunnableImage) -> Path:
        """The image's content, read-only; kept likewise."""
        ...

    def written(self, owner: str) -> DirectorySize:
        """What the owner wrote to its root."""
        ...

    def release(self, owner: str) -> None:
        """Unmount and delete all of the owner's snapshots, let the images go. Idempotent."""
        ...

    def release_others(self, owners: Collection[str]) -> None:
        """`release` whatever belongs to a container that is not among `owners`; for the start after a crash."""
        ...

    def restore(self, owner: str) -> None:
        """Mount the owner's snapshots again after a reboot. Idempotent."""
        ...
