"""Who asks, and the tokens they are given.

A registry answers 401 with challenges. Basic: the user and password go with each request. Bearer: the realm gives a
token for a scope, for the user and password (GET), an identity token (POST), or nobody at all (GET).
What a host asked for is remembered, so that only the first request to it is made without.
Source: distribution docs/content/spec/auth/token.md, oauth.md; containerd core/remotes/docker/authorizer.go.
"""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias
from urllib.parse import urlencode, urlsplit

import msgspec

from pullet.base.decodable import decodable
from pullet.base.jsonvalue import canonical_json
from pullet.base.redact import Secret
from pullet.base.values import Value
from pullet.kit.clock import Clock
from pullet.kit.locks import ThreadKeyedLock
from pullet.oci.distribution import Challenge
from pullet.registry.endpoint import is_loopback
from pullet.registry.errors import RegistryError

NO_SECRET: Final = Secret("")
CLIENT_ID: Final = "pullet"
DEFAULT_TOKEN_SECONDS: Final = 60.0  # Source: token.md, expires_in
RENEW_BEFORE_SECONDS: Final = 10.0
MAX_TOKENS: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """One credential: user and password, or an identity token (refresh token), or a ready registry token."""

    username: str = ""
    password: Secret = NO_SECRET
    identity_token: Secret = NO_SECRET
    registry_token: Secret = NO_SECRET
    origin: str = field(default="", compare=False)  # where it comes from, for people

    @property
    def fingerprint(self) -> str:
        """SHA-256 over all of it: equal credentials and no others have it. Says nothing of the secret itself."""
        parts = [self.username, self.password.reveal(), self.identity_token.reveal(), self.registry_token.reveal()]
        return hashlib.sha256(canonical_json(parts)).hexdigest()

    @property
    def basic_header(self) -> str:
        """The value of an Authorization header; holds the password."""
        pair = f"{self.username}:{self.password.reveal()}".encode()
        return f"Basic {base64.b64encode(pair).decode()}"


class TokenAnswer(msgspec.Struct, frozen=True):
    """What a token server says; `token` and `access_token` are the same thing in its two dialects."""

    token: str = ""
    access_token: str = ""
    expires_in: float | None = None


