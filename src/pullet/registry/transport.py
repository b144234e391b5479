"""One request, whatever it takes: authorization, redirects, trying again, errors decoded.

Rules
1. A request without an answer on a kept connection is sent once more on a new one: the server had closed it.
2. 401 is answered once with what its challenge asks for.
3. Redirects are followed for GET and HEAD; credentials and configured headers stay with the host they are for.
4. 429, 500, 502, 503, 504 and connections lost before the answer are tried again, up to the caller's number of tries,
   after Retry-After or a growing pause; a wish to wait longer than the limit ends the request at once.
5. Every exchange is told to the caller, whatever came of it.
"""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Self
from urllib.parse import urljoin, urlsplit

import msgspec

from pullet import __version__
from pullet.base.redact import redact_url
from pullet.base.values import Value
from pullet.kit.clock import Clock
from pullet.kit.worker_threads import StopFlag, StoppedError
from pullet.oci import distribution
from pullet.registry.auth import Authorizer, Credential, TokenRequest
from pullet.registry.connections import Connections
from pullet.registry.dial_target import DialTarget, os_text
from pullet.registry.endpoint import Endpoint, TlsSettings
from pullet.registry.errors import (
    DeniedError,
    RegistryError,
    RegistryUnavailableError,
    StatusError,
    TlsExpectedError,
    TooManyRequestsError,
    UnauthorizedError,
    UnexpectedStatusError,
)
from pullet.registry.proxies import ProxySettings
from pullet.registry.response import RateLimit, Response
from pullet.registry.settings import RetryLimits

MAX_REDIRECTS: Final = 5
MAX_TOKEN_BYTES: Final = 1024 * 1024
SMALL_BODY_SECONDS: Final = 15.0  # for the whole of a token or an error
TRANSIENT_STATUSES: Final = frozenset({429, 500, 502, 503, 504})
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


class Exchange(Value, kw_only=True):
    """One request and what came of it. `status` 0: no answer, and `error` says why."""

    method: str
    url: str  # without secrets
    status: int
    elapsed_seconds: float  # until the answer's headers
    error: str = ""
    is_authorized: bool = False  # a credential or token was sent
    credential_origin: str = ""  # where that came from, if it says so
    rate_limit: RateLimit | None = None


class Caller(Value, kw_only=True):
    """For whom a request is made: the credential (None is anonymous), how to stop it, who is told.

    `mirror_credentials` are the logins for mirrors, by host with port: none of them is shown to the registry, and the
    registry's credential is shown to no mirror.
    """

    credential: Credential | None = None
    mirror_credentials: Mapping[str, Sequence[Credential]] = msgspec.field(default_factory=dict)
    stop: StopFlag = msgspec.field(default_factory=StopFlag)
    on_exchange: Callable[[Exchange], None] | None = None

    def at(self, endpoint: Endpoint) -> Sequence[Self]:
        """As whom to ask `endpoint`: one or several, to be tried in order."""
        if not endpoint.is_mirror:
            return (self,)
        logins = self.mirror_credentials.get(endpoint.host) or (None,)
        return [msgspec.structs.replace(self, credential=login) for login in logins]


class Request(Value):
    """What is asked of an endpoint."""

    method: str
    path: str  # /v2/...
    repository: str  # without the host
    headers: Mapping[str, str]


DEFAULT_USER_AGENT: Final = f"pullet/{__version__}"


