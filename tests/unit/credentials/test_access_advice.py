from __future__ import annotations

import base64
import json

import pytest

from pullet.credentials.access_advice import access_advice, is_refusal, needed_key
from pullet.kube.secret import SecretView, parse_secret

APP = "registry.example.com/team/app"
NEEDS = f"image {APP} needs a pull secret with the key registry.example.com"


def secret(*keys: str, kind: str = "kubernetes.io/dockerconfigjson", text: str | None = None) -> SecretView:
    auths = {"auths": {key: {"username": "anna", "password": "s3cret"} for key in keys}}
    data = (json.dumps(auths) if text is None else text).encode()
    return parse_secret(
        {
            "metadata": {"name": "login", "namespace": "shop", "uid": "1"},
            "type": kind,
            "data": {".dockerconfigjson": base64.b64encode(data).decode()},
        }
    )


def advice(*secrets: SecretView, named: tuple[str, ...] = ("login",), repository: str = APP) -> str:
    text = access_advice(repository, named=named, secrets=secrets)
    assert "s3cret" not in text
    return text


def test_no_secret_at_all() -> None:
    assert advice(named=()) == f"the pod has no imagePullSecrets, nor has its service account: {NEEDS}"


def test_a_secret_that_is_not_there() -> None:
    assert advice() == f"{NEEDS}; secret login does not exist in the pod's namespace"


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        (("quay.io",), "has the key quay.io, none for this image"),
        (("quay.io", "a.io"), "has the keys quay.io, a.io, none for this image"),
        (("registry.example.com",), "has the key registry.example.com, whose login the registry refused"),
        (("*.example.com",), "has the key *.example.com, whose login the registry refused"),
        ((), "has no login: want one under .dockerconfigjson"),
    ],
)
def test_keys(keys: tuple[str, ...], told: str) -> None:
    assert advice(secret(*keys)) == f"{NEEDS}; secret login {told}"


def test_another_type() -> None:
    assert "secret login is of type Opaque, which is not looked at" in advice(secret("a.io", kind="Opaque"))


def test_a_secret_that_cannot_be_read() -> None:
    assert "secret login cannot be read: " in advice(secret(text="{"))


@pytest.mark.parametrize("key", ["https://index.docker.io/v1/", "docker.io", "index.docker.io"])
def test_docker_hub(key: str) -> None:
    assert needed_key("docker.io/library/nginx") == "https://index.docker.io/v1/"
    text = advice(secret(key), repository="docker.io/library/nginx")
    assert text.endswith(f"secret login has the key {key}, whose login the registry refused")


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("unexpected status from HEAD request to https://r/v2/: 401 Unauthorized", True),
        ("pull access denied, repository does not exist or may require authorization", True),
        ("[a, failed to authorize: failed to fetch oauth token]", True),
        ("docker.io/library/nginx:1: not found", False),
        ("", False),
    ],
)
def test_refusals(text: str, refused: bool) -> None:
    assert is_refusal(text) is refused
