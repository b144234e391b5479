"""CRI's AuthConfig as a registry credential."""

from __future__ import annotations

import base64
import binascii
from urllib.parse import urlsplit

from pullet.base.redact import Secret
from pullet.cri.errors import InvalidArgumentError
from pullet.cri.image_types import AuthConfig
from pullet.oci.reference import DEFAULT_DOMAIN
from pullet.registry.auth import Credential
from pullet.registry.endpoint import registry_host


def to_credential(auth: AuthConfig | None, domain: str, *, must_name_server: bool = False) -> Credential | None:
    """The credential for references of `domain`; None when there is none, or it names another server.

    With `must_name_server` also when it names none: who chose it may have had another registry in mind.

    Raises:
        InvalidArgumentError: nothing usable in it.
    Source: containerd internal/cri/server/images/image_pull.go, ParseAuth.
    """
    if auth is None or auth == AuthConfig() or not _is_for(auth.server_address, domain):
        return None
    if must_name_server and not auth.server_address:
        return None
    if auth.registry_token:
        return Credential(registry_token=auth.registry_token)
    if auth.identity_token:
        return Credential(username=auth.username, identity_token=auth.identity_token)
    if auth.username:
        return Credential(username=auth.username, password=auth.password)
    if auth.auth:
        return _decoded(auth.auth.reveal())
    raise InvalidArgumentError("invalid auth config: it has neither user, nor token, nor auth")


def _is_for(server: str, domain: str) -> bool:
    if not server:
        return True
    host = urlsplit(server if "://" in server else f"//{server}").netloc
    names = {domain, registry_host(domain)}
    if domain == DEFAULT_DOMAIN:
        names.add("index.docker.io")
    return host in names


def _decoded(auth: str) -> Credential:
    try:
        text = base64.b64decode(auth, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise InvalidArgumentError("invalid auth config: auth is not base64 of user:password") from error
    username, colon, password = text.partition(":")
    if not colon:
        raise InvalidArgumentError("invalid auth config: auth is not base64 of user:password")
    return Credential(username=username, password=Secret(password.strip("\x00")))
