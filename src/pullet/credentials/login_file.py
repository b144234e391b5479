"""Logins written into a node's own Docker config file, and taken out again.

Only the entry of the registry changes; whatever else the file says (helpers, other logins, unknown keys) stays.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from pullet.base.errors import UsageError
from pullet.base.redact import Secret
from pullet.base.values import Value
from pullet.credentials.node_config_paths import CONFIG_JSON
from pullet.kit.atomic_file import write_atomic
from pullet.policy.credential_match import keyring_key

DOCKER_HUB = "docker.io"
DOCKER_HUB_ADDRESS = "https://index.docker.io/v1/"
_DOCKER_HUB_NAMES = frozenset({"", DOCKER_HUB, "index.docker.io", "registry-1.docker.io"})


class LoginFileInvalidError(UsageError):
    """The node's config file is there and cannot be read as one; it is left as it is."""

    reason: ClassVar[str] = "LoginFileInvalid"


class LoginAddress(Value):
    """`domain` is whom to ask; `key` is the entry in the config file, a path in it included."""

    domain: str
    key: str


def parse_login_address(registry: str) -> LoginAddress:
    """The address a person means by `registry`: host[:port][/path], with or without scheme.

    Raises:
        UsageError: not an address.
    """
    plain = registry.partition("://")[2] if registry.startswith(("http://", "https://")) else registry
    host, _, path = plain.partition("/")
    if host in _DOCKER_HUB_NAMES and not path.replace("v1", "").strip("/"):
        return LoginAddress(DOCKER_HUB, DOCKER_HUB_ADDRESS)
    key = keyring_key(plain)
    if not host or key is None:
        raise UsageError(f"{registry!r} is not a registry's address: write host[:port], e.g. registry.example.com")
    return LoginAddress(host, key)


def save_login(directory: Path, key: str, *, username: str, password: Secret) -> Path:
    """Write the login into the directory's config.json (mode 0600) and give its path. Blocking.

    Raises:
        LoginFileInvalidError: the file that is there is not a Docker config.
    """
    path = directory / CONFIG_JSON
    config = _read(path)
    directory.mkdir(parents=True, exist_ok=True, mode=0o711)
    pair = f"{username}:{password.reveal()}".encode()
    config["auths"] = {**_others(_auths(config, path), key), key: {"auth": base64.b64encode(pair).decode()}}
    _write(path, config)
    return path


def remove_login(directory: Path, key: str) -> bool:
    """Take the login out of the directory's config.json; False when there was none. Blocking. Raises as save_login."""
    path = directory / CONFIG_JSON
    config = _read(path)
    auths = _auths(config, path)
    left = _others(auths, key)
    if len(left) == len(auths):
        return False
    config["auths"] = left
    _write(path, config)
    return True


def _read(path: Path) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise LoginFileInvalidError(f"{path} is not JSON ({error}): correct or remove it") from None
    except OSError as error:
        raise LoginFileInvalidError(f"{path} cannot be read: {error.strerror}") from error
    if not isinstance(value, dict):
        raise LoginFileInvalidError(f"{path} is not a Docker config: it should be an object with `auths`")
    return value


def _auths(config: dict[str, Any], path: Path) -> dict[str, Any]:
    auths = config.get("auths") or {}
    if not isinstance(auths, dict):
        raise LoginFileInvalidError(f"{path} is not a Docker config: `auths` should map addresses to logins")
    return auths


def _others(auths: dict[str, Any], key: str) -> dict[str, Any]:
    """The entries for other registries; one address may be spelled with scheme and without."""
    return {address: entry for address, entry in auths.items() if keyring_key(address) != keyring_key(key)}


def _write(path: Path, config: dict[str, Any]) -> None:
    write_atomic(path, msgspec.json.format(msgspec.json.encode(config), indent=2) + b"\n", mode=0o600)
