"""What a FakeRegistry can be told to do wrong, and how it asks who is there."""

from __future__ import annotations

import base64
import re
import threading
from collections.abc import Mapping
from typing import Literal
from urllib.parse import parse_qs

import msgspec

from pullet.base.values import State


class Fault(State, kw_only=True):
    """Applies to requests whose method and path match, `times` times (None: always)."""

    method: str = ""  # empty: any
    path: str = ""  # regular expression, searched in the path
    times: int | None = None
    status: int = 0  # answer with this status and `body`
    body: bytes = b""
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)  # more of them, whatever the answer
    redirect_to: str = ""  # scheme://host[:port]: the path stays
    is_silent: bool = False  # read the request, close without an answer
    delay_seconds: float = 0.0  # before the answer
    cut_after: int | None = None  # body bytes, then the connection is closed
    bytes_per_second: float = 0.0  # slow drip of the body, one byte at a time
    is_corrupt: bool = False  # the last byte of the body is another
    content_length: int | None = None  # a lie
    without_headers: tuple[str, ...] = ()  # left out of the answer
    ignores_range: bool = False
    hits: int = 0  # so far

    def applies(self, method: str, path: str) -> bool:
        """Whether it is this request's turn; counts."""
        if self.times == 0 or (self.method and self.method != method) or not re.search(self.path, path):
            return False
        if self.times is not None:
            self.times -= 1
        self.hits += 1
        return True


class FakeAuth(State, kw_only=True):
    """Basic or Bearer. Tokens are good for `token_seconds` as told, and until `revoke_tokens`."""

    scheme: Literal["basic", "bearer"]
    users: Mapping[str, str] = msgspec.field(default_factory=dict)
    identity_tokens: frozenset[str] = frozenset()
    allows_anonymous: bool = False  # anonymous tokens may pull; of no meaning with basic
    token_seconds: float = 300.0
    realm: str = ""  # default: /token of the registry itself
    token_requests: list[str] = msgspec.field(default_factory=list)  # method and scope of each
    _tokens: set[str] = msgspec.field(default_factory=set)
    _issued: int = 0
    _lock: threading.Lock = msgspec.field(default_factory=threading.Lock)

    def revoke_tokens(self) -> None:
        """No token issued so far is accepted any more."""
        with self._lock:
            self._tokens.clear()

    def challenge(self, base: str, repository: str) -> str:
        """The WWW-Authenticate header."""
        if self.scheme == "basic":
            return 'Basic realm="fake"'
        realm = self.realm or f"{base}/token"
        return f'Bearer realm="{realm}",service="fake",scope="repository:{repository}:pull"'

    def admits(self, authorization: str) -> bool:
        """Whether a request with this header may pass."""
        if self.scheme == "basic":
            return self._user_of(authorization) is not None
        with self._lock:
            return authorization.removeprefix("Bearer ") in self._tokens

    def issue(self, method: str, query: str, body: bytes, authorization: str) -> str | None:
        """A token, or None if whoever asks may have none."""
        form = parse_qs(body.decode() if method == "POST" else query)
        self.token_requests.append(f"{method} {' '.join(form.get('scope', []))}")
        if method == "POST":
            is_known = form.get("refresh_token", [""])[0] in self.identity_tokens
        elif authorization:
            is_known = self._user_of(authorization) is not None
        else:
            is_known = self.allows_anonymous
        if not is_known:
            return None
        with self._lock:
            self._issued += 1
            token = f"token-{self._issued}"
            self._tokens.add(token)
        return token

    def _user_of(self, authorization: str) -> str | None:
        kind, _, encoded = authorization.partition(" ")
        if kind != "Basic":
            return None
        user, _, password = base64.b64decode(encoded).decode().partition(":")
        return user if self.users.get(user) == password and user in self.users else None
