"""HTTP proxies by environment: HTTP_PROXY, HTTPS_PROXY and NO_PROXY, upper or lower case.

A plain http request goes to the proxy with its whole URL; for https a tunnel is asked for with CONNECT. Loopback hosts
are never proxied. NO_PROXY is a list of `*`, `host`, `.domain`, `host:port`, addresses and CIDR ranges; `example.com`
holds for its subdomains as well, `.example.com` for them alone.
Source: golang.org/x/net/http/httpproxy, which containerd and the kubelet use.
"""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import unquote, urlsplit

from pullet.base.redact import Secret, redact_url
from pullet.registry.endpoint import is_loopback
from pullet.registry.errors import HostsConfigError

PROXY_FAILURE: Final = "proxyconnect tcp: "  # how the detail of an error begins that is the proxy's
_NONE: Final = Secret("")


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """An http proxy. `authorization` is the value of a Proxy-Authorization header, empty for none."""

    host: str  # with port if given
    authorization: Secret = _NONE

    @property
    def name(self) -> str:
        """The host without port and brackets."""
        return urlsplit(f"//{self.host}").hostname or ""

    @property
    def port(self) -> int:
        """The port, or http's own."""
        return urlsplit(f"//{self.host}").port or 80


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxySettings:
    """The values of the three variables. Empty ones mean no proxy."""

    http: Secret = _NONE  # may hold a password
    https: Secret = _NONE
    no_proxy: str = ""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """As the variables say; they are checked when a host is asked that needs them."""

        def value(name: str) -> str:
            return environment.get(name) or environment.get(name.lower()) or ""

        return cls(http=Secret(value("HTTP_PROXY")), https=Secret(value("HTTPS_PROXY")), no_proxy=value("NO_PROXY"))

    def proxy_for(self, scheme: str, host: str) -> Proxy | None:
        """The proxy for `host[:port]`; None: connect directly.

        Raises:
            HostsConfigError: the variable's value cannot be used.
        """
        url = self.https if scheme == "https" else self.http
        if not url or is_loopback(host) or self._is_excepted(scheme, host):
            return None
        return _parse(url.reveal(), "HTTPS_PROXY" if scheme == "https" else "HTTP_PROXY")

    def _is_excepted(self, scheme: str, host: str) -> bool:
        parts = urlsplit(f"//{host}")
        name = (parts.hostname or "").rstrip(".")
        port = str(parts.port or (443 if scheme == "https" else 80))
        return any(_matches(rule.strip().lower(), name, port) for rule in self.no_proxy.split(","))


def _matches(rule: str, name: str, port: str) -> bool:
    if rule == "*":
        return True
    try:
        network = ipaddress.ip_network(rule.strip("[]"), strict=False)  # an address is a network of one
    except ValueError:
        network = None
    if network is None and (colon := rule.rpartition(":"))[2].isdigit() and colon[1]:
        if colon[2] != port:
            return False
        return _matches(colon[0], name, port)
    if network is not None:
        try:
            return ipaddress.ip_address(name) in network
        except ValueError:
            return False
    if not rule:
        return False
    rule = rule.removeprefix("*")
    return name.endswith(rule) if rule.startswith(".") else name == rule or name.endswith(f".{rule}")


def _parse(url: str, variable: str) -> Proxy:
    parts = urlsplit(url if "://" in url else f"http://{url}")
    try:
        is_usable = parts.scheme == "http" and bool(parts.hostname) and (parts.port or 80) > 0
    except ValueError:  # a port that is no number
        is_usable = False
    if not is_usable:
        raise HostsConfigError(
            f"{variable}: {redact_url(url)!r} cannot be used as a proxy: want http://[user:password@]host[:port]"
        )
    authorization = ""
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        authorization = f"Basic {base64.b64encode(pair).decode()}"
    return Proxy(host=parts.netloc.rpartition("@")[2], authorization=Secret(authorization))
