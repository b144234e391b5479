"""Docker config files: registry address → user name and password, in both of their forms.

Rules of decoding are the kubelet's (kubelet-images spec 9.1): `auth` outweighs user name and password, and one bad
entry fails the whole file. Messages never quote what was being decoded.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from pullet.base.decodable import decodable
from pullet.base.errors import PulletError
from pullet.base.redact import Secret
from pullet.base.values import Value
from pullet.credentials.node_config_paths import CONFIG_JSON, DOCKERCFG
from pullet.cri.types import AuthConfig


class DockerConfigInvalidError(PulletError):
    """A Docker config cannot be read. `where` names the file or secret."""

    reason: ClassVar[str] = "DockerConfigInvalid"

    def __init__(self, problem: str, *, where: str = "") -> None:
        super().__init__(f"{where}: {problem}" if where else problem)
        self.problem, self.where = problem, where


class DockerConfigEntry(Value):
    """What a config knows about one registry. All empty when a credential helper keeps the login."""

    username: str = ""
    password: Secret = msgspec.field(default=Secret(""))
    email: str = ""
    identity_token: Secret = msgspec.field(default=Secret(""))

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to log in with."""
        return not (self.username or self.password or self.identity_token)

    def to_auth_config(self) -> AuthConfig:
        """The credential as CRI takes it; the e-mail address is not forwarded."""
        return AuthConfig(username=self.username, password=self.password, identity_token=self.identity_token)


class DockerConfig(Value):
    """A decoded config: entries by address in file order, and the helpers that keep further logins."""

    entries: Mapping[str, DockerConfigEntry] = msgspec.field(default_factory=dict)
    cred_helpers: Mapping[str, str] = msgspec.field(default_factory=dict)
    creds_store: str = ""


class _EntryJSON(msgspec.Struct, frozen=True):
    username: str | None = None
    password: str | None = None
    email: str | None = None
    auth: str | None = None
    identitytoken: str | None = None


class _ConfigJSON(msgspec.Struct, frozen=True, rename="camel"):
    auths: dict[str, _EntryJSON | None] | None = None
    cred_helpers: dict[str, str] | None = None
    creds_store: str | None = None


def parse_docker_config(data: bytes, *, where: str = "") -> DockerConfig:
    """The newer form: an object with `auths`.

    Raises:
        DockerConfigInvalidError: not JSON, a wrong type, or an `auth` that does not decode.
    """
    raw = _decode(data, _ConfigJSON, where)
    assert isinstance(raw, _ConfigJSON)
    return DockerConfig(_entries(raw.auths or {}, where), raw.cred_helpers or {}, raw.creds_store or "")


def parse_dockercfg(data: bytes, *, where: str = "") -> DockerConfig:
    """The legacy form: the map of addresses itself.

    Raises:
        DockerConfigInvalidError: as `parse_docker_config`.
    """
    return DockerConfig(_entries(_decode(data, dict[str, _EntryJSON | None], where), where))


def _decode(data: bytes, form: Any, where: str) -> Any:
    try:
        return msgspec.json.decode(data, type=decodable(form))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DockerConfigInvalidError(f"error occurred while trying to unmarshal json: {error}", where=where) from None


def _entries(raw: Mapping[str, _EntryJSON | None], where: str) -> dict[str, DockerConfigEntry]:
    entries: dict[str, DockerConfigEntry] = {}
    for address, entry in raw.items():
        try:
            entries[address] = _entry(entry or _EntryJSON())
        except DockerConfigInvalidError as error:
            raise DockerConfigInvalidError(error.problem, where=f"{where or 'Docker config'}: {address}") from None
    return entries


def _entry(raw: _EntryJSON) -> DockerConfigEntry:
    username, password = raw.username or "", raw.password or ""
    if raw.auth:
        username, password = decode_auth_field(raw.auth)
    return DockerConfigEntry(username, Secret(password), raw.email or "", Secret(raw.identitytoken or ""))


def decode_auth_field(field_text: str) -> tuple[str, str]:
    """User name and password of an `auth` field, split at the first colon.

    Raises:
        DockerConfigInvalidError: not base64 (padded when the trimmed field ends with `=`, else unpadded); no colon.
    """
    decoded = _decode_base64(field_text, is_padded=field_text.strip().endswith("="))
    username, colon, password = decoded.decode(errors="replace").partition(":")
    if not colon:
        raise DockerConfigInvalidError("unable to parse auth field, must be formatted as base64(username:password)")
    return username, password


_ALPHABET = re.compile(r"[A-Za-z0-9+/]*")


def _decode_base64(text: str, *, is_padded: bool) -> bytes:
    """Base64 as Go decodes it: CR and LF are ignored, anything else that is stray is refused at its position."""
    plain = text.replace("\r", "").replace("\n", "")
    match = _ALPHABET.match(plain)
    body = match[0] if match else ""
    rest = plain[len(body) :]
    padding = "=" * (-len(body) % 4) if is_padded else ""
    if rest != padding or len(body) % 4 == 1:
        raise DockerConfigInvalidError(f"illegal base64 data at input byte {len(body)}")
    return base64.b64decode(body + "=" * (-len(body) % 4))


def find_node_config(*, config_json_dirs: Sequence[Path], dockercfg_dirs: Sequence[Path]) -> DockerConfig:
    """The first file that can be read and parsed: every config.json first, then every .dockercfg. Blocking.

    None found, or none readable: an empty config. Source: kubelet-images spec 9.1.
    """
    for directories, name, parse in (
        (config_json_dirs, CONFIG_JSON, parse_docker_config),
        (dockercfg_dirs, DOCKERCFG, parse_dockercfg),
    ):
        for directory in directories:
            path = directory / name
            try:
                return parse(path.read_bytes(), where=str(path))
            except (OSError, DockerConfigInvalidError):
                continue
    return DockerConfig()
