"""Docker config files and pull secrets."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pullet.credentials.docker_config import (
    DockerConfig,
    DockerConfigInvalidError,
    decode_auth_field,
    find_node_config,
    parse_docker_config,
    parse_dockercfg,
)
from pullet.credentials.pull_secrets import credentials_from_secrets
from pullet.kube.secret import SecretView, parse_secret
from pullet.policy.credential_match import SecretSource


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def config(**auths: Any) -> bytes:
    return json.dumps({"auths": {name.replace("_", "."): entry for name, entry in auths.items()}}).encode()


def login(data: bytes, address: str = "r.io") -> tuple[str, str]:
    entry = parse_docker_config(data).entries[address]
    return entry.username, entry.password.reveal()


def test_user_and_password() -> None:
    assert login(config(r_io={"username": "u", "password": "p", "email": "e@x"})) == ("u", "p")


def test_auth_outweighs_user_and_password() -> None:
    assert login(config(r_io={"username": "x", "password": "y", "auth": b64("alice:s3cret")})) == ("alice", "s3cret")


@pytest.mark.parametrize(
    ("field", "wanted"),
    [
        (b64("user:pass"), ("user", "pass")),
        (b64("user:pass:word"), ("user", "pass:word")),
        (b64("user:"), ("user", "")),
        (b64("userx:pass").rstrip("="), ("userx", "pass")),
        (b64("a:bb")[:4] + "\r\n" + b64("a:bb")[4:], ("a", "bb")),
        (b64("a:bb") + "\n", ("a", "bb")),
    ],
)
def test_auth_fields(field: str, wanted: tuple[str, str]) -> None:
    assert decode_auth_field(field) == wanted


@pytest.mark.parametrize(
    ("field", "text"),
    [
        (b64("nocolon"), "unable to parse auth field, must be formatted as base64(username:password)"),
        (b64("a:bb") + " ", f"illegal base64 data at input byte {len(b64('a:bb').rstrip('='))}"),
        ("not base64!", "illegal base64 data at input byte 3"),
        (b64("ab:cd") + "=", "illegal base64 data at input byte 7"),
        ("YWJjZ", "illegal base64 data at input byte 5"),
    ],
)
def test_auth_fields_that_do_not_decode(field: str, text: str) -> None:
    with pytest.raises(DockerConfigInvalidError) as caught:
        decode_auth_field(field)
    assert str(caught.value) == text


@given(st.text(st.characters(codec="utf-8", exclude_characters=":"), max_size=20), st.text(max_size=20))
def test_auth_fields_round_trip(username: str, password: str) -> None:
    encoded = base64.b64encode(f"{username}:{password}".encode(errors="replace")).decode()
    wanted = tuple(part.encode(errors="replace").decode() for part in (username, password))
    assert decode_auth_field(encoded) == wanted


def test_one_bad_entry_fails_the_whole_file_and_is_named() -> None:
    data = config(good_io={"username": "u", "password": "p"}, bad_io={"auth": "%%%"})
    with pytest.raises(DockerConfigInvalidError) as caught:
        parse_docker_config(data, where="/root/.docker/config.json")
    assert str(caught.value) == "/root/.docker/config.json: bad.io: illegal base64 data at input byte 0"


def test_other_keys_are_tolerated_and_helpers_read() -> None:
    data = json.dumps(
        {"auths": None, "HttpHeaders": {"a": "b"}, "credsStore": "pass", "credHelpers": {"r.io": "ecr"}, "x": 1}
    ).encode()
    assert parse_docker_config(data) == DockerConfig({}, {"r.io": "ecr"}, "pass")


def test_the_legacy_form_is_the_map_itself() -> None:
    entries = parse_dockercfg(json.dumps({"r.io": {"auth": b64("u:p")}}).encode()).entries
    assert entries["r.io"].username == "u"


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"auths": {"r.io": {"username": 5}}}', b"\xff"])
def test_what_is_no_config_is_refused_without_quoting_it(data: bytes) -> None:
    with pytest.raises(DockerConfigInvalidError, match="error occurred while trying to unmarshal json"):
        parse_docker_config(data)


def test_the_first_file_that_parses_wins(tmp_path: Path) -> None:
    directories = [tmp_path / name for name in ("absent", "broken", "good", "later")]
    for directory in directories[1:]:
        directory.mkdir()
    (directories[1] / "config.json").write_bytes(b"{")
    (directories[2] / "config.json").write_bytes(config(good_io={}))
    (directories[3] / "config.json").write_bytes(config(later_io={}))
    (directories[1] / ".dockercfg").write_bytes(b'{"legacy.io": {}}')
    found = find_node_config(config_json_dirs=directories, dockercfg_dirs=directories)
    assert list(found.entries) == ["good.io"]
    legacy = find_node_config(config_json_dirs=directories[:2], dockercfg_dirs=directories)
    assert list(legacy.entries) == ["legacy.io"]
    assert find_node_config(config_json_dirs=directories[:1], dockercfg_dirs=()) == DockerConfig()


# --- pull secrets ---


def secret(name: str, kind: str, **data: bytes) -> SecretView:
    return parse_secret(
        {
            "metadata": {"name": name, "namespace": "ns", "uid": f"uid-{name}"},
            "type": kind,
            "data": {f".{key}": base64.b64encode(value).decode() for key, value in data.items()},
        }
    )


JSON_TYPE, LEGACY_TYPE = "kubernetes.io/dockerconfigjson", "kubernetes.io/dockercfg"
LOGIN = config(registry_example_com={"auth": b64("alice:s3cret")})


def test_a_secret_gives_tracked_credentials() -> None:
    ((address, credential),) = credentials_from_secrets([secret("right", JSON_TYPE, dockerconfigjson=LOGIN)])
    assert address == "registry.example.com"
    assert credential.source == SecretSource("ns", "right", "uid-right")
    assert credential.hash == "84e602bef66066d26999b4f32a2afb963a80f8384d3cdf9145038d3c3da62d2b"
    assert credential.origin == "secret ns/right (key registry.example.com)"
    assert credential.auth.password.reveal() == "s3cret"


@pytest.mark.parametrize(
    "unusable",
    [
        secret("opaque", "Opaque", dockerconfigjson=LOGIN),
        secret("crossed", LEGACY_TYPE, dockerconfigjson=LOGIN),
        secret("crossed2", JSON_TYPE, dockercfg=b"{}"),
        secret("empty", JSON_TYPE, dockerconfigjson=b""),
        secret("bare", JSON_TYPE),
    ],
    ids=lambda each: each.name,
)
def test_other_secrets_are_passed_over_in_silence(unusable: SecretView) -> None:
    assert credentials_from_secrets([unusable]) == []


def test_secrets_keep_the_order_of_the_spec() -> None:
    legacy = secret("b", LEGACY_TYPE, dockercfg=json.dumps({"r.io": {"auth": b64("u:p")}}).encode())
    found = credentials_from_secrets([legacy, secret("a", JSON_TYPE, dockerconfigjson=LOGIN)])
    assert [each.origin for _, each in found] == ["secret ns/b (key r.io)", "secret ns/a (key registry.example.com)"]


def test_a_malformed_secret_is_named_and_not_quoted() -> None:
    with pytest.raises(DockerConfigInvalidError) as caught:
        credentials_from_secrets([secret("bad", JSON_TYPE, dockerconfigjson=b'{"auths": {"x": {"auth": "planted!"}}}')])
    assert str(caught.value) == "secret ns/bad: .dockerconfigjson: x: illegal base64 data at input byte 7"
