from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pullet.oci import distribution
from pullet.oci.digest import Digest
from pullet.oci.distribution import (
    Challenge,
    ErrorCode,
    blob_path,
    decode_errors,
    encode_errors,
    manifest_path,
    parse_content_range,
    parse_next_link,
    parse_range,
    parse_retry_after,
    parse_www_authenticate,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_paths() -> None:
    digest = Digest.of(b"")
    assert manifest_path("library/nginx", "1.17.1") == "/v2/library/nginx/manifests/1.17.1"
    assert manifest_path("library/nginx", digest) == f"/v2/library/nginx/manifests/{digest}"
    assert blob_path("a/b", digest) == f"/v2/a/b/blobs/{digest}"


@pytest.mark.parametrize(
    ("headers", "challenges"),
    [
        (['Basic realm="Registry Realm"'], [Challenge("basic", {"realm": "Registry Realm"})]),
        (
            [
                'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push"'
            ],
            [
                Challenge(
                    "bearer",
                    {
                        "realm": "https://auth.docker.io/token",
                        "service": "registry.docker.io",
                        "scope": "repository:a/b:pull,push",
                    },
                )
            ],
        ),
        (["Negotiate, Basic realm=simple"], [Challenge("negotiate"), Challenge("basic", {"realm": "simple"})]),
        (
            ['Bearer realm="x", error="invalid_token"', "Basic"],
            [Challenge("bearer", {"realm": "x", "error": "invalid_token"}), Challenge("basic")],
        ),
        (['basic realm="a \\"quoted\\" word"'], [Challenge("basic", {"realm": 'a "quoted" word'})]),
        (["", ",,", "=broken"], []),
    ],
)
def test_challenges(headers: list[str], challenges: list[Challenge]) -> None:
    assert list(parse_www_authenticate(headers)) == challenges


@given(st.lists(st.text(max_size=60), max_size=3))
def test_any_challenge_is_read_or_left_out(headers: list[str]) -> None:
    parse_www_authenticate(headers)


def test_error_bodies() -> None:
    body = encode_errors(ErrorCode.MANIFEST_UNKNOWN, "manifest unknown", {"Tag": "1"})
    (message,) = decode_errors(body)
    assert (message.code, message.message, message.detail) == ("MANIFEST_UNKNOWN", "manifest unknown", {"Tag": "1"})
    assert str(message) == "manifest_unknown: manifest unknown"
    assert decode_errors(b"<html>") == ()
    assert decode_errors(b'{"errors":null}') == ()


def test_links() -> None:
    assert parse_next_link('</v2/_catalog?last=a&n=2>; rel="next"') == "/v2/_catalog?last=a&n=2"
    assert parse_next_link('</a>; rel="prev", </b>; rel=next') == "/b"
    assert parse_next_link("nothing") is None


def test_content_ranges() -> None:
    assert parse_content_range("bytes 10-19/100") == (10, 19, 100)
    assert parse_content_range("bytes 10-19/*") == (10, 19, None)
    assert parse_content_range("bytes */100") is None


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-", (0, 9)),
        ("bytes=3-5", (3, 5)),
        ("bytes=3-500", (3, 9)),
        ("bytes=-4", (6, 9)),
        ("bytes=-40", (0, 9)),
        ("bytes=10-", None),
        ("bytes=5-3", None),
        ("bytes=-0", None),
        ("bytes=-", None),
        ("bytes=0-1,3-4", None),
        ("lines=1-2", None),
    ],
)
def test_ranges(header: str, expected: tuple[int, int] | None) -> None:
    assert parse_range(header, 10) == expected


def test_retry_after() -> None:
    assert parse_retry_after("5", NOW) == 5
    assert parse_retry_after("Thu, 01 Jan 2026 00:01:00 GMT", NOW) == 60
    assert parse_retry_after("Thu, 01 Jan 2015 00:01:00 GMT", NOW) == 0
    assert parse_retry_after("soon", NOW) is None
    assert parse_retry_after("-5", NOW) is None


@pytest.mark.parametrize(
    ("messages", "text"),
    [
        ([], ""),
        ([("DENIED", "requested access to the resource is denied")], "denied"),
        ([("DENIED", "")], "denied"),
        ([("DENIED", "the trial is over")], "denied: the trial is over"),
        ([("NAME_UNKNOWN", "no such name")], "name unknown: no such name"),
        ([("DENIED", ""), ("UNKNOWN", "odd")], "errors:\ndenied\nunknown: odd\n"),
    ],
)
def test_error_bodies_in_words(messages: list[tuple[str, str]], text: str) -> None:
    assert distribution.describe_errors([distribution.RegistryMessage(*one) for one in messages]) == text


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("76;w=21600", (76, 21600.0)),
        ("76", (76, None)),
        ("0; w=60", (0, 60.0)),
        ("100;w=21600, 5;w=60", (100, 21600.0)),
        ("", None),
        ("-1", None),
        ("many", None),
    ],
)
def test_rate_limits(value: str, found: tuple[int, float | None] | None) -> None:
    assert distribution.parse_rate_limit(value) == found
