from __future__ import annotations

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pullet.oci.digest import Digest
from pullet.oci.reference import (
    Reference,
    ReferenceInvalidError,
    apply_default_tag,
    parse_image_name,
    parse_normalized,
    parse_strict,
    trim_tag_and_digest,
)

HEX = "0123456789abcdef" * 4
DIGEST = f"sha256:{HEX}"


@pytest.mark.parametrize(
    ("text", "domain", "path", "tag", "digest"),
    [
        ("test_com", "", "test_com", None, None),
        ("test.com:tag", "", "test.com", "tag", None),
        ("test.com:5000", "", "test.com", "5000", None),
        ("test.com/repo:tag", "test.com", "repo", "tag", None),
        ("test:5000/repo", "test:5000", "repo", None, None),
        (f"test:5000/repo:tag@{DIGEST}", "test:5000", "repo", "tag", DIGEST),
        ("a/a/a", "a", "a/a", None, None),
        ("lowercase:Uppercase", "", "lowercase", "Uppercase", None),
        ("Uppercase/lowercase", "Uppercase", "lowercase", None, None),
        ("sub-dom1.foo.com/bar/baz/quux:some-long-tag", "sub-dom1.foo.com", "bar/baz/quux", "some-long-tag", None),
        ("[2001:db8::1]:5000/repo", "[2001:db8::1]:5000", "repo", None, None),
        ("a---b", "", "a---b", None, None),
        ("a__b", "", "a__b", None, None),
        ("x:" + "t" * 128, "", "x", "t" * 128, None),
    ],
)
def test_strict_parse(text: str, domain: str, path: str, tag: str | None, digest: str | None) -> None:
    assert parse_strict(text) == Reference(domain, path, tag, Digest(digest) if digest else None)
    assert str(parse_strict(text)) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "repository name must have at least one component"),
        ("Uppercase:tag", "repository name must be lowercase"),
        ("nginx:-bad", "invalid reference format"),
        ("nginx::1.0", "invalid reference format"),
        ("nginx:", "invalid reference format"),
        ("-nginx", "invalid reference format"),
        ("a//b", "invalid reference format"),
        ("a..b", "invalid reference format"),
        ("a___b", "invalid reference format"),
        ("a_.b", "invalid reference format"),
        ("a-.b", "invalid reference format"),
        ("https://github.com/docker/docker", "invalid reference format"),
        ("nginx latest", "invalid reference format"),
        ("nginx\n", "invalid reference format"),
        (" nginx", "invalid reference format"),
        ("nginx@sha256:abc", "invalid reference format"),
        ("x:" + "t" * 129, "invalid reference format"),
        ("nginx@sha256:" + "a" * 32, "invalid checksum digest length"),
        ("nginx@md5:" + "a" * 32, "unsupported digest algorithm"),
        ("nginx@sha256:" + "A" * 64, "invalid checksum digest format"),
        ("docker.io/" + "a" * 256, "repository name must not be more than 255 characters"),
        ("[fe80::1%25eth0]:80/repo", "invalid reference format"),
        ("ä/b", "invalid reference format"),
        ("nginx:١", "invalid reference format"),
    ],
)
def test_strict_parse_errors(text: str, message: str) -> None:
    with pytest.raises(ReferenceInvalidError) as caught:
        parse_strict(text)
    assert str(caught.value) == message
    assert caught.value.text == text


def test_the_domain_does_not_count_towards_the_length_of_the_path() -> None:
    assert parse_strict("registry.example.com/" + "a" * 255).path == "a" * 255


@pytest.mark.parametrize(
    ("text", "full", "familiar"),
    [
        ("nginx", "docker.io/library/nginx", "nginx"),
        ("nginx:1.17.1", "docker.io/library/nginx:1.17.1", "nginx:1.17.1"),
        ("foo/bar", "docker.io/foo/bar", "foo/bar"),
        ("foo_bar/nginx:1.0", "docker.io/foo_bar/nginx:1.0", "foo_bar/nginx:1.0"),
        ("docker.io/nginx", "docker.io/library/nginx", "nginx"),
        ("index.docker.io/nginx", "docker.io/library/nginx", "nginx"),
        ("index.docker.io/library/foo/bar", "docker.io/library/foo/bar", "library/foo/bar"),
        ("localhost/nginx", "localhost/nginx", "localhost/nginx"),
        ("localhost", "docker.io/library/localhost", "localhost"),
        ("localhost:5000", "docker.io/library/localhost:5000", "localhost:5000"),
        ("127.0.0.1:5000/x:1", "127.0.0.1:5000/x:1", "127.0.0.1:5000/x:1"),
        ("example.com", "docker.io/library/example.com", "example.com"),
        ("Foo/bar", "Foo/bar", "Foo/bar"),
        (f"nginx:9@{DIGEST}", f"docker.io/library/nginx:9@{DIGEST}", f"nginx:9@{DIGEST}"),
        (HEX[:63], f"docker.io/library/{HEX[:63]}", HEX[:63]),
        (f"docker.io/{HEX}", f"docker.io/library/{HEX}", HEX),
    ],
)
def test_docker_normalisation(text: str, full: str, familiar: str) -> None:
    reference = parse_normalized(text)
    assert str(reference) == full
    assert reference.familiar() == familiar


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEX, f"invalid repository name ({HEX}), cannot specify 64-byte hexadecimal strings"),
        ("Nginx:1.17.1", "invalid reference format: repository name (library/Nginx) must be lowercase"),
        ("FAILED_IMAGE", "invalid reference format: repository name (library/FAILED_IMAGE) must be lowercase"),
        ("example.com/Foo:Tag", "invalid reference format: repository name (Foo) must be lowercase"),
        ("", "invalid reference format"),
        ("nginx:", "invalid reference format"),
        ("https://example.com/x", "invalid reference format"),
    ],
)
def test_normalisation_errors(text: str, message: str) -> None:
    with pytest.raises(ReferenceInvalidError) as caught:
        parse_normalized(text)
    assert str(caught.value) == message


