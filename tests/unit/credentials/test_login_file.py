"""Logins in a node's own config.json: what changes, what stays, who may read it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pullet.base.errors import UsageError
from pullet.base.redact import Secret
from pullet.credentials.docker_config import parse_docker_config
from pullet.credentials.login_file import (
    LoginAddress,
    LoginFileInvalidError,
    parse_login_address,
    remove_login,
    save_login,
)


@pytest.mark.parametrize(
    ("registry", "address"),
    [
        ("registry.example.com", LoginAddress("registry.example.com", "registry.example.com")),
        ("https://registry.example.com/", LoginAddress("registry.example.com", "registry.example.com")),
        ("registry.example.com:5000/team", LoginAddress("registry.example.com:5000", "registry.example.com:5000/team")),
        ("localhost:5000", LoginAddress("localhost:5000", "localhost:5000")),
        ("docker.io", LoginAddress("docker.io", "https://index.docker.io/v1/")),
        ("https://index.docker.io/v1/", LoginAddress("docker.io", "https://index.docker.io/v1/")),
    ],
)
def test_an_address_may_be_written_in_several_ways(registry: str, address: LoginAddress) -> None:
    assert parse_login_address(registry) == address


@pytest.mark.parametrize("registry", ["not a host", "/path", "host:port"])
def test_what_is_no_address_is_refused(registry: str) -> None:
    with pytest.raises(UsageError, match="is not a registry's address"):
        parse_login_address(registry)


def test_a_login_is_readable_for_the_owner_alone_and_by_the_keyring(tmp_path: Path) -> None:
    path = save_login(tmp_path / "node", "r.example.com", username="bo", password=Secret("s:cret"))
    assert path.stat().st_mode & 0o777 == 0o600
    entry = parse_docker_config(path.read_bytes()).entries["r.example.com"]
    assert (entry.username, entry.password.reveal()) == ("bo", "s:cret")


def test_a_second_login_replaces_the_first_and_leaves_the_rest(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        json.dumps({"auths": {"https://r.io": {"auth": "b2xkOm9sZA=="}, "q.io": {"auth": "cTpx"}}, "credsStore": "x"})
    )
    save_login(tmp_path, "r.io", username="new", password=Secret("new"))
    config = json.loads((tmp_path / "config.json").read_text())
    assert config == {"auths": {"q.io": {"auth": "cTpx"}, "r.io": {"auth": "bmV3Om5ldw=="}}, "credsStore": "x"}


def test_logout_takes_one_login_away_and_says_whether_there_was_one(tmp_path: Path) -> None:
    save_login(tmp_path, "r.io", username="a", password=Secret("a"))
    save_login(tmp_path, "q.io", username="b", password=Secret("b"))
    assert remove_login(tmp_path, "r.io")
    assert not remove_login(tmp_path, "r.io")
    assert list(parse_docker_config((tmp_path / "config.json").read_bytes()).entries) == ["q.io"]


@pytest.mark.parametrize("text", ["{", "[]", '{"auths": 1}'])
def test_a_file_that_is_no_config_is_left_as_it_is(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(LoginFileInvalidError, match=r"config\.json"):
        save_login(tmp_path, "r.io", username="a", password=Secret("geheim"))
    assert (tmp_path / "config.json").read_text() == text
