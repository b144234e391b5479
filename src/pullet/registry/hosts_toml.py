"""Reads containerd's certs.d/<host>/hosts.toml.

Source: containerd docs/hosts.md, core/remotes/docker/config/hosts.go.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from pullet.registry.endpoint import (
    ALL_CAPABILITIES,
    DIAL_TIMEOUT_SECONDS,
    Endpoint,
    TlsSettings,
    api_base,
    default_endpoint,
)
from pullet.registry.errors import HostsConfigError

FILE_NAME: Final = "hosts.toml"
_KEYS: Final = frozenset({"capabilities", "ca", "client", "skip_verify", "header", "override_path", "dial_timeout"})
_DURATION_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_UNIT_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def load_hosts_toml(directories: Sequence[Path], domain: str) -> list[Endpoint] | None:
    """The endpoints that the first matching host directory gives, mirrors first; None if there is none. Blocking.

    Looked at in each directory: `<host>_<port>_`, `<host>:<port>`, `_default`. A host directory without hosts.toml may
    hold `*.crt` (CAs) and `*.cert` with `*.key` (client certificates), as Docker's does.

    Raises:
        HostsConfigError: the file cannot be read or a key in it is wrong; the text names both.
    """
    for directory in directories:
        if not directory.is_dir():  # the usual case, in one look
            continue
        for name in _directory_names(domain):
            host_directory = directory / name
            if not host_directory.is_dir():
                continue
            file = host_directory / FILE_NAME
            if file.is_file():
                return _endpoints(file, domain)
            return [_with_docker_certificates(host_directory, domain)]
    return None


def _directory_names(domain: str) -> list[str]:
    host, colon, port = domain.rpartition(":")
    return [f"{host}_{port}_", domain, "_default"] if colon and port.isdigit() else [domain, "_default"]


def _endpoints(file: Path, domain: str) -> list[Endpoint]:
    try:
        tree = tomllib.loads(file.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise HostsConfigError(f"{file}: {error}") from error
    hosts = tree.pop("host", {})
    server = tree.pop("server", "")
    if not isinstance(hosts, dict) or not isinstance(server, str):
        raise HostsConfigError(f"{file}: `host` must be tables and `server` a URL")
    endpoints = [_endpoint(file, f'host."{url}"', url, table) for url, table in hosts.items()]
    last = _endpoint(file, "server", server or default_endpoint(domain).base, tree)
    return [*endpoints, last]


def _endpoint(file: Path, where: str, url: str, table: Any) -> Endpoint:
    if not isinstance(table, dict):
        raise HostsConfigError(f"{file}: {where} must be a table")
    unknown = sorted(set(table) - _KEYS)
    if unknown:
        raise HostsConfigError(f"{file}: {where}: unknown key {unknown[0]!r}; known are {', '.join(sorted(_KEYS))}")
    reader = _TableReader(file, where, table)
    capabilities = frozenset(reader.strings("capabilities"))
    if not capabilities <= ALL_CAPABILITIES:
        raise reader.wrong("capabilities", 'a list of "pull", "resolve" and "push"')
    return Endpoint(
        base=api_base(url, override_path=reader.flag("override_path"), where=f"{file}: {where}"),
        capabilities=capabilities or ALL_CAPABILITIES,
        tls=TlsSettings(
            ca_files=tuple(file.parent / path for path in reader.strings("ca")),
            client_pairs=reader.client_pairs(),
            skip_verify=reader.flag("skip_verify"),
        ),
        headers=reader.headers(),
        dial_timeout_seconds=reader.seconds("dial_timeout", DIAL_TIMEOUT_SECONDS),
    )


def _with_docker_certificates(directory: Path, domain: str) -> Endpoint:
    pairs = tuple(
        (cert, key) for cert in sorted(directory.glob("*.cert")) if (key := cert.with_suffix(".key")).exists()
    )
    base = default_endpoint(domain)
    authorities = tuple(sorted(directory.glob("*.crt")))
    if authorities or pairs:  # certificates for plain http would be a contradiction
        base = Endpoint(base=base.base.replace("http://", "https://", 1))
    return Endpoint(base=base.base, tls=TlsSettings(ca_files=authorities, client_pairs=pairs))


class _TableReader:
    """Typed reading of one table, with errors that name file, table and key."""

    def __init__(self, file: Path, where: str, table: dict[str, Any]) -> None:
        self._file, self._where, self._table = file, where, table

    def wrong(self, key: str, want: str) -> HostsConfigError:
        return HostsConfigError(f"{self._file}: {self._where}: {key!r} must be {want}, not {self._table[key]!r}")

    def flag(self, key: str) -> bool:
        value = self._table.get(key, False)
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false")
        return value

    def strings(self, key: str) -> tuple[str, ...]:
        value = self._table.get(key, ())
        if isinstance(value, str):
            return (value,)
        if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
            raise self.wrong(key, "a string or a list of strings")
        return tuple(value)

    def seconds(self, key: str, default: float) -> float:
        value = self._table.get(key)
        if value is None:
            return default
        parts = _DURATION_PART.findall(value) if isinstance(value, str) else []
        if not parts or "".join(number + unit for number, unit in parts) != value:
            raise self.wrong(key, 'a duration such as "5s"')
        return sum(float(number) * _UNIT_SECONDS[unit] for number, unit in parts)

    def headers(self) -> tuple[tuple[str, str], ...]:
        table = self._table.get("header", {})
        if not isinstance(table, dict):
            raise self.wrong("header", "a table of strings or lists of strings")
        pairs: list[tuple[str, str]] = []
        for name, value in table.items():
            values = value if isinstance(value, list) else [value]
            if not all(isinstance(item, str) for item in values):
                raise self.wrong("header", "a table of strings or lists of strings")
            pairs += [(name, item) for item in values]
        return tuple(pairs)

    def client_pairs(self) -> tuple[tuple[Path, Path], ...]:
        value = self._table.get("client", [])
        want = 'a path, a list of paths, or a list of ["certificate", "key"] pairs'
        pairs: list[tuple[Path, Path]] = []
        for item in [value] if isinstance(value, str) else value if isinstance(value, list) else [None]:
            match item:
                case str():
                    pairs.append((self._file.parent / item, self._file.parent / item))
                case [str() as certificate]:
                    pairs.append((self._file.parent / certificate, self._file.parent / certificate))
                case [str() as certificate, str() as key]:
                    pairs.append((self._file.parent / certificate, self._file.parent / (key or certificate)))
                case _:
                    raise self.wrong("client", want)
        return tuple(pairs)
