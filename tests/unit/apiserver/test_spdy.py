"""SPDY as kubectl's side of it writes and reads it: frames in any pieces, shared header compression, streams."""

from __future__ import annotations

import asyncio
import struct
import zlib
from collections.abc import Mapping
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pullet.apiserver.node_client import NodeRefusedError, NodeSocket
from pullet.apiserver.spdy import (
    DICTIONARY,
    Ping,
    SpdyError,
    SpdyEvent,
    SpdyFraming,
    StreamData,
    StreamOpened,
    StreamReset,
)
from pullet.apiserver.spdy_session import SpdySession
from pullet.apiserver.spdy_streams import serve_port_forward


class Client:
    """The other side's encoder and decoder."""

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(zdict=DICTIONARY)
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)

    def open(self, stream_id: int, headers: Mapping[str, str], *, is_final: bool = False) -> bytes:
        plain = struct.pack(">I", len(headers))
        for name, value in headers.items():
            plain += struct.pack(">I", len(name)) + name.encode() + struct.pack(">I", len(value)) + value.encode()
        block = self._deflate.compress(plain) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        body = struct.pack(">IIBB", stream_id, 0, 0, 0) + block
        return struct.pack(">II", 0x8003_0001, int(is_final) << 24 | len(body)) + body

    @staticmethod
    def data(stream_id: int, data: bytes, *, is_final: bool = False) -> bytes:
        return struct.pack(">II", stream_id, int(is_final) << 24 | len(data)) + data

    def answers(self, received: bytes) -> list[tuple[str, int, bytes, bool]]:
        """(kind, stream or ping, data, is final) of everything in `received`."""
        found = []
        while received:
            first, second = struct.unpack_from(">II", received)
            length, is_final = second & 0xFFFFFF, bool(second >> 24 & 1)
            body, received = received[8 : 8 + length], received[8 + length :]
            if not first & 0x8000_0000:
                found.append(("data", first, body, is_final))
                continue
            kind = {2: "reply", 3: "reset", 6: "pong"}[first & 0xFFFF]
            (number,) = struct.unpack_from(">I", body)
            if kind == "reply":
                assert self._inflate.decompress(body[4:]) == struct.pack(">I", 0)
            found.append((kind, number, b"", is_final))
        return found


def test_the_dictionary_is_the_protocols() -> None:
    assert len(DICTIONARY) == 1423
    assert zlib.adler32(DICTIONARY) == 0xE3C6A7C2  # what every SPDY/3 header block names


@given(st.lists(st.integers(1, 40), max_size=30))
def test_frames_arrive_in_any_pieces(cuts: list[int]) -> None:
    client = Client()
    sent = client.open(1, {"Streamtype": "error", "Port": "80"}, is_final=True)
    sent += client.open(3, {"streamtype": "data", "port": "80"})
    sent += client.data(3, b"0123456789" * 10) + client.data(3, b"", is_final=True)
    sent += struct.pack(">III", 0x8003_0006, 4, 77) + struct.pack(">IIII", 0x8003_0003, 8, 3, 5)
    framing, events = SpdyFraming(), list[SpdyEvent]()
    for cut in [*cuts, len(sent)]:
        events += framing.receive(sent[:cut])
        sent = sent[cut:]
    data = b"".join(event.data for event in events if isinstance(event, StreamData))
    assert data == b"0123456789" * 10
    assert events[0] == StreamOpened(1, {"streamtype": "error", "port": "80"}, is_final=True)
    assert events[1] == StreamOpened(3, {"streamtype": "data", "port": "80"}, is_final=False)
    assert events[-3:] == [StreamData(3, b"", is_final=True), Ping(77), StreamReset(3)]


@given(st.binary(max_size=200))
def test_any_bytes_are_frames_or_an_error(data: bytes) -> None:
    with suppress(SpdyError):  # and no other error
        for event in SpdyFraming().receive(data):
            assert not isinstance(event, StreamData) or len(event.data) <= len(data)


def test_a_header_block_that_grows_without_bound_is_refused() -> None:
    opened = Client().open(1, {"streamtype": "x" * 10_000_000})
    with pytest.raises(SpdyError, match="header block larger"):
        list(SpdyFraming().receive(opened))


class Pipe:
    """A ByteTransport in memory."""

    def __init__(self) -> None:
        self.incoming: asyncio.Queue[bytes] = asyncio.Queue()
        self.sent = bytearray()
        self.was_written = asyncio.Event()

    async def read(self) -> bytes:
        return await self.incoming.get()

    async def write(self, data: bytes) -> None:
        self.sent += data
        self.was_written.set()


async def test_a_port_that_nobody_serves_is_told_on_the_error_stream() -> None:
    async def refuse(port: int) -> NodeSocket:
        raise NodeRefusedError(f"nobody at {port}", status=500)

    pipe, client = Pipe(), Client()
    pair = {"port": "9", "requestid": "0"}
    pipe.incoming.put_nowait(client.open(1, {"streamtype": "error", **pair}, is_final=True))
    pipe.incoming.put_nowait(client.open(3, {"streamtype": "data", **pair}))
    text = b"error forwarding port 9 to pod web, uid : nobody at 9"
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        serving = group.create_task(serve_port_forward(SpdySession(pipe), refuse, "web"))
        answered: list[tuple[str, int, bytes, bool]] = []
        while len(answered) < 5:
            await pipe.was_written.wait()
            pipe.was_written.clear()
            received, pipe.sent = bytes(pipe.sent), bytearray()
            answered += client.answers(received)
        pipe.incoming.put_nowait(b"")
        await serving
    assert answered == [
        ("reply", 1, b"", False),
        ("reply", 3, b"", False),
        ("data", 1, text, False),
        ("data", 3, b"", True),
        ("data", 1, b"", True),
    ]


async def test_a_slow_stream_given_up_does_not_hold_the_others() -> None:
    pipe, client = Pipe(), Client()
    session = SpdySession(pipe)
    pipe.incoming.put_nowait(client.open(1, {"streamtype": "slow"}))
    for _ in range(40):  # more than a stream keeps
        pipe.incoming.put_nowait(client.data(1, b"x"))
    pipe.incoming.put_nowait(client.open(3, {"streamtype": "other"}))
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        running = group.create_task(session.run())
        slow = await session.accept()
        assert slow is not None
        await asyncio.sleep(0)  # the session fills the stream up meanwhile
        session.release(slow)
        other = await session.accept()
        assert other is not None
        assert other.stream_id == 3
        pipe.incoming.put_nowait(b"")
        await running
        assert other.gone.is_set()
        assert await other.read() == b""
