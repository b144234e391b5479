from __future__ import annotations

import pytest

from pullet.oci.platform import Platform, describe, match_order, normalise, parse_platform, rank


@pytest.mark.parametrize(
    ("host", "runs"),
    [
        ("linux/amd64", ["linux/amd64", "linux/386"]),
        ("linux/x86_64", ["linux/amd64", "linux/386"]),
        ("linux/amd64/v3", ["linux/amd64/v3", "linux/amd64/v2", "linux/amd64", "linux/386"]),
        ("linux/arm64", ["linux/arm64", "linux/arm/v8", "linux/arm/v7", "linux/arm/v6", "linux/arm/v5"]),
        ("linux/aarch64/v8", ["linux/arm64", "linux/arm/v8", "linux/arm/v7", "linux/arm/v6", "linux/arm/v5"]),
        ("arm", ["linux/arm/v7", "linux/arm/v6", "linux/arm/v5"]),
        ("armel", ["linux/arm/v6", "linux/arm/v5"]),
        ("s390x", ["linux/s390x"]),
    ],
)
def test_what_a_host_can_run(host: str, runs: list[str]) -> None:
    assert [str(platform) for platform in match_order(parse_platform(host))] == runs


def test_ranks() -> None:
    host = parse_platform("linux/amd64/v2")
    assert rank(Platform(os="linux", architecture="amd64", variant="v2"), host) == 0
    assert rank(Platform(os="linux", architecture="amd64", variant="v1"), host) == 1
    assert rank(Platform(os="linux", architecture="amd64", variant="v3"), host) is None
    assert rank(Platform(os="Linux", architecture="i386"), host) == 2
    assert rank(Platform(os="unknown", architecture="unknown"), host) is None
    assert rank(Platform(os="windows", architecture="amd64"), host) is None


def test_spelling() -> None:
    assert normalise(Platform(os="Linux", architecture="AARCH64", variant="V8")) == parse_platform("linux/arm64")
    assert describe([parse_platform("s390x"), parse_platform("arm64"), parse_platform("arm64")]) == (
        "linux/arm64, linux/s390x"
    )
