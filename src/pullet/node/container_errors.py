"""Why a container could not be started: the waiting reason it shows, and the message beside it.

Source: kubelet-images spec 4.2, 12.2.
"""

from __future__ import annotations

from typing import ClassVar

from pullet.base.errors import PulletError
from pullet.kube import reasons


class ContainerStartError(PulletError):
    """`waiting_reason` and `message` become the container's waiting state."""

    reason: ClassVar[str] = "ContainerStartFailed"

    def __init__(self, *, waiting_reason: str, message: str) -> None:
        super().__init__(f"{waiting_reason}: {message}" if message else waiting_reason)
        self.waiting_reason, self.message = waiting_reason, message


class ImageError(ContainerStartError):
    """The image is not there to be used; `waiting_reason` is one of spec 4.2, or a raw text for record failures."""

    reason: ClassVar[str] = "ImageNotUsable"


class ContainerConfigError(ContainerStartError):
    """What the container's configuration names is missing or contradicts itself (CreateContainerConfigError)."""

    reason: ClassVar[str] = "CreateContainerConfigError"

    def __init__(self, message: str) -> None:
        super().__init__(waiting_reason=reasons.CREATE_CONTAINER_CONFIG_ERROR, message=message)


class CrashLoopBackOffError(ContainerStartError):
    """The container ended too recently; `remaining_seconds` until its restart."""

    reason: ClassVar[str] = "CrashLoopBackOff"

    def __init__(self, message: str, *, remaining_seconds: float) -> None:
        super().__init__(waiting_reason=reasons.CRASH_LOOP_BACK_OFF, message=message)
        self.remaining_seconds = remaining_seconds