class TokenRequest(Value, kw_only=True):
    """The one request that gets a token."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


TokenFetcher: TypeAlias = Callable[
    [TokenRequest], bytes
]  # sends it, gives the body of the 200 answer; raises RegistryError


class _Token(Value):
    value: Secret
    expires_at: float  # monotonic


class Authorizer:
    """Gives the Authorization header for a request and learns from challenges. Thread-safe."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._fetching = ThreadKeyedLock()
        self._challenges: dict[tuple[str, str], Challenge] = {}  # (origin, repository) → what it asked for
        self._tokens: dict[tuple[str, str, str, str], _Token] = {}  # (realm, service, scope, fingerprint)

    def header(self, origin: str, repository: str, credential: Credential | None, fetch: TokenFetcher) -> str | None:
        """What to send with a request for `repository` at `origin`, from what is known of it; None: nothing.

        Raises:
            RegistryError: a token had run out and no new one could be had.
        """
        with self._lock:
            challenge = self._challenges.get((origin, repository))
        return None if challenge is None else self._answer(origin, repository, challenge, credential, fetch)

    def learn(
        self,
        origin: str,
        repository: str,
        challenges: Sequence[Challenge],
        credential: Credential | None,
        rejected: str | None,
        fetch: TokenFetcher,
    ) -> str | None:
        """The header for another try after a 401, or None if nothing better can be sent than what was `rejected`.

        Raises:
            RegistryError: the token server could not be reached or refused.
        """
        by_scheme = {challenge.scheme: challenge for challenge in reversed(challenges)}
        challenge = by_scheme.get("bearer") or by_scheme.get("basic")
        if challenge is None:
            return None
        with self._lock:
            if len(self._challenges) >= MAX_TOKENS:
                self._challenges.clear()
            self._challenges[origin, repository] = challenge
            if rejected is not None:
                self._tokens = {key: token for key, token in self._tokens.items() if _bearer(token) != rejected}
        answer = self._answer(origin, repository, challenge, credential, fetch)
        return None if answer == rejected else answer

    def _answer(
        self, origin: str, repository: str, challenge: Challenge, credential: Credential | None, fetch: TokenFetcher
    ) -> str | None:
        if challenge.scheme == "basic":
            return credential.basic_header if credential is not None and credential.username else None
        if credential is not None and credential.registry_token:
            return f"Bearer {credential.registry_token.reveal()}"
        realm = challenge.parameters.get("realm", "")
        service = challenge.parameters.get("service", "")
        scope = _scopes(challenge.parameters.get("scope", ""), repository)
        _check_realm(origin, realm, credential)
        key = (realm, service, scope, credential.fingerprint if credential is not None else "")
        with self._fetching.hold(key):  # one token however many layers start at once
            with self._lock:
                token = self._tokens.get(key)
            if token is None or token.expires_at <= self._clock.monotonic():
                token = self._fetch(origin, token_request(realm, service, scope, credential), fetch)
                with self._lock:
                    if len(self._tokens) >= MAX_TOKENS:
                        self._tokens.clear()
                    self._tokens[key] = token
        return _bearer(token)

    def _fetch(self, origin: str, request: TokenRequest, fetch: TokenFetcher) -> _Token:
        asked_at = self._clock.monotonic()
        host = urlsplit(request.url).netloc
        try:
            answer = msgspec.json.decode(fetch(request), type=decodable(TokenAnswer))
        except msgspec.MsgspecError as error:
            raise RegistryError(f"the token server {host} of {origin} gave no token: {error}", host=host) from error
        value = answer.token or answer.access_token
        if not value:
            raise RegistryError(f"the token server {host} of {origin} gave no token", host=host)
        lasts = DEFAULT_TOKEN_SECONDS if answer.expires_in is None else answer.expires_in
        margin = min(RENEW_BEFORE_SECONDS, lasts / 4)
        return _Token(Secret(value), asked_at + lasts - margin)


def token_request(realm: str, service: str, scope: str, credential: Credential | None) -> TokenRequest:
    """The request for a token: POST with an identity token, otherwise GET, with Basic if there is a password."""
    if credential is not None and credential.identity_token:
        form = {
            "grant_type": "refresh_token",
            "service": service,
            "client_id": CLIENT_ID,
            "scope": scope,
            "refresh_token": credential.identity_token.reveal(),
        }
        content_type = ("Content-Type", "application/x-www-form-urlencoded")
        return TokenRequest(method="POST", url=realm, headers=(content_type,), body=urlencode(form).encode())
    query: list[tuple[str, Any]] = [("service", service)] if service else []
    query += [("scope", part) for part in scope.split()]
    headers: tuple[tuple[str, str], ...] = ()
    if credential is not None and credential.username:
        query.append(("account", credential.username))
        headers = (("Authorization", credential.basic_header),)
    separator = "&" if urlsplit(realm).query else "?"
    return TokenRequest(method="GET", url=f"{realm}{separator}{urlencode(query, safe=':/,')}", headers=headers)


def _scopes(asked: str, repository: str) -> str:
    if not repository:  # a login is about no repository
        return asked
    own = f"repository:{repository}:pull"
    # the registry's own scope is enough when it covers the pull; some ask for none at all on a first 401
    return asked if asked.startswith(f"repository:{repository}:") else " ".join(filter(None, (asked, own)))


def _bearer(token: _Token) -> str:
    return f"Bearer {token.value.reveal()}"


def _check_realm(origin: str, realm: str, credential: Credential | None) -> None:
    parts = urlsplit(realm)
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise RegistryError(f"{origin} names no usable token server: realm is {realm!r}", host=urlsplit(origin).netloc)
    in_clear = parts.scheme == "http" and origin.startswith("https:") and not is_loopback(parts.netloc)
    if in_clear and credential is not None:
        raise RegistryError(
            f"{origin} wants the credential sent to {parts.netloc} without TLS: refused", host=parts.netloc
        )
