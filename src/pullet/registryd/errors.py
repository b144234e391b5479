"""A refusal, as the protocol words it. Source: distribution-spec v1.1, "Error Codes"."""

from __future__ import annotations

from typing import Any, ClassVar

from pullet.base.errors import PulletError
from pullet.oci.distribution import ErrorCode


class RefusedError(PulletError):
    """A request that is answered with a status and an error code; `detail` is for tools."""

    reason: ClassVar[str] = "Refused"

    def __init__(self, status: int, code: ErrorCode, message: str, detail: Any = None) -> None:
        super().__init__(message)
        self.status, self.code, self.detail = status, code, detail


def name_unknown(repository: str) -> RefusedError:
    """No such repository."""
    return RefusedError(404, ErrorCode.NAME_UNKNOWN, "repository name not known to registry", {"name": repository})


def manifest_unknown(repository: str, reference: str) -> RefusedError:
    """No such tag or manifest in the repository."""
    detail = {"name": repository, "reference": reference}
    return RefusedError(404, ErrorCode.MANIFEST_UNKNOWN, "manifest unknown", detail)


def blob_unknown(digest: str) -> RefusedError:
    """No such blob in the repository."""
    return RefusedError(404, ErrorCode.BLOB_UNKNOWN, "blob unknown to registry", {"digest": str(digest)})
