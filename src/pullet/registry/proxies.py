"""Proxies by environment: HTTP_PROXY, HTTPS_PROXY and NO_PROXY, upper or lower case.

Through an http or https proxy a plain http request goes with its whole URL, and for https a tunnel is asked for with
CONNECT; a SOCKS5 proxy makes a connection for either. Loopback hosts are never proxied. NO_PROXY is a list of `*`,
`host`, `.domain`, addresses and CIDR ranges, each but the ranges with `:port` if only that is meant; `example.com`
holds for its subdomains as well, `.example.com` for them alone.
Source: golang.org/x/net/http/httpproxy and net/http, which containerd and the kubelet use.
"""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Mapping
from typing import Final, Self
from urllib.parse import unquote, urlsplit

from pullet.base.redact import Secret, redact_url
from pullet.base.values import Value
from pullet.registry.endpoint import is_loopback
from pullet.registry.errors import HostsConfigError

PROXY_FAILURE: Final = "proxyconnect tcp: "  # how the detail of an error begins that is the proxy's
SOCKS_FAILURE: Final = "socks connect tcp "
_NONE: Final = Secret("")
_PORTS: Final = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
_MAX_SOCKS_LOGIN_BYTES: Final = 255


class Proxy(Value, kw_only=True):
    """A proxy; `scheme` is how it is spoken to. User and password are empty for none."""

    host: str  # with port if given
    scheme: str = "http"  # or https, socks5, socks5h
    user: Secret = _NONE
    password: Secret = _NONE

    @property
    def name(self) -> str:
        """The host without port and brackets."""
        return urlsplit(f"//{self.host}").hostname or ""

    @property
    def port(self) -> int:
        """The port, or the scheme's own."""
        return urlsplit(f"//{self.host}").port or _PORTS[self.scheme]

    @property
    def is_socks(self) -> bool:
        """Whether it makes connections rather than requests."""
        return self.scheme.startswith("socks")

    @property
    def has_login(self) -> bool:
        """Whether its URL says who we are."""
        return bool(self.user or self.password)

    @property
    def authorization(self) -> Secret:
        """The value of a Proxy-Authorization header, empty for none."""
        if not self.has_login:
            return _NONE
        pair = f"{self.user.reveal()}:{self.password.reveal()}".encode()
        return Secret(f"Basic {base64.b64encode(pair).decode()}")


class ProxySettings(Value, kw_only=True):
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
        port = str(parts.port or _PORTS[scheme])
        return any(_matches(rule.strip().lower(), parts.hostname or "", port) for rule in self.no_proxy.split(","))


def _matches(rule: str, name: str, port: str) -> bool:
    if rule == "*":
        return True
    if "/" in rule:
        try:
            return ipaddress.ip_address(name) in ipaddress.ip_network(rule, strict=False)
        except ValueError:
            return False
    domain, wanted_port = _split_port(rule)
    if not domain or wanted_port not in ("", port):
        return False
    try:
        return ipaddress.ip_address(domain) == ipaddress.ip_address(name)
    except ValueError:  # one of them is a name
        domain = domain.removeprefix("*") if domain.startswith("*.") else domain
    return name.endswith(domain) if domain.startswith(".") else name == domain or name.endswith(f".{domain}")


def _split_port(rule: str) -> tuple[str, str]:
    """`host:port`, `[address]:port`; an address with several colons and no brackets has no port."""
    if rule.startswith("["):
        address, _, rest = rule[1:].partition("]")
        return address, rest.removeprefix(":")
    host, colon, port = rule.rpartition(":")
    return (host, port) if colon and ":" not in host else (rule, "")


def _parse(url: str, variable: str) -> Proxy:
    parts = urlsplit(url if "://" in url else f"http://{url}")
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    try:
        is_usable = parts.scheme in _PORTS and bool(parts.hostname) and (parts.port or 80) > 0
    except ValueError:  # a port that is no number
        is_usable = False
    if not is_usable:
        raise HostsConfigError(
            f"{variable}: {redact_url(url)!r} cannot be used as a proxy: "
            "want http://[user:password@]host[:port], or https, socks5 or socks5h instead of http"
        )
    proxy = Proxy(
        host=parts.netloc.rpartition("@")[2], scheme=parts.scheme, user=Secret(user), password=Secret(password)
    )
    if proxy.is_socks and max(len(user.encode()), len(password.encode())) > _MAX_SOCKS_LOGIN_BYTES:
        raise HostsConfigError(f"{variable}: user and password of a SOCKS proxy have at most 255 bytes each")
    return proxy
