"""A connection taken over from HTTP: what stands in the ASGI scope of a request that asked for SPDY.

ASGI knows no upgrade but WebSockets. So the server's protocol puts an `UpgradedConnection` into the scope, the
application authenticates and authorizes as for any request, and then either answers (a refusal) or `switch`es.
"""

from __future__ import annotations

import asyncio
import http
import ssl
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from starlette.types import ASGIApp, Message, Scope

EXTENSION: Final = "pullet.upgrade"
SPDY: Final = "SPDY/3.1"
_READ_BYTES: Final = 64 << 10


def upgraded_connection(scope: Scope) -> UpgradedConnection | None:
    """The connection of a request that asked to be upgraded."""
    found = (scope.get("extensions") or {}).get(EXTENSION)
    return found if isinstance(found, UpgradedConnection) else None


class UpgradedConnection:
    """The transport of one request; a `ByteTransport` once switched."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._reader = asyncio.StreamReader(limit=_READ_BYTES, loop=loop)
        protocol = asyncio.StreamReaderProtocol(self._reader, loop=loop)
        protocol.connection_made(transport)
        transport.set_protocol(protocol)
        self._writer = asyncio.StreamWriter(transport, protocol, self._reader, loop)

    async def serve(self, app: ASGIApp, scope: Scope) -> None:
        """Let the application answer, then close."""
        try:
            await app({**scope, "extensions": {EXTENSION: self}}, self._receive, self._send)
        finally:
            self._writer.close()
            with suppress(OSError, ssl.SSLError):
                await self._writer.wait_closed()

    async def switch(self, headers: Mapping[str, str]) -> None:
        """Tell the client that the connection speaks SPDY from now on. OSError: it is gone."""
        lines = [f"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {SPDY}\r\n"]
        lines += [f"{name}: {value}\r\n" for name, value in headers.items()]
        await self.write("".join([*lines, "\r\n"]).encode("latin-1"))

    async def read(self) -> bytes:
        """See ByteTransport."""
        return await self._reader.read(_READ_BYTES)

    async def write(self, data: bytes) -> None:
        """See ByteTransport."""
        self._writer.write(data)
        await self._writer.drain()

    @staticmethod
    async def _receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            status = http.HTTPStatus(message["status"])
            head = f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode()
            for name, value in message.get("headers", ()):
                head += name + b": " + value + b"\r\n"
            self._writer.write(head + b"Connection: close\r\n\r\n")
        else:
            with suppress(OSError):
                await self.write(message.get("body", b""))
