"""HTTP and WebSocket connections from the API server to a node's own server, with the API server's certificate.

Streams are handed through as they come, without a buffer of their own beyond one read.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

import httptools
import msgspec
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from pullet.base.errors import PulletError
from pullet.base.values import State, Value

READ_BYTES = 64 * 1024
_CONNECT_SECONDS = 10


class NodeUnreachableError(PulletError):
    """The node's server cannot be talked to."""

    reason = "NodeUnreachable"
    retryable = True


class NodeAddress(Value):
    """Where a node's server listens, and how it is trusted. No `tls`: plain HTTP."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None

    @property
    def url(self) -> str:
        """For messages."""
        return f"{'https' if self.tls else 'http'}://{self.host}:{self.port}"

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection.

        Raises:
            NodeUnreachableError: refused, not in time, or not trusted.
        """
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                return await asyncio.open_connection(self.host, self.port, ssl=self.tls, limit=READ_BYTES)
        except (OSError, TimeoutError) as error:
            raise NodeUnreachableError(f"dial tcp {self.host}:{self.port}: {str(error) or 'i/o timeout'}") from error


class _Parsed(State):
    """What httptools tells while it reads."""

    headers: dict[str, str] = msgspec.field(default_factory=dict)
    body: list[bytes] = msgspec.field(default_factory=list)
    has_headers: bool = False
    is_complete: bool = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.has_headers = True

    def on_body(self, body: bytes) -> None:
        self.body.append(body)

    def on_message_complete(self) -> None:
        self.is_complete = True


class NodeResponse:
    """An answer whose body is still arriving. Close it, or read it to the end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._parsed = _Parsed()
        self._parser = httptools.HttpResponseParser(self._parsed)
        self.status = 0

    @property
    def content_type(self) -> str:
        """The header."""
        return self._parsed.headers.get("content-type", "text/plain")

    async def read_head(self) -> None:
        """Read up to the end of the headers."""
        while not self._parsed.has_headers:
            if not await self._feed():
                raise NodeUnreachableError("the node closed the connection before it answered")
        self.status = self._parser.get_status_code()

    async def _feed(self) -> bool:
        data = await self._reader.read(READ_BYTES)
        if data:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserError as error:
                raise NodeUnreachableError(f"the node's answer is not HTTP: {error}") from error
        return bool(data)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes."""
        try:
            while True:
                while self._parsed.body:
                    yield self._parsed.body.pop(0)
                if self._parsed.is_complete or not await self._feed():
                    break
            while self._parsed.body:
                yield self._parsed.body.pop(0)
        finally:
            await self.close()

    async def text(self, limit: int = 64 * 1024) -> str:
        """The body as text, as far as `limit`."""
        body = b""
        async for chunk in self.chunks():
            body += chunk
            if len(body) >= limit:
                break
        return body[:limit].decode(errors="replace")

    async def close(self) -> None:
        """Drop the connection."""
        self._writer.close()
        with suppress(OSError, ssl.SSLError):
            await self._writer.wait_closed()


async def node_get(address: NodeAddress, target: str) -> NodeResponse:
    """GET `target` (path and query) from a node.

    Raises:
        NodeUnreachableError: no answer.
    """
    reader, writer = await address.connect()
    response = NodeResponse(reader, writer)
    try:
        head = f"GET {target} HTTP/1.1\r\nHost: {address.host}:{address.port}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode("latin-1"))
        await writer.drain()
        await response.read_head()
    except OSError as error:
        await response.close()
        raise NodeUnreachableError(str(error)) from error
    except BaseException:
        await response.close()
        raise
    return response


class NodeRefusedError(PulletError):
    """The node answered a WebSocket request with something else; `status` and text say what."""

    reason = "NodeRefused"

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class NodeSocket:
    """A WebSocket to a node. `receive` gives None at its end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._connection = WSConnection(ConnectionType.CLIENT)
        self._partial = bytearray()
        self._ready: list[bytes] = []
        self._is_ended = False
        self.subprotocol = ""
        self.close_reason = ""
        self.failure = ""  # of a port: in full, where a close reason would be too short

    @classmethod
    async def open(cls, address: NodeAddress, target: str, subprotocols: Sequence[str]) -> NodeSocket:
        """Connect and shake hands.

        Raises:
            NodeUnreachableError: no connection. NodeRefusedError: an answer that is no WebSocket.
        """
        reader, writer = await address.connect()
        made = cls(reader, writer)
        try:
            host = f"{address.host}:{address.port}"
            made._write(Request(host=host, target=target, subprotocols=list(subprotocols)))
            await made._shake_hands()
        except BaseException:
            await made.close()
            raise
        return made

    async def _shake_hands(self) -> None:
        status, body = 0, b""
        while True:
            data = await self._reader.read(READ_BYTES)
            if not data:
                raise NodeRefusedError("the node closed the connection", status=status or 500)
            try:
                self._connection.receive_data(data)
                events = list(self._connection.events())
            except RemoteProtocolError as error:
                raise NodeRefusedError(f"not a WebSocket: {error}", status=500) from error
            for position, event in enumerate(events):
                match event:
                    case AcceptConnection():
                        self.subprotocol = event.subprotocol or ""
                        for early in events[position + 1 :]:
                            self._take(early)
                        return
                    case RejectConnection():
                        status = event.status_code
                        if not event.has_body:
                            raise NodeRefusedError(f"the node answered {status}", status=status)
                    case RejectData():
                        body += event.data
                        if event.body_finished:
                            raise NodeRefusedError(body.decode(errors="replace").strip(), status=status)
                    case _:
                        pass

    def _write(self, event: Event) -> None:
        with suppress(LocalProtocolError):
            self._writer.write(self._connection.send(event))

    async def send(self, message: bytes) -> None:
        """Send one binary message, waiting while the node reads slowly."""
        if not self._writer.is_closing():
            self._write(BytesMessage(data=message))
            await self._writer.drain()

    async def receive(self) -> bytes | None:
        """The next message, or None when the node is done."""
        while not self._ready and not self._is_ended:
            data = await self._reader.read(READ_BYTES)
            try:
                self._connection.receive_data(data or None)
                for event in self._connection.events():
                    self._take(event)
            except RemoteProtocolError:
                self._is_ended = True
            self._is_ended = self._is_ended or not data
        return self._ready.pop(0) if self._ready else None

    def _take(self, event: Event) -> None:
        match event:
            case TextMessage():
                self.failure += event.data
            case BytesMessage():
                self._partial += event.data
                if event.message_finished:
                    self._ready.append(bytes(self._partial))
                    self._partial.clear()
            case Ping():
                self._write(event.response())
            case CloseConnection():
                self.close_reason = event.reason or ""
                self._write(event.response())
                self._is_ended = True
            case _:
                pass

    def hang_up(self) -> None:
        """Say goodbye and drop the connection without waiting; who reads sees its end, `close` is still due."""
        if not self._is_ended and not self._writer.is_closing():
            self._write(CloseConnection(code=1000))
        self._writer.close()

    async def close(self) -> None:
        """Say goodbye, drop the connection and wait until it is gone. For one task: the wait is lost if cancelled."""
        self.hang_up()
        with suppress(OSError, ssl.SSLError):
            await self._writer.wait_closed()
