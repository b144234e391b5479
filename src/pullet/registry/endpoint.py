"""One place to ask for images, and how to talk to it."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from pullet.base.values import Value
from pullet.registry.errors import HostsConfigError

DOCKER_HUB: Final = "docker.io"
DOCKER_HUB_HOST: Final = "registry-1.docker.io"
PULL: Final = "pull"
RESOLVE: Final = "resolve"
PUSH: Final = "push"
ALL_CAPABILITIES: Final = frozenset({PULL, RESOLVE, PUSH})
DIAL_TIMEOUT_SECONDS: Final = 30.0  # Source: containerd core/remotes/docker/config/hosts.go


class TlsSettings(Value, kw_only=True):
    """How to check a server and show who we are. Empty `ca_files` means the system's CAs alone."""

    ca_files: tuple[Path, ...] = ()
    client_pairs: tuple[tuple[Path, Path], ...] = ()  # certificate and key; one file may hold both
    skip_verify: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """`base` is scheme://host[:port]/path, where path is the API's root, normally /v2."""

    base: str
    namespace: str = ""  # sent as ?ns= to every host but the one in the name
    is_mirror: bool = False  # stands in for the registry, with logins of its own
    capabilities: frozenset[str] = ALL_CAPABILITIES
    tls: TlsSettings = field(default=TlsSettings())
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)  # may hold a credential of the endpoint's own
    dial_timeout_seconds: float = DIAL_TIMEOUT_SECONDS

    @property
    def host(self) -> str:
        """Host with port, as in the URL."""
        return urlsplit(self.base).netloc

    @property
    def has_own_credential(self) -> bool:
        """Whether its configured headers say who asks, so that nobody else's credential is shown to it."""
        return any(name.lower() == "authorization" for name, _ in self.headers)

    def header_fields(self) -> dict[str, str]:
        """The configured headers, several values of one joined."""
        fields: dict[str, str] = {}
        for name, value in self.headers:
            fields[name] = f"{fields[name]}, {value}" if name in fields else value
        return fields

    def url(self, path: str) -> str:
        """The URL of a /v2/... path."""
        query = f"{'&' if '?' in path else '?'}ns={self.namespace}" if self.namespace else ""
        return f"{self.base}{path.removeprefix('/v2')}{query}"


def registry_host(domain: str) -> str:
    """The host that serves a domain's references: Docker Hub's differs from its name."""
    return DOCKER_HUB_HOST if domain == DOCKER_HUB else domain


def default_endpoint(domain: str) -> Endpoint:
    """The registry itself: https, but plain http on loopback hosts unless the port is 443."""
    host = registry_host(domain)
    scheme = "http" if is_loopback(host) and urlsplit(f"//{host}").port != 443 else "https"
    return Endpoint(base=f"{scheme}://{host}/v2")


def is_loopback(host: str) -> bool:
    """Whether `host[:port]` is this machine: localhost, 127.0.0.0/8 or ::1."""
    name = urlsplit(f"//{host}").hostname or ""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def api_base(url: str, *, override_path: bool = False, where: str = "mirror") -> str:
    """The API's root for a configured URL: `/v2` is appended unless it is there or `override_path` forbids it.

    Raises:
        HostsConfigError: no http(s) URL with a host; the text begins with `where`.
    """
    text = url if "://" in url else f"https://{url}"
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.netloc or parts.query or parts.fragment:
        raise HostsConfigError(f"{where}: {url!r} is not an http or https URL of a registry")
    path = parts.path.rstrip("/")
    if not override_path and not path.endswith("/v2"):
        path = f"{path}/v2"
    return f"{parts.scheme}://{parts.netloc}{path}"
