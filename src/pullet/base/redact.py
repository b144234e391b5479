"""Keeps secrets out of logs and messages."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from pullet.base.values import Value

REDACTED = "***"
_SECRET_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie", "set-cookie", "x-registry-auth"})
_SECRET_QUERY = ("token", "signature", "sig", "password", "secret", "credential", "key")


class Secret(Value):
    """A string that prints as `***`; `reveal()` is the only way to its value."""

    value: str

    def reveal(self) -> str:
        """The secret itself, for the one call that must send it."""
        return self.value

    def __repr__(self) -> str:
        return REDACTED

    def __str__(self) -> str:
        return REDACTED

    def __bool__(self) -> bool:
        return bool(self.value)


def redact_url(url: str) -> str:
    """The URL without user info and without values of query parameters that look like secrets."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    query = urlencode(
        [
            (name, REDACTED if any(word in name.lower() for word in _SECRET_QUERY) else value)
            for name, value in parse_qsl(parts.query, keep_blank_values=True)
        ],
        safe="*:/",
    )
    return urlunsplit((parts.scheme, host, parts.path, query, ""))


def redact_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers with the values of those that carry credentials replaced."""
    return {name: REDACTED if name.lower() in _SECRET_HEADERS else value for name, value in headers.items()}