def test_kubelet_image_name() -> None:
    assert parse_image_name("nginx") == ("docker.io/library/nginx", "latest", "")
    assert parse_image_name("nginx:1.17.1") == ("docker.io/library/nginx", "1.17.1", "")
    assert parse_image_name(f"nginx@{DIGEST}") == ("docker.io/library/nginx", "", DIGEST)
    assert parse_image_name(f"nginx:1@{DIGEST}") == ("docker.io/library/nginx", "1", DIGEST)
    with pytest.raises(ReferenceInvalidError) as caught:
        parse_image_name("Nginx:1.17.1")
    assert str(caught.value) == (
        'couldn\'t parse image name "Nginx:1.17.1": invalid reference format: '
        "repository name (library/Nginx) must be lowercase"
    )


def test_the_default_tag_is_appended_to_the_users_own_spelling() -> None:
    assert apply_default_tag("busybox") == "busybox:latest"
    assert apply_default_tag("busybox:latest") == "busybox:latest"
    assert apply_default_tag("localhost:5000/busybox") == "localhost:5000/busybox:latest"
    assert apply_default_tag("localhost:5000") == "localhost:5000"
    assert apply_default_tag(f"busybox@{DIGEST}") == f"busybox@{DIGEST}"
    assert apply_default_tag(f"busybox:1@{DIGEST}") == f"busybox:1@{DIGEST}"


def test_trimming_keeps_the_users_spelling() -> None:
    assert trim_tag_and_digest("ubuntu:22.04") == "ubuntu"
    assert trim_tag_and_digest(f"a.io/b/c:1@{DIGEST}") == "a.io/b/c"
    assert trim_tag_and_digest("localhost:5000/x") == "localhost:5000/x"


LOWER = string.ascii_lowercase + string.digits
component = st.lists(st.text(LOWER, min_size=1, max_size=5), min_size=1, max_size=3).flatmap(
    lambda parts: st.sampled_from([".", "_", "__", "-", "--"]).map(lambda separator: separator.join(parts))
)
path = st.lists(component, min_size=1, max_size=3).map("/".join)
label = st.from_regex(re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,4}[A-Za-z0-9])?", re.ASCII), fullmatch=True)
domain = st.tuples(label, label, st.one_of(st.just(""), st.integers(0, 99999).map(":{}".format))).map(
    lambda parts: f"{parts[0]}.{parts[1]}{parts[2]}"
)
tag = st.from_regex(re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII), fullmatch=True)
digest = st.tuples(st.sampled_from(["sha256", "sha384", "sha512"]), st.binary()).map(
    lambda two: Digest.of(two[1], two[0])
)


@given(domain, path, st.none() | tag, st.none() | digest)
def test_printing_and_parsing_agree(domain: str, path: str, tag: str | None, digest: Digest | None) -> None:
    if domain in {"docker.io", "index.docker.io"}:
        return
    reference = Reference(domain, path, tag, digest)
    assert parse_strict(str(reference)) == reference
    assert parse_normalized(str(reference)) == reference
    assert parse_normalized(reference.familiar()) == reference


@given(path, st.none() | tag, st.none() | digest)
def test_familiar_names_come_back_from_docker_hub(path: str, tag: str | None, digest: Digest | None) -> None:
    reference = Reference("docker.io", path if "/" in path else f"library/{path}", tag, digest)
    familiar = reference.familiar()
    first, slash, _ = familiar.partition("/")
    if (slash and ("." in first or first == "localhost")) or re.fullmatch("[a-f0-9]{64}", familiar):
        return  # such a repository cannot be written without its domain
    assert parse_normalized(familiar) == reference


@given(st.text(max_size=40) | st.text("aA0./:@-_[]", max_size=20))
def test_any_text_parses_to_what_it_says_or_is_refused(text: str) -> None:
    try:
        reference = parse_strict(text)
    except ReferenceInvalidError:
        return
    assert str(reference) == text


@given(st.text("abcA0./:@-_", max_size=20))
def test_the_default_tag_is_idempotent(text: str) -> None:
    try:
        once = apply_default_tag(text)
    except ReferenceInvalidError:
        return
    assert apply_default_tag(once) == once
    assert parse_image_name(once) == parse_image_name(text)
