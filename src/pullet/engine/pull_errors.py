"""What only a pull can find wrong with an image."""

from __future__ import annotations

from typing import ClassVar

from pullet.base.errors import PulletError


class NoPlatformError(PulletError):
    """The index has no manifest that this machine can run."""

    reason: ClassVar[str] = "NoMatchingPlatform"

    def __init__(self, *, wanted: str, available: str) -> None:
        super().__init__(f"the image is there for {available or 'no platform at all'}, this node needs {wanted}")
        self.wanted, self.available = wanted, available


class NotAnImageError(PulletError):
    """The manifest is right but not of a container image."""

    reason: ClassVar[str] = "NotAnImage"
