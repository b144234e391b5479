"""Which credentials apply to an image, and in which order: the kubelet's keyring rules.

    config key ──► keyring key (scheme and /v1/ /v2/ dropped) ──► index in reverse lexical order
    repository ──► every key that matches, more specific first ──► Docker Hub's old name as last resort

Match: same port text, same number of host labels, each label globs, path is a string prefix.
Source: kubernetes pkg/credentialprovider/keyring.go; kubelet-images spec 9.2, 9.3.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeAlias, TypeVar
from urllib.parse import unquote

from pullet.base.values import Value
from pullet.cri.types import AuthConfig

DEFAULT_REGISTRY_KEY = "index.docker.io"

T = TypeVar("T")


class SecretSource(Value, order=True):
    """The Secret a credential came from."""

    namespace: str
    name: str
    uid: str


class ServiceAccountSource(Value, order=True):
    """The ServiceAccount for whose token a provider gave the credential."""

    namespace: str
    name: str
    uid: str


CredentialSource: TypeAlias = SecretSource | ServiceAccountSource | None  # None: the node's own, for every pod


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedCredential:
    """A credential and where it came from.

    `hash` is the one that pull records keep (spec 9.5); `origin` names the source for people and never holds a
    secret, e.g. `secret shop/registry-login (key registry.example.com)`.
    """

    auth: AuthConfig
    source: CredentialSource = None
    hash: str = field(default="", repr=False)
    origin: str = ""

    @property
    def fingerprint(self) -> str:
        """Twelve hex digits that tell equal credentials from different ones, and nothing else."""
        return hashlib.sha256(f"fingerprint\0{self.hash}".encode()).hexdigest()[:12]


def credential_hash(auth: AuthConfig, *, email: str = "") -> str:
    """The hash by which pull records know a credential: SHA-256 over its compact JSON as Go writes it (spec 9.5)."""
    members = {
        "username": auth.username,
        "password": auth.password.reveal(),
        "auth": auth.auth.reveal(),
        "email": email,
        "serveraddress": auth.server_address,
        "identitytoken": auth.identity_token.reveal(),
        "registrytoken": auth.registry_token.reveal(),
    }
    text = json.dumps(
        {key: value for key, value in members.items() if value}, separators=(",", ":"), ensure_ascii=False
    )
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return hashlib.sha256(text.encode()).hexdigest()


def keyring_key(config_key: str) -> str | None:
    """The keyring key of an entry of a Docker config, or None when the entry cannot be a registry's address."""
    url = config_key if config_key.startswith(("http://", "https://")) else f"https://{config_key}"
    rest = url.partition("://")[2].partition("#")[0].partition("?")[0]
    authority, slash, path = rest.partition("/")
    host = authority.rpartition("@")[2]
    if not _is_host(host) or not _is_text(path):
        return None
    path = unquote(slash + path)
    if path.startswith(("/v1/", "/v2/")):
        path = path[3:]
    return host if path in ("", "/") else host + path


_BAD_HOST = re.compile(r"[\x00-\x20\x7f<>\"\\^`{|}%]")
_PORT = re.compile(r"(:[0-9]*)?")


def _is_host(host: str) -> bool:
    if _BAD_HOST.search(host):
        return False
    if host.startswith("["):
        closing = host.find("]")
        return closing > 0 and _PORT.fullmatch(host[closing + 1 :]) is not None
    colon = host.find(":")
    return colon < 0 or _PORT.fullmatch(host[colon:]) is not None


def _is_text(path: str) -> bool:
    if any(ord(character) < 0x20 or ord(character) == 0x7F for character in path):
        return False
    return re.search(r"%(?![0-9A-Fa-f]{2})", path) is None


def matches(key: str, image: str) -> bool:
    """Whether a keyring key (or a provider's matchImages entry) applies to `image` (domain/path, no tag)."""
    key_host, key_slash, key_path = _without_scheme(key).partition("/")
    image_host, image_slash, image_path = image.partition("/")
    key_labels, key_port = _split_host(key_host)
    image_labels, image_port = _split_host(image_host)
    return (
        key_port == image_port
        and len(key_labels) == len(image_labels)
        and (image_slash + image_path).startswith(key_slash + key_path)
        and all(_glob_matches(glob, label) for glob, label in zip(key_labels, image_labels, strict=True))
    )


def _without_scheme(key: str) -> str:
    return key.partition("://")[2] if key.startswith(("http://", "https://")) else key


def _split_host(host: str) -> tuple[list[str], str]:
    name, colon, port = host.rpartition(":")
    if not colon or (":" in name and not name.endswith("]")):
        return host.split("."), ""
    return name.split("."), port


def _glob_matches(glob: str, label: str) -> bool:
    pattern = _glob_pattern(glob)
    return pattern is not None and re.fullmatch(pattern, label, re.DOTALL) is not None


def _glob_pattern(glob: str) -> str | None:
    """The glob (star, question mark, bracketed ranges, backslash) as a regular expression; None: malformed."""
    parts: list[str] = []
    position = 0
    while position < len(glob):
        character = glob[position]
        position += 1
        match character:
            case "*":
                parts.append("[^/]*")
            case "?":
                parts.append("[^/]")
            case "[":
                closing = glob.find("]", position)
                members = _class_members(glob[position : max(closing, position)].removeprefix("^"))
                if closing < 0 or members is None:
                    return None
                parts.append(f"[{'^' if glob.startswith('^', position) else ''}{members}]")
                position = closing + 1
            case "\\" if position < len(glob):
                parts.append(re.escape(glob[position]))
                position += 1
            case "\\":
                return None
            case _:
                parts.append(re.escape(character))
    return "".join(parts)


def _class_members(body: str) -> str | None:
    """Single characters and ranges of a bracket expression, escaped; None when it is malformed or empty."""
    members: list[str] = []
    position = 0
    while position < len(body):
        low = body[position]
        if low == "-":
            return None
        position += 1
        if not body.startswith("-", position):
            members.append(_escape_member(low))
            continue
        if position + 1 >= len(body) or body[position + 1] < low:
            return None
        members.append(f"{_escape_member(low)}-{_escape_member(body[position + 1])}")
        position += 2
    return "".join(members) or None


def _escape_member(character: str) -> str:
    return f"\\{character}" if not character.isalnum() and character.isascii() else character


class KeyringIndex(Generic[T]):
    """Credentials by keyring key, looked up most specific first. Nothing is de-duplicated."""

    def __init__(self, entries: Iterable[tuple[str, T]] = ()) -> None:
        """Entries are (config key, credential) in the order they were given; unusable keys are left out."""
        self.rejected_keys: list[str] = []
        self._by_key: dict[str, list[T]] = {}
        for config_key, credential in entries:
            key = keyring_key(config_key)
            if key is None:
                self.rejected_keys.append(config_key)
            else:
                self._by_key.setdefault(key, []).append(credential)
        self._index = sorted(self._by_key, reverse=True)

    def lookup(self, repository: str) -> tuple[T, ...]:
        """Every credential for the repository (normalised `domain/path`), in the order they are to be tried."""
        found = [credential for key in self._index if matches(key, repository) for credential in self._by_key[key]]
        if not found and is_default_registry(repository):
            found = self._by_key.get(DEFAULT_REGISTRY_KEY, [])
        return tuple(found)


def is_default_registry(repository: str) -> bool:
    """Whether the repository is Docker Hub's."""
    first, slash, _ = repository.partition("/")
    if not first:
        return False
    return first in ("docker.io", "index.docker.io") or not slash or not any(mark in first for mark in ".:")
