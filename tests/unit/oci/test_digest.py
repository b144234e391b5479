from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pullet.oci.digest import Digest, DigestInvalidError, parse_digest


@given(st.binary(), st.sampled_from(["sha256", "sha384", "sha512"]))
def test_a_digest_names_its_content(content: bytes, algorithm: str) -> None:
    digest = Digest.of(content, algorithm)
    assert digest == f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"
    assert (digest.algorithm, digest.hex) == (algorithm, hashlib.new(algorithm, content).hexdigest())
    assert {str(digest): 1}[parse_digest(digest)] == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "invalid checksum digest format"),
        ("sha256", "invalid checksum digest format"),
        ("sha256:", "invalid checksum digest format"),
        (":" + "a" * 64, "invalid checksum digest format"),
        ("sha256:" + "a" * 63, "invalid checksum digest length"),
        ("sha256:" + "a" * 63 + "\n", "invalid checksum digest format"),
        ("sha256:" + "A" * 64, "invalid checksum digest format"),
        ("sha256:" + "g" * 64, "invalid checksum digest format"),
        ("md5:" + "a" * 32, "unsupported digest algorithm"),
        ("!:" + "a" * 32, "invalid checksum digest format"),
    ],
)
def test_malformed(text: str, message: str) -> None:
    with pytest.raises(DigestInvalidError) as caught:
        parse_digest(text)
    assert str(caught.value) == message
