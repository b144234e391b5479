from __future__ import annotations

import base64

import pytest

from pullet.base.redact import Secret
from pullet.cri.errors import InvalidArgumentError
from pullet.cri.types import AuthConfig
from pullet.engine.credential import to_credential
from pullet.registry.auth import Credential

ALICE = Credential(username="alice", password=Secret("s3:cret"))


def encoded(text: str) -> Secret:
    return Secret(base64.b64encode(text.encode()).decode())


@pytest.mark.parametrize(
    ("auth", "credential"),
    [
        (None, None),
        (AuthConfig(), None),
        (AuthConfig(username="alice", password=Secret("s3:cret")), ALICE),
        (AuthConfig(auth=encoded("alice:s3:cret")), ALICE),
        (AuthConfig(auth=encoded("alice:s3:cret\0")), ALICE),
        (AuthConfig(identity_token=Secret("refresh")), Credential(identity_token=Secret("refresh"))),
        (AuthConfig(registry_token=Secret("token")), Credential(registry_token=Secret("token"))),
    ],
)
def test_forms(auth: AuthConfig | None, credential: Credential | None) -> None:
    assert to_credential(auth, "registry.example.com") == credential


@pytest.mark.parametrize(
    ("server", "domain", "is_for_it"),
    [
        ("registry.example.com", "registry.example.com", True),
        ("https://registry.example.com", "registry.example.com", True),
        ("https://registry.example.com/v2/", "registry.example.com", True),
        ("https://other.example.com", "registry.example.com", False),
        ("https://index.docker.io/v1/", "docker.io", True),
        ("https://registry-1.docker.io", "docker.io", True),
        ("https://index.docker.io/v1/", "registry.example.com", False),
    ],
)
def test_a_credential_for_another_server_is_none(server: str, domain: str, is_for_it: bool) -> None:
    auth = AuthConfig(username="alice", password=Secret("s3:cret"), server_address=server)
    assert to_credential(auth, domain) == (ALICE if is_for_it else None)


@pytest.mark.parametrize("auth", [AuthConfig(password=Secret("x")), AuthConfig(auth=Secret("%%%"))])
def test_unusable(auth: AuthConfig) -> None:
    with pytest.raises(InvalidArgumentError, match="invalid auth config"):
        to_credential(auth, "docker.io")


def test_fingerprints_tell_credentials_apart_without_telling_them() -> None:
    variants = [
        ALICE,
        Credential(username="alice"),
        Credential(username="alice", password=Secret("other")),
        Credential(identity_token=Secret("alice")),
        Credential(registry_token=Secret("alice")),
    ]
    assert len({one.fingerprint for one in variants}) == len(variants)
    assert ALICE.fingerprint == Credential(username="alice", password=Secret("s3:cret")).fingerprint
    assert "s3:cret" not in repr(ALICE) + ALICE.fingerprint
