"""A SPDY connection as streams that can be read and written; bytes come and go over any `ByteTransport`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final, Protocol

from pullet.apiserver.spdy import GoAway, Ping, SpdyError, SpdyEvent, SpdyFraming, StreamData, StreamOpened, StreamReset

_QUEUED_PIECES: Final = 16
MAX_STREAMS: Final = 1024


class ByteTransport(Protocol):
    """A connection after its upgrade."""

    async def read(self) -> bytes:
        """The next bytes; empty at the end."""
        ...

    async def write(self, data: bytes) -> None:
        """Send, waiting while the other side is behind. OSError: it is gone."""
        ...


class SpdyStream:
    """One stream. Read and write it from one task each."""

    def __init__(self, session: SpdySession, opened: StreamOpened) -> None:
        self._session = session
        self.stream_id = opened.stream_id
        self.headers: Mapping[str, str] = opened.headers
        self._pieces: asyncio.Queue[bytes] = asyncio.Queue(_QUEUED_PIECES)
        self._is_read_out = opened.is_final
        self._is_closed = False
        self.gone = asyncio.Event()  # the client reset it, or the connection ended

    async def read(self) -> bytes:
        """The next bytes; empty at the end of what the client sends."""
        if self._is_read_out:
            return b""
        data = await self._pieces.get()
        self._is_read_out = not data
        return data

    async def write(self, data: bytes) -> None:
        """Send. Nothing happens on a stream that is closed or gone."""
        if data and not self._is_closed:
            await self._session.send(SpdyFraming.data(self.stream_id, data))

    async def close(self) -> None:
        """Nothing more will be written."""
        if not self._is_closed:
            self._is_closed = True
            await self._session.send(SpdyFraming.data(self.stream_id, b"", is_final=True))

    async def take(self, data: bytes, *, is_final: bool) -> None:
        """What the client sent; waits while the reader is behind, and the whole connection with it."""
        if data and not self._is_read_out:
            await self._put(data)
        if is_final:
            await self._put(b"")

    async def _put(self, piece: bytes) -> None:
        if not self.gone.is_set():
            await self._pieces.put(piece)

    def lose(self) -> None:
        """The client no longer cares about it: what it sent and nobody read is dropped, readers see the end."""
        self._is_closed = True
        self.gone.set()
        while not self._pieces.empty():
            self._pieces.get_nowait()
        self._pieces.put_nowait(b"")


class SpdySession:
    """The streams of one connection. `run` reads it; `accept` gives streams as the client opens them."""

    def __init__(self, transport: ByteTransport) -> None:
        self._transport = transport
        self._framing = SpdyFraming()
        self._streams: dict[int, SpdyStream] = {}
        self._opened: asyncio.Queue[SpdyStream | None] = asyncio.Queue()
        self._sending = asyncio.Lock()

    async def run(self) -> None:
        """Read until the connection ends or breaks the protocol; every stream is lost then."""
        try:
            while data := await self._transport.read():
                for event in self._framing.receive(data):
                    await self._handle(event)
        except (OSError, SpdyError):
            pass  # nobody is left to be told
        finally:
            for stream in self._streams.values():
                stream.lose()
            self._opened.put_nowait(None)

    async def accept(self) -> SpdyStream | None:
        """The next stream; None when there will be no more."""
        return await self._opened.get()

    def release(self, stream: SpdyStream) -> None:
        """The stream is done with; what still comes for it is dropped."""
        self._streams.pop(stream.stream_id, None)
        stream.lose()

    async def send(self, frame: bytes) -> None:
        """Send one frame; a connection that is gone takes it silently, `run` notices."""
        async with self._sending:
            try:
                await self._transport.write(frame)
            except OSError:
                return

    async def _handle(self, event: SpdyEvent) -> None:
        match event:
            case StreamOpened():
                await self._open(event)
            case StreamData(stream_id=stream_id):
                stream = self._streams.get(stream_id)
                if stream is not None:
                    await stream.take(event.data, is_final=event.is_final)
            case StreamReset(stream_id=stream_id):
                stream = self._streams.pop(stream_id, None)
                if stream is not None:
                    stream.lose()
            case Ping():
                await self.send(SpdyFraming.pong(event.ping_id))
            case GoAway():
                pass  # streams that are open go on; the end of the connection follows

    async def _open(self, event: StreamOpened) -> None:
        if len(self._streams) >= MAX_STREAMS:
            await self.send(SpdyFraming.reset(event.stream_id))
            return
        stream = self._streams[event.stream_id] = SpdyStream(self, event)
        await self.send(self._framing.reply(event.stream_id))
        self._opened.put_nowait(stream)
