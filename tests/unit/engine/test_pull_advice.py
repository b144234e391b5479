from __future__ import annotations

import pytest

from pullet.base.errors import PulletError
from pullet.engine.pull_advice import next_step
from pullet.engine.pull_errors import NoPlatformError
from pullet.registry.errors import (
    ManifestUnknownError,
    PlainHttpError,
    RegistryUnavailableError,
    TooManyRequestsError,
    UnauthorizedError,
    UnexpectedStatusError,
)


def unavailable(detail: str, kind: type[RegistryUnavailableError] = RegistryUnavailableError) -> PulletError:
    return kind(host="r.example.com", method="HEAD", url="https://r.example.com/v2/", detail=detail)


def too_many(retry_after_seconds: float | None) -> PulletError:
    return TooManyRequestsError(
        host="r", method="HEAD", url="https://r/v2/", status=429, retry_after_seconds=retry_after_seconds
    )


@pytest.mark.parametrize(
    ("error", "step"),
    [
        (
            unavailable("dial tcp: lookup r.example.com: no such host"),
            "the name r.example.com does not resolve on this node: check its spelling and the node's DNS",
        ),
        (
            unavailable("dial tcp 10.0.0.1:443: connect: connection refused"),
            "check that r.example.com is reachable from this node",
        ),
        (
            unavailable("proxyconnect tcp: dial tcp: lookup proxy: no such host"),
            "check the proxy: HTTPS_PROXY, HTTP_PROXY and NO_PROXY in the environment of the node's process",
        ),
        (
            unavailable("http: server gave HTTP response to HTTPS client", PlainHttpError),
            'the registry speaks plain http: say so with `server = "http://r.example.com"` in '
            "certs.d/r.example.com/hosts.toml",
        ),
        (
            too_many(3600),
            "wait 3600 s, or log in: registries limit anonymous pulls; a mirror avoids the limit",
        ),
        (too_many(None), "wait, or log in: registries limit anonymous pulls; a mirror avoids the limit"),
        (
            NoPlatformError(wanted="linux/amd64", available="linux/arm64, linux/s390x"),
            "build the image for linux/amd64; it is there for linux/arm64, linux/s390x",
        ),
        (
            UnexpectedStatusError(host="r", method="HEAD", url="https://r/v2/", status=500),
            "the registry itself fails: see its logs; the node tries again by itself",
        ),
        (ManifestUnknownError("gone"), "the registry lost a part of the image: push the image again"),
        (PulletError("anything"), ""),
    ],
)
def test_the_smallest_thing_to_do(error: PulletError, step: str) -> None:
    assert next_step(error, is_resolving=False) == step


def test_a_missing_name_is_not_a_lost_part() -> None:
    assert next_step(ManifestUnknownError("gone"), is_resolving=True) == "check the name and tag, or push the image"


@pytest.mark.parametrize(
    ("had_credential", "words"), [(True, "renew the pull secret"), (False, "add an imagePullSecret")]
)
def test_who_had_no_login_is_told_so(had_credential: bool, words: str) -> None:
    error = UnauthorizedError(host="r", method="HEAD", url="https://r/v2/", status=401)
    error.had_credential = had_credential
    assert words in next_step(error, is_resolving=True)
