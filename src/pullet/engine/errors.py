"""RegistryError and StoreError as CriError: containerd's texts and codes, and beside them the plain cause.

The texts are containerd 1.7's, which tools and people search for; the table is `_worded`.
Source: containerd core/remotes/docker/{resolver,fetcher,authorizer}.go, core/content/local, core/unpack.
"""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from pullet.base.errors import PulletError
from pullet.base.quote import go_quote
from pullet.base.values import Value
from pullet.cri.errors import CriError, FailedPreconditionError, NotFoundError, ResourceExhaustedError
from pullet.engine.pull_advice import next_step
from pullet.engine.pull_errors import NoPlatformError
from pullet.kit.worker_threads import StoppedError
from pullet.oci.descriptor import Descriptor
from pullet.oci.distribution import describe_errors
from pullet.oci.mediatype import is_layer
from pullet.oci.reference import ReferenceInvalidError
from pullet.registry.errors import (
    BlobUnknownError,
    ContentMismatchError,
    DeniedError,
    ManifestUnknownError,
    RegistryUnavailableError,
    StatusError,
    UnauthorizedError,
    status_text,
)
from pullet.store.errors import (
    DiffIDMismatchError,
    DigestMismatchError,
    DiskFullError,
    LayerCorruptError,
    LayerRefusedError,
    SizeMismatchError,
)

_FULL_CODES: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_NO_ACCESS: Final = "pull access denied, repository does not exist or may require authorization"


class PullStep(Value, kw_only=True):
    """Where a pull was: resolving its name (`content` None), or fetching one piece of content."""

    reference: str  # full name, without the tag when there is a digest
    content: Descriptor | None = None

    @property
    def is_resolving(self) -> bool:
        """Whether the name was being resolved."""
        return self.content is None


def invalid_reference(image: str, error: ReferenceInvalidError) -> CriError:
    """What a pull of an unparsable name raises."""
    return CriError(
        f"failed to parse image reference {go_quote(image)}: {error}",
        cause=f"{image!r} is not an image name",
        next_step="correct the image field: [registry/]repository[:tag][@digest], in lower case",
    )


def to_cri_error(error: PulletError, step: PullStep) -> CriError:
    """The CriError for whatever ended a pull at `step`; an error that is one already stays as it is."""
    if isinstance(error, CriError):
        return error
    kind, text = _worded(error, step)
    prefix = f"failed to pull and unpack image {go_quote(step.reference)}: "
    if step.is_resolving:
        prefix += f"failed to resolve reference {go_quote(step.reference)}: "
    return kind(f"{prefix}{text}", cause=str(error), next_step=next_step(error, is_resolving=step.is_resolving))


def _worded(error: PulletError, step: PullStep) -> tuple[type[CriError], str]:
    match error:
        case ManifestUnknownError() | BlobUnknownError():
            return NotFoundError, _not_found(step)
        case UnauthorizedError() if not error.is_token_request and _has_no_use_of_credential(error):
            return CriError, f"{_NO_ACCESS}: {_refusal(error)}"
        case StatusError():
            return CriError, _status(error, step)
        case RegistryUnavailableError():
            request = f"{error.method.capitalize()} {go_quote(error.url)}"
            return CriError, f"{_copying(step)}failed to do request: {request}: {error.detail}"
        case ContentMismatchError():
            commit = _commit(error.what.partition(" ")[0], error.want, error.got)
            return (FailedPreconditionError, commit) if error.want.startswith("sha") else (CriError, str(error))
        case DigestMismatchError():
            return FailedPreconditionError, _commit("layer", error.want, error.got)
        case SizeMismatchError():
            name = go_quote(f"layer-{error.digest}")
            sizes = f"{error.got_bytes} != {error.want_bytes}"
            return FailedPreconditionError, (
                f"failed commit on ref {name}: {name} failed size validation: {sizes}: failed precondition"
            )
        case DiffIDMismatchError():
            return CriError, (
                f"failed to extract layer {error.want}: wrong diff id calculated on extraction {go_quote(error.got)}"
            )
        case LayerCorruptError() | LayerRefusedError():
            return CriError, f"failed to extract layer {error.layer}: {error}"
        case DiskFullError():
            return ResourceExhaustedError, f"{_writing(step)}no space left on device"
        case NoPlatformError():
            return NotFoundError, "no match for platform in manifest: not found"
        case _:
            return CriError, str(error)


def _not_found(step: PullStep) -> str:
    if step.content is None:
        return f"{step.reference}: not found"
    content = f"{step.content.digest} ({step.content.media_type})"
    return f"{_copying(step)}could not fetch content descriptor {content} from remote: not found"


def _copying(step: PullStep) -> str:
    return "" if step.is_resolving else "failed to copy: httpReadSeeker: failed open: "


def _writing(step: PullStep) -> str:
    if step.content is None:
        return ""
    is_document = not is_layer(step.content.media_type)
    return "failed to copy: " if is_document else f"failed to extract layer {step.content.digest}: "


def _commit(kind: str, want: str, got: str) -> str:
    reference = go_quote(f"{kind}-{want}")
    return f"failed commit on ref {reference}: unexpected commit digest {got}, expected {want}: failed precondition"


def _has_no_use_of_credential(error: UnauthorizedError) -> bool:
    return not error.had_credential or error.challenge == "bearer"


def _refusal(error: UnauthorizedError) -> str:
    if error.challenge == "basic":
        return "authorization failed: no basic auth credentials"
    return f"server message: {error.detail}: authorization failed" if error.detail else "authorization failed"


def _status(error: StatusError, step: PullStep) -> str:
    if error.is_token_request:
        who = "anonymous token" if error.was_anonymous else "oauth token"
        request = f"unexpected status from {error.method} request to {error.url}: {status_text(error.status)}"
        return f"{_copying(step)}failed to authorize: failed to fetch {who}: {request}"
    if step.is_resolving:
        words = f"\n{describe_errors(error.messages)}" if isinstance(error, DeniedError) and error.messages else ""
        return f"unexpected status from {error.method} request to {error.url}: {status_text(error.status)}{words}"
    return f"{_copying(step)}unexpected status code {error.url}: {status_text(error.status)}"


def storage_failed(error: OSError | sqlite3.Error, what: str) -> CriError:
    """The CriError for a store that cannot be written or read; `what` says what was being done, as a prefix."""
    code = error.errno if isinstance(error, OSError) else getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (_FULL_CODES if isinstance(error, OSError) else {sqlite3.SQLITE_FULL}):
        return ResourceExhaustedError(
            f"{what}: no space left on device",
            cause=f"the disk of the image store is full: {error}",
            next_step=next_step(DiskFullError(), is_resolving=False),
        )
    return CriError(
        f"{what}: {error}",
        cause=f"the image store cannot be written: {error}",
        next_step="see `dmesg` for disk errors and make the file system of the image store writable again",
    )


@contextmanager
def storage_worded(what: str) -> Iterator[None]:
    """Turn failures of disk and database inside the block into CriError."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise storage_failed(error, what) from error


@contextmanager
def worded(step: PullStep) -> Iterator[None]:
    """Turn what fails inside the block into CriError; a stop passes as it is."""
    try:
        yield
    except (CriError, StoppedError):
        raise
    except PulletError as error:
        raise to_cri_error(error, step) from error
