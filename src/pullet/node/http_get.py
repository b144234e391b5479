"""One GET to a pod, for probes and hooks: redirects followed on the same host, certificates not checked, body capped.

Source: kubernetes pkg/probe/http/{http,request}.go.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, Self
from urllib.parse import urljoin, urlsplit

import msgspec

from pullet.base.errors import PulletError
from pullet.base.values import Value
from pullet.kube.container import HTTPGetActionView

MAX_BODY_BYTES: Final = 10 << 10
MAX_REQUESTS: Final = 10
_REDIRECTS: Final = (301, 302, 303, 307, 308)


class HTTPGetError(PulletError):
    """No usable answer; the text says why in one line."""

    reason = "HTTPGetFailed"


class HTTPTarget(Value, kw_only=True):
    """Where to send a GET, and with which headers. `path` may have a query; `host` has no brackets."""

    host: str
    port: int
    path: str = "/"
    headers: Sequence[tuple[str, str]] = ()
    is_tls: bool = False

    @classmethod
    def of_action(cls, action: HTTPGetActionView, *, port: int, pod_ip: str) -> Self:
        """What a probe or hook means by its `httpGet`, its port resolved to `port`."""
        path = action.path or "/"
        return cls(
            host=action.host or pod_ip,
            port=port,
            path=path if path.startswith("/") else f"/{path}",
            headers=[(header.name, header.value) for header in action.http_headers],
            is_tls=action.scheme == "HTTPS",
        )

    @property
    def url(self) -> str:
        """As Go's HTTP client shows it in its errors."""
        return f"{'https' if self.is_tls else 'http'}://{authority(self.host, self.port)}{self.path}"


class HTTPAnswer(Value):
    """Status code and the beginning of the body."""

    status: int
    body: str
    location: str = ""


def authority(host: str, port: int) -> str:
    """Host and port, as in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def http_get(target: HTTPTarget) -> HTTPAnswer:
    """GET it, following redirects on the same host. Cancelling closes the connection.

    A redirect to another host is the answer, with its status.

    Raises:
        HTTPGetError: refused, cut, not HTTP, or too many redirects.
    """
    current = target
    for _ in range(MAX_REQUESTS):
        answer = await _get(current)
        following = _redirect(current, answer)
        if following is None or following.host != target.host:
            return answer
        current = following
    raise HTTPGetError(f'Get "{current.url}": stopped after {MAX_REQUESTS} redirects')


def _redirect(target: HTTPTarget, answer: HTTPAnswer) -> HTTPTarget | None:
    if answer.status not in _REDIRECTS or not answer.location:
        return None
    parts = urlsplit(urljoin(target.url, answer.location))
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        raise HTTPGetError(f'Get "{target.url}": failed to parse Location header "{answer.location}"') from error
    return msgspec.structs.replace(
        target,
        host=parts.hostname or target.host,
        port=port,
        path=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
        is_tls=parts.scheme == "https",
    )


def _insecure_tls() -> ssl.SSLContext:
    """TLS that does not check who answers, as probes of pods do."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _request(target: HTTPTarget) -> bytes:
    given = {name.lower() for name, _ in target.headers}
    own = (("Host", authority(target.host, target.port)), ("User-Agent", "kube-probe/1.36"), ("Accept", "*/*"))
    headers = [(name, value) for name, value in own if name.lower() not in given] + list(target.headers)
    lines = [f"GET {target.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers if value)]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode("utf-8", "surrogateescape")


async def _get(target: HTTPTarget) -> HTTPAnswer:
    tls = _insecure_tls() if target.is_tls else None
    try:
        reader, writer = await asyncio.open_connection(target.host, target.port, ssl=tls)
    except ssl.SSLError as error:
        raise HTTPGetError(f'Get "{target.url}": {_tls_text(error)}') from error
    except OSError as error:
        raise HTTPGetError(f'Get "{target.url}": {dial_text(target.host, target.port, error)}') from error
    try:
        writer.write(_request(target))
        await writer.drain()
        return await _read_answer(reader, target)
    except (OSError, ValueError) as error:
        raise HTTPGetError(f'Get "{target.url}": {_read_text(error)}') from error
    finally:
        writer.close()
        with suppress(OSError, ssl.SSLError):
            await writer.wait_closed()


async def _read_answer(reader: asyncio.StreamReader, target: HTTPTarget) -> HTTPAnswer:
    status_line = await reader.readline()
    words = status_line.split(None, 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
        shown = status_line.decode("latin-1").strip()
        trouble = f'net/http: HTTP/1.x transport connection broken: malformed HTTP response "{shown}"'
        raise HTTPGetError(f'Get "{target.url}": {trouble if status_line else "EOF"}')
    location = ""
    while line := (await reader.readline()).strip():
        name, _, value = line.partition(b":")
        if name.lower() == b"location":
            location = value.strip().decode("latin-1")
    body = await reader.read(MAX_BODY_BYTES)
    return HTTPAnswer(int(words[1]), body.decode("utf-8", "replace"), location)


def _tls_text(error: ssl.SSLError) -> str:
    if error.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"):
        return "http: server gave HTTP response to HTTPS client"
    return f"tls: {(error.reason or str(error)).lower().replace('_', ' ')}"


def dial_text(host: str, port: int, error: OSError) -> str:
    """Why nobody was reached there, as Go's net package says it."""
    if isinstance(error, socket.gaierror):
        return f"dial tcp: lookup {host}: no such host"
    why = os.strerror(error.errno).lower() if error.errno is not None else str(error)
    return f"dial tcp {authority(host, port)}: connect: {why}"


def _read_text(error: OSError | ValueError) -> str:
    return f"read: {os.strerror(error.errno).lower()}" if isinstance(error, OSError) and error.errno else str(error)
