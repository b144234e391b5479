"""One GET to a pod, for probes and hooks: no redirects followed, certificates not checked, body capped.

Source: kubernetes pkg/probe/http/http.go (any status from 200 to 399 is success).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from pullet.base.errors import PulletError

MAX_BODY_BYTES = 10 << 10


class HTTPGetError(PulletError):
    """No usable answer; the text says why in one line."""

    reason = "HTTPGetFailed"


@dataclass(frozen=True, slots=True)
class HTTPAnswer:
    """Status code and the beginning of the body."""

    status: int
    body: str


def insecure_tls() -> ssl.SSLContext:
    """TLS that does not check who answers, as probes of pods do."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def http_get(
    host: str, port: int, path: str, *, headers: Mapping[str, str], tls: ssl.SSLContext | None = None
) -> HTTPAnswer:
    """GET `path`. Cancelling closes the connection.

    Raises:
        HTTPGetError: refused, cut, or not HTTP.
    """
    shown = f"[{host}]" if ":" in host else host
    url = f"{'https' if tls else 'http'}://{shown}:{port}{path}"
    names = {name.lower() for name in headers}
    lines = [f"GET {path if path.startswith('/') else '/' + path} HTTP/1.1"]
    if "host" not in names:
        lines.append(f"Host: {shown}:{port}")
    if "user-agent" not in names:
        lines.append("User-Agent: kube-probe/1.36")
    if "accept" not in names:
        lines.append("Accept: */*")
    lines += [f"{name}: {value}" for name, value in headers.items()]
    request = "\r\n".join([*lines, "Connection: close", "", ""]).encode("utf-8", "surrogateescape")
    try:
        reader, writer = await asyncio.open_connection(host, port, ssl=tls)
    except OSError as error:
        raise HTTPGetError(f'Get "{url}": dial tcp {shown}:{port}: {_os_text(error)}') from error
    try:
        writer.write(request)
        await writer.drain()
        status_line = await reader.readline()
        words = status_line.split(None, 2)
        if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
            raise HTTPGetError(f'Get "{url}": EOF' if not status_line else f'Get "{url}": malformed HTTP response')
        while (await reader.readline()).strip():
            pass
        body = await reader.read(MAX_BODY_BYTES)
        return HTTPAnswer(int(words[1]), body.decode("utf-8", "replace"))
    except (OSError, ValueError) as error:
        raise HTTPGetError(f'Get "{url}": {error}') from error
    finally:
        writer.close()
        with suppress(OSError, ssl.SSLError):
            await writer.wait_closed()


def _os_text(error: OSError) -> str:
    return f"connect: {error.strerror.lower()}" if error.strerror else str(error)
