"""Where a connection is to lead, and how its failures are worded."""

from __future__ import annotations

import os
import ssl
from urllib.parse import urlsplit

from pullet.base.values import Value
from pullet.registry.endpoint import TlsSettings
from pullet.registry.errors import RegistryUnavailableError
from pullet.registry.proxies import Proxy


class DialTarget(Value, kw_only=True):
    """Where to connect, and the request it is for (named in errors)."""

    scheme: str
    host: str  # with port if given
    tls: TlsSettings
    method: str
    url: str
    timeout_seconds: float
    proxy: Proxy | None = None

    @property
    def name(self) -> str:
        """The host without port and brackets."""
        return urlsplit(f"//{self.host}").hostname or ""

    @property
    def port(self) -> int:
        """The port, or the scheme's own."""
        return urlsplit(f"//{self.host}").port or (443 if self.scheme == "https" else 80)

    def unavailable(
        self, detail: str, kind: type[RegistryUnavailableError] = RegistryUnavailableError
    ) -> RegistryUnavailableError:
        """The error for this target."""
        return kind(host=self.host, method=self.method, url=self.url, detail=detail)


def os_text(error: BaseException) -> str:
    """An OSError in the words of Go: `connection refused`, without Python's number and path."""
    if isinstance(error, ssl.SSLError):
        return f"tls: {error.reason or error}"
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno).lower()
    return str(error) or type(error).__name__