class Transport:
    """Sends requests over kept connections. Blocking and thread-safe."""

    def __init__(
        self,
        *,
        clock: Clock,
        connections: Connections,
        authorizer: Authorizer,
        limits: RetryLimits,
        user_agent: str | None,
        proxies: ProxySettings,
    ) -> None:
        self._clock, self._connections, self._authorizer = clock, connections, authorizer
        self._proxies = proxies
        self._limits, self._user_agent = limits, user_agent

    def send(self, endpoint: Endpoint, request: Request, caller: Caller, *, tries: int | None = None) -> Response:
        """The answer to `request`, with a status below 400; close it.

        Raises:
            StatusError: one of its leaves for a status of 400 or above.
            RegistryUnavailableError: no answer.
            StoppedError: the caller's stop was set.
        """
        allowed = self._limits.tries if tries is None else tries
        for attempt in range(1, allowed + 1):
            try:
                return self._authorized(endpoint, request, caller)
            except (StatusError, RegistryUnavailableError) as error:
                pause = self._pause_before_retry(error, attempt)
                if attempt == allowed or pause is None:
                    raise
                pause_unless_stopped(caller.stop, pause)
        raise AssertionError("at least one try is allowed")

    def fetch_url(self, url: str, caller: Caller, headers: Mapping[str, str]) -> Response:
        """GET an absolute URL outside the registry (a foreign layer's), without credentials. Raises as `send`."""
        response = self._follow(Endpoint(base=url), "GET", url, dict(headers), caller, None)
        return self._checked(response, "GET", url, had_credential=False)

    def _pause_before_retry(self, error: StatusError | RegistryUnavailableError, attempt: int) -> float | None:
        limits = self._limits
        if isinstance(error, RegistryUnavailableError):
            return limits.first_pause_seconds if error.was_cut else None
        if error.status not in TRANSIENT_STATUSES:
            return None
        if error.retry_after_seconds is not None:
            return error.retry_after_seconds if error.retry_after_seconds <= limits.max_retry_after_seconds else None
        pause: float = limits.first_pause_seconds * 2 ** (attempt - 1)
        return min(pause, limits.max_pause_seconds)

    def _authorized(self, endpoint: Endpoint, request: Request, caller: Caller) -> Response:
        url = endpoint.url(request.path)
        if endpoint.has_own_credential:
            response = self._follow(endpoint, request.method, url, dict(request.headers), caller, None)
            return self._checked(response, request.method, url, had_credential=True)

        def fetch(token: TokenRequest) -> bytes:
            return self._fetch_token(endpoint, token, caller)

        known = self._authorizer.header(endpoint.base, request.repository, caller.credential, fetch)
        headers = dict(request.headers)
        had_credential = caller.credential is not None
        response = self._follow(endpoint, request.method, url, headers, caller, known)
        if response.status != 401:
            return self._checked(response, request.method, url, had_credential=had_credential)
        challenges = distribution.parse_www_authenticate(response.header_values("WWW-Authenticate"))
        # read to its end before the token is fetched: nobody holds one connection while waiting for another
        refusal = self._refusal(response, request.method, url, had_credential=had_credential)
        better = self._authorizer.learn(endpoint.base, request.repository, challenges, caller.credential, known, fetch)
        if better is None:
            raise refusal
        response = self._follow(endpoint, request.method, url, headers, caller, better)
        return self._checked(response, request.method, url, had_credential=had_credential)

    def _fetch_token(self, endpoint: Endpoint, token: TokenRequest, caller: Caller) -> bytes:
        place = Endpoint(
            base=token.url, tls=endpoint.tls if urlsplit(token.url).netloc == endpoint.host else TlsSettings()
        )
        headers = dict(token.headers)
        authorization = headers.pop("Authorization", None)
        for attempt in range(1, self._limits.tries + 1):
            try:
                response = self._follow(place, token.method, token.url, headers, caller, authorization, token.body)
                response = self._checked(
                    response, token.method, token.url, had_credential=caller.credential is not None
                )
                with response:
                    return response.read_all(MAX_TOKEN_BYTES, is_late=self._timer())
            except (StatusError, RegistryUnavailableError) as error:
                if isinstance(error, StatusError):
                    error.is_token_request = True
                    error.was_anonymous = authorization is None and not token.body
                pause = self._pause_before_retry(error, attempt)
                if attempt == self._limits.tries or pause is None:
                    raise
                pause_unless_stopped(caller.stop, pause)
        raise AssertionError("at least one try is allowed")

    def _follow(
        self,
        endpoint: Endpoint,
        method: str,
        url: str,
        headers: dict[str, str],
        caller: Caller,
        authorization: str | None,
        body: bytes = b"",
    ) -> Response:
        first = _origin(url)
        for _ in range(MAX_REDIRECTS + 1):
            at_home = _origin(url) == first
            sent = {"User-Agent": self._user_agent or DEFAULT_USER_AGENT, **headers}
            if at_home:
                sent.update(endpoint.header_fields())
                if authorization is not None:
                    sent["Authorization"] = authorization
            place = endpoint if at_home else Endpoint(base=url)
            response = self._exchange(place, method, url, sent, body, caller)
            location = response.header("Location")
            if response.status not in _REDIRECTS or method not in {"GET", "HEAD"} or not location:
                return response
            response.close()
            url = urljoin(url, location)
            if urlsplit(url).scheme not in {"http", "https"}:
                break
        raise RegistryError(
            f"{endpoint.host} redirects {method} {redact_url(url)} too often or to nowhere",
            host=endpoint.host,
            method=method,
            url=url,
        )

    def _exchange(
        self, place: Endpoint, method: str, url: str, headers: dict[str, str], body: bytes, caller: Caller
    ) -> Response:
        parts = urlsplit(url)
        target = DialTarget(
            scheme=parts.scheme,
            host=parts.netloc.rpartition("@")[2],
            tls=place.tls if parts.scheme == "https" else TlsSettings(),
            method=method,
            url=url,
            timeout_seconds=place.dial_timeout_seconds,
            proxy=self._proxies.proxy_for(parts.scheme, parts.netloc.rpartition("@")[2]),
        )
        is_authorized = any(name.lower() == "authorization" for name in headers)
        started = self._clock.monotonic()
        status, failure, rate_limit = 0, "", None
        try:
            response = self._send_once(target, headers, body, caller.stop, fresh=False)
            status, rate_limit = response.status, response.rate_limit
        except RegistryError as error:
            failure = error.detail if isinstance(error, RegistryUnavailableError) else str(error)
            raise
        except StoppedError:
            failure = "stopped"
            raise
        finally:
            if caller.on_exchange is not None:
                caller.on_exchange(
                    Exchange(
                        method=method,
                        url=redact_url(url),
                        status=status,
                        elapsed_seconds=self._clock.monotonic() - started,
                        error=failure,
                        is_authorized=is_authorized,
                        credential_origin=caller.credential.origin if is_authorized and caller.credential else "",
                        rate_limit=rate_limit,
                    )
                )
        return response

    def _send_once(
        self, target: DialTarget, headers: dict[str, str], body: bytes, stop: StopFlag, *, fresh: bool
    ) -> Response:
        connection = self._connections.take(target, stop, fresh=fresh)
        forget = stop.on_stop(connection.abort)
        parts = urlsplit(target.url)
        path = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
        if target.proxy is not None and not target.proxy.is_socks and target.scheme == "http":
            # no tunnel: the proxy wants the whole URL
            path = f"http://{target.host}{path}"
            if target.proxy.authorization:
                headers = {**headers, "Proxy-Authorization": target.proxy.authorization.reveal()}
        try:
            connection.http.request(target.method, path, body=body or None, headers=headers)
            answer = connection.http.getresponse()
        except (OSError, http.client.HTTPException) as error:
            forget()
            self._connections.drop(connection)
            stop.check()
            was_closed = isinstance(error, http.client.RemoteDisconnected | BrokenPipeError | ConnectionResetError)
            if connection.is_reused and was_closed:
                return self._send_once(target, headers, body, stop, fresh=True)
            raise _unanswered(target, error) from error
        except BaseException:
            forget()
            self._connections.drop(connection)
            raise
        return Response(answer, connection, self._connections, target, stop, forget)

    def _timer(self) -> Callable[[], bool]:
        """For small bodies: whether they take too long, however steadily they trickle in."""
        deadline = self._clock.monotonic() + SMALL_BODY_SECONDS
        return lambda: self._clock.monotonic() > deadline

    def _checked(self, response: Response, method: str, url: str, *, had_credential: bool) -> Response:
        if response.status < 400:
            return response
        raise self._refusal(response, method, url, had_credential=had_credential)

    def _refusal(self, response: Response, method: str, url: str, *, had_credential: bool) -> RegistryError:
        """The error that an answer of 400 or above stands for; closes it."""
        with response:
            body = response.read_all(distribution.MAX_ERROR_BODY_BYTES, truncate=True, is_late=self._timer())
        host = urlsplit(url).netloc
        text = body.decode("utf-8", "replace")
        if response.status == 400 and url.startswith("http:") and "HTTPS" in text:
            return TlsExpectedError(
                host=host, method=method, url=url, detail="the server answers: " + text.strip()[:100]
            )
        wish = response.header("Retry-After")
        challenges = distribution.parse_www_authenticate(response.header_values("WWW-Authenticate"))
        kind: type[StatusError] = {401: UnauthorizedError, 403: DeniedError, 429: TooManyRequestsError}.get(
            response.status, UnexpectedStatusError
        )
        error = kind(
            host=host,
            method=method,
            url=url,
            status=response.status,
            messages=distribution.decode_errors(body),
            body=text if response.is_text else "",
            retry_after_seconds=distribution.parse_retry_after(wish, self._clock.now()) if wish else None,
            detail=challenges[0].parameters.get("error", "") if challenges else "",
        )
        error.is_json = "json" in response.header("Content-Type")
        if isinstance(error, UnauthorizedError):
            error.had_credential = had_credential
            error.challenge = challenges[0].scheme if challenges else ""
        return error


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def _unanswered(target: DialTarget, error: Exception) -> RegistryUnavailableError:
    if isinstance(error, TimeoutError):
        return target.unavailable("net/http: timeout awaiting response headers")
    if isinstance(error, http.client.RemoteDisconnected):
        detail = "EOF"
    elif isinstance(error, http.client.BadStatusLine) and str(error).startswith("\x15\x03"):
        return target.unavailable("malformed HTTP response: a TLS alert", TlsExpectedError)
    elif isinstance(error, http.client.HTTPException):
        detail = f"malformed HTTP response: {type(error).__name__}"
    else:
        detail = f"read tcp {target.host}: {os_text(error)}"
    unavailable = target.unavailable(detail)
    unavailable.was_cut = True
    return unavailable


def pause_unless_stopped(stop: StopFlag, seconds: float) -> None:
    """Wait, or raise StoppedError as soon as `stop` is set."""
    stopped = threading.Event()
    forget = stop.on_stop(stopped.set)
    try:
        stopped.wait(seconds)
    finally:
        forget()
    stop.check()
