"""The smallest thing to do about a failed pull, as one plain sentence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from pullet.base.errors import PulletError
from pullet.engine.pull_errors import NoPlatformError, NotAnImageError
from pullet.oci.manifest import ManifestInvalidError, SchemaOneError
from pullet.registry.errors import (
    BlobUnknownError,
    CertificateError,
    ContentMismatchError,
    DeniedError,
    HostsConfigError,
    ManifestUnknownError,
    PlainHttpError,
    RegistryUnavailableError,
    StatusError,
    TlsExpectedError,
    TooManyRequestsError,
    UnauthorizedError,
)
from pullet.registry.proxies import PROXY_FAILURE, SOCKS_FAILURE
from pullet.store.errors import (
    DiffIDMismatchError,
    DigestMismatchError,
    DiskFullError,
    LayerCorruptError,
    LayerRefusedError,
    SizeMismatchError,
)

_PUSH_AGAIN: Final = "the registry lost a part of the image: push the image again"
_DAMAGED_ON_THE_WAY: Final = (
    "what the registry sends is damaged: check proxies and mirrors in between, or push the image again"
)
_DAMAGED: Final = "the image itself is damaged: build and push it again"
_OLD_CLIENT: Final = "push the image again with a current client"


def _unauthorized(error: UnauthorizedError) -> str:
    if error.had_credential:
        return "the registry refused this user or password: renew the pull secret and check its server key"
    return (
        "add an imagePullSecret for this registry (kubectl create secret docker-registry), "
        "log the node in (pullet login), or correct the "
        "repository's name: some registries answer 401 for what does not exist"
    )


def _unavailable(error: RegistryUnavailableError) -> str:
    if error.detail.startswith((PROXY_FAILURE, SOCKS_FAILURE)):
        return "check the proxy: HTTPS_PROXY, HTTP_PROXY and NO_PROXY in the environment of the node's process"
    if " lookup " in error.detail:
        return f"the name {error.host} does not resolve on this node: check its spelling and the node's DNS"
    return f"check that {error.host} is reachable from this node"


def _too_many(error: TooManyRequestsError) -> str:
    wait = f"wait {error.retry_after_seconds:.0f} s" if error.retry_after_seconds else "wait"
    return f"{wait}, or log in: registries limit anonymous pulls; a mirror avoids the limit"


def _setting(error: RegistryUnavailableError) -> str:
    return error.next_step


def _platform(error: NoPlatformError) -> str:
    return f"build the image for {error.wanted}; it is there for {error.available}"


_ADVICE: Final[dict[type[PulletError], str | Callable[[Any], str]]] = {
    ManifestUnknownError: _PUSH_AGAIN,
    BlobUnknownError: _PUSH_AGAIN,
    UnauthorizedError: _unauthorized,
    DeniedError: "this user may not pull from this repository: ask its owner for read access",
    TooManyRequestsError: _too_many,
    StatusError: "the registry itself fails: see its logs; the node tries again by itself",
    PlainHttpError: _setting,
    TlsExpectedError: _setting,
    CertificateError: _setting,
    RegistryUnavailableError: _unavailable,
    HostsConfigError: "correct the file or setting named above",
    ContentMismatchError: _DAMAGED_ON_THE_WAY,
    DigestMismatchError: _DAMAGED_ON_THE_WAY,
    SizeMismatchError: _DAMAGED_ON_THE_WAY,
    DiffIDMismatchError: _DAMAGED,
    LayerCorruptError: _DAMAGED,
    LayerRefusedError: "build the image without the entry named above, and do not trust where it came from",
    DiskFullError: "remove unused images (pullet images rm) or grow the disk",
    NoPlatformError: _platform,
    NotAnImageError: _OLD_CLIENT,
    SchemaOneError: _OLD_CLIENT,
    ManifestInvalidError: _DAMAGED,
}


def next_step(error: PulletError, *, is_resolving: bool) -> str:
    """What to do about `error`; "" when there is nothing to say. `is_resolving`: it came while resolving the name."""
    if isinstance(error, ManifestUnknownError) and is_resolving:
        return "check the name and tag, or push the image"
    for kind in type(error).__mro__:
        advice = _ADVICE.get(kind)
        if advice is not None:
            return advice if isinstance(advice, str) else advice(error)
    return ""
