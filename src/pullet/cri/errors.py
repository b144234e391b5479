"""The only errors that cross from runtime to node.

CriError(code)
├ NotFoundError             NotFound
├ InvalidArgumentError      InvalidArgument
├ FailedPreconditionError   FailedPrecondition
├ DeadlineExceededError     DeadlineExceeded
├ ResourceExhaustedError    ResourceExhausted   (disk full)
├ UnavailableError          Unavailable         (the runtime itself is not there)
├ RegistryUnavailableError  Unknown, text begins `RegistryUnavailable`
└ SignatureValidationFailedError  Unknown, text begins `SignatureValidationFailed`

`message` is the bare description; `str(error)` is what the kubelet would show: gRPC code Unknown is the bare message,
any other code `rpc error: code = <Code> desc = <message>` (kubelet-images spec, section 7).
"""

from __future__ import annotations

from typing import ClassVar

from pullet.base.errors import PulletError


class CriError(PulletError):
    """A failed call. `cause` and `next_step` are plain sentences for `why`, beside the runtime's own wording."""

    reason: ClassVar[str] = "RuntimeError"
    code: ClassVar[str] = "Unknown"

    def __init__(self, message: str, *, cause: str = "", next_step: str = "") -> None:
        self.message, self.cause, self.next_step = message, cause, next_step
        super().__init__(message if self.code == "Unknown" else f"rpc error: code = {self.code} desc = {message}")


class NotFoundError(CriError):
    """No such image, sandbox or container; or the registry has no such manifest."""

    reason: ClassVar[str] = "NotFound"
    code: ClassVar[str] = "NotFound"


class InvalidArgumentError(CriError):
    """The request itself cannot be right."""

    reason: ClassVar[str] = "InvalidArgument"
    code: ClassVar[str] = "InvalidArgument"


class FailedPreconditionError(CriError):
    """Right in itself, impossible in the present state."""

    reason: ClassVar[str] = "FailedPrecondition"
    code: ClassVar[str] = "FailedPrecondition"


class DeadlineExceededError(CriError):
    """Not done in time."""

    reason: ClassVar[str] = "DeadlineExceeded"
    code: ClassVar[str] = "DeadlineExceeded"


class ResourceExhaustedError(CriError):
    """Disk, pids or memory ran out."""

    reason: ClassVar[str] = "ResourceExhausted"
    code: ClassVar[str] = "ResourceExhausted"


class UnavailableError(CriError):
    """The runtime does not answer."""

    reason: ClassVar[str] = "Unavailable"
    retryable: ClassVar[bool] = True
    code: ClassVar[str] = "Unavailable"


class RegistryUnavailableError(CriError):
    """The registry could not be reached. Source: cri-api pkg/errors ErrRegistryUnavailable."""

    reason: ClassVar[str] = "RegistryUnavailable"
    retryable: ClassVar[bool] = True


class SignatureValidationFailedError(CriError):
    """The image's signature was refused. Source: cri-api pkg/errors ErrSignatureValidationFailed."""

    reason: ClassVar[str] = "SignatureValidationFailed"
