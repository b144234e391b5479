"""Keyring keys, matching and order."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pullet.base.redact import Secret
from pullet.cri.types import AuthConfig
from pullet.policy.credential_match import (
    KeyringIndex,
    SecretSource,
    TrackedCredential,
    credential_hash,
    is_default_registry,
    keyring_key,
    matches,
)


@pytest.mark.parametrize(
    ("config_key", "key"),
    [
        ("registry.example.com", "registry.example.com"),
        ("https://registry.example.com", "registry.example.com"),
        ("http://registry.example.com:5000/", "registry.example.com:5000"),
        ("https://index.docker.io/v1/", "index.docker.io"),
        ("index.docker.io/v1/", "index.docker.io"),
        ("r.io/v1", "r.io/v1"),
        ("r.io/v1/foo", "r.io/foo"),
        ("r.io/v2/foo/bar", "r.io/foo/bar"),
        ("r.io/team", "r.io/team"),
        ("*.r.io", "*.r.io"),
        ("[::1]:5000/x", "[::1]:5000/x"),
        ("a b", None),
        ("r.io:port", None),
        ("r.io/%zz", None),
    ],
)
def test_config_keys_become_keyring_keys(config_key: str, key: str | None) -> None:
    assert keyring_key(config_key) == key


@pytest.mark.parametrize(
    ("key", "image", "is_match"),
    [
        ("r.io", "r.io/a", True),
        ("r.io", "s.io/a", False),
        ("r.io:5000", "r.io:5000/a", True),
        ("r.io", "r.io:5000/a", False),
        ("r.io:5000", "r.io/a", False),
        ("r.io:*", "r.io:5000/a", False),
        ("r.io/pong", "r.io/pongz", True),
        ("r.io/pong", "r.io/pong/x", True),
        ("r.io/pong", "r.io/pin", False),
        ("r.io/*", "r.io/a", False),
        ("*.r.io", "a.r.io/x", True),
        ("*.r.io", "a.b.r.io/x", False),
        ("*.r.io", "r.io/x", False),
        ("*.*.io", "a.b.io/x", True),
        ("pre*.r.io", "prefix.r.io/x", True),
        ("a[bc].r.io", "ab.r.io/x", True),
        ("a[^bc].r.io", "ab.r.io/x", False),
        ("a[a-f].r.io", "ae.r.io/x", True),
        ("a[.r.io", "a[.r.io/x", False),
        ("docker.io", "docker.io/library/nginx", True),
        ("registry-1.docker.io", "docker.io/library/nginx", False),
        ("index.docker.io/library/x", "docker.io/library/x", False),
        ("https://r.io", "r.io/a", True),
    ],
)
def test_matching(key: str, image: str, is_match: bool) -> None:
    assert matches(key, image) is is_match


def test_more_specific_keys_come_first_and_equal_ones_in_order() -> None:
    index = KeyringIndex(
        [("r.io", "host"), ("r.io/team/app", "app"), ("r.io/team", "team"), ("https://r.io", "again"), ("*.io", "any")]
    )
    assert index.lookup("r.io/team/app") == ("app", "team", "host", "again", "any")
    assert index.lookup("r.io/other") == ("host", "again", "any")
    assert index.lookup("s.org/x") == ()


@pytest.mark.parametrize("repository", ["docker.io/library/nginx", "index.docker.io/x/y", "nginx", "library/nginx"])
def test_docker_hubs_old_name_is_the_last_resort(repository: str) -> None:
    assert KeyringIndex([("https://index.docker.io/v1/", "hub")]).lookup(repository)[-1:] == ("hub",)


def test_the_last_resort_is_for_nobody_else() -> None:
    index = KeyringIndex([("https://index.docker.io/v1/", "hub"), ("docker.io", "new")])
    assert index.lookup("r.io/x") == ()
    assert index.lookup("docker.io/library/nginx") == ("new",)


def test_unusable_keys_are_told() -> None:
    assert KeyringIndex([("a b", 1), ("r.io", 2)]).rejected_keys == ["a b"]


@pytest.mark.parametrize(
    ("repository", "is_default"),
    [("docker.io/a", True), ("nginx", True), ("a/b", True), ("r.io/a", False), ("h:5000/a", False), ("/a", False)],
)
def test_default_registry(repository: str, is_default: bool) -> None:
    assert is_default_registry(repository) is is_default


@pytest.mark.parametrize(
    ("username", "password", "digest"),
    [
        ("user", "password", "a55436fc140d516560d072c5fe8700385ce9f41629abf65c1edcbcb39fac691d"),
        ("alice", "s3cret", "84e602bef66066d26999b4f32a2afb963a80f8384d3cdf9145038d3c3da62d2b"),
        ("bob", "hunter2", "eccd54b36aa3a995266c57ea482272c142abc94251c7c4300c6fe2950fc05302"),
    ],
)
def test_hashes_are_those_of_a_kubelets_records(username: str, password: str, digest: str) -> None:
    assert credential_hash(AuthConfig(username=username, password=Secret(password))) == digest


def test_hashes_escape_as_go_does() -> None:
    plain = AuthConfig(username="u", password=Secret("<&>"))
    text = '{"username":"u","password":"\\u003c\\u0026\\u003e","email":"e@x"}'
    assert credential_hash(plain, email="e@x") == hashlib.sha256(text.encode()).hexdigest()


def test_a_tracked_credential_prints_no_secret() -> None:
    auth = AuthConfig(username="u", password=Secret("planted"))
    credential = TrackedCredential(auth=auth, source=SecretSource("ns", "n", "u"), hash=credential_hash(auth))
    assert "planted" not in repr(credential)
    assert len(credential.fingerprint) == 12
    assert credential.hash not in repr(credential)


@given(st.text(max_size=12), st.text(max_size=12))
def test_matching_never_fails(key: str, image: str) -> None:
    assert matches(key, image) in (True, False)
    keyring_key(key)
