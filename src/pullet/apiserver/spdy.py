"""SPDY/3.1 framing, without I/O: what kubectl speaks inside an upgraded connection, and inside WebSockets.

Only what Kubernetes uses: streams opened by the client, data both ways, ends, resets and pings. No flow control, since
the clients have none; the connection itself holds back a fast sender.
Source: SPDY protocol draft 3.1 (framing, header blocks, dictionary); github.com/moby/spdystream for what is sent.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import Final, TypeAlias

from pullet.base.errors import PulletError
from pullet.base.values import Value

MAX_CONTROL_BYTES: Final = 64 << 10
MAX_HEADER_BYTES: Final = 64 << 10
MAX_DATA_BYTES: Final = (1 << 24) - 1  # the length field has 24 bits

_CONTROL: Final = 0x8000_0000
_VERSION: Final = 3
_SYN_STREAM, _SYN_REPLY, _RST_STREAM, _PING, _GOAWAY, _HEADERS = 1, 2, 3, 6, 7, 8
_FIN: Final = 1
_CANCEL: Final = 5  # status of a RST_STREAM

_WORDS: Final = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow "
    "authorization cache-control connection content-base content-encoding content-language content-length "
    "content-location content-md5 content-range content-type date etag expect expires from host if-match "
    "if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma "
    "proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade "
    "user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url public set-cookie "
    "keep-alive origin"
)
_PHRASES: Final = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized"
    "403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,"
    "text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)


def _dictionary() -> bytes:
    words = [word.replace("_", " ").encode() for word in _WORDS.split()]
    return b"".join(struct.pack(">I", len(word)) + word for word in words) + _PHRASES.encode()


DICTIONARY: Final = _dictionary()


class SpdyError(PulletError):
    """The other side does not speak SPDY/3.1; the connection cannot go on."""

    reason = "SpdyInvalid"


class StreamOpened(Value):
    """The client opened a stream; header names are in lower case. `is_final`: it will send nothing on it."""

    stream_id: int
    headers: Mapping[str, str]
    is_final: bool


class StreamData(Value):
    """Bytes on a stream, maybe none; `is_final`: the last ones."""

    stream_id: int
    data: bytes
    is_final: bool


class StreamReset(Value):
    """The client gave a stream up."""

    stream_id: int


class Ping(Value):
    """Answer it with `pong`."""

    ping_id: int


class GoAway(Value):
    """The client will open no more streams."""


SpdyEvent: TypeAlias = StreamOpened | StreamData | StreamReset | Ping | GoAway


class SpdyFraming:
    """The server's side of one connection: bytes in → events, answers → bytes out. Answers must be sent in order."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._data_stream, self._data_left, self._data_final = 0, 0, False
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._deflate = zlib.compressobj(zdict=DICTIONARY)

    def receive(self, data: bytes) -> Iterator[SpdyEvent]:
        """What has come complete with these bytes. Data frames are handed on as they come, in pieces.

        Raises:
            SpdyError: this is not SPDY/3.1, or a frame is larger than any client's.
        """
        self._buffer += data
        while True:
            if self._data_left:
                if not self._buffer:
                    return
                yield self._take_data()
                continue
            if len(self._buffer) < 8:
                return
            first, second = struct.unpack_from(">II", self._buffer)
            length = second & 0xFF_FFFF
            if not first & _CONTROL:
                del self._buffer[:8]
                self._data_stream, self._data_left = first, length
                self._data_final = bool(second >> 24 & _FIN)
                if not length:
                    yield StreamData(first, b"", self._data_final)
                continue
            if length > MAX_CONTROL_BYTES:
                raise SpdyError(f"a control frame of {length} bytes")
            if len(self._buffer) < 8 + length:
                return
            body = bytes(self._buffer[8 : 8 + length])
            del self._buffer[: 8 + length]
            event = self._control(first, second >> 24, body)
            if event is not None:
                yield event

    def _take_data(self) -> StreamData:
        piece = bytes(self._buffer[: self._data_left])
        del self._buffer[: len(piece)]
        self._data_left -= len(piece)
        return StreamData(self._data_stream, piece, self._data_final and not self._data_left)

    def _control(self, first: int, flags: int, body: bytes) -> SpdyEvent | None:
        version, kind = first >> 16 & 0x7FFF, first & 0xFFFF
        if version != _VERSION:
            raise SpdyError(f"SPDY version {version}, not {_VERSION}")
        try:
            match kind:
                case 1:
                    headers = self._read_headers(body[10:])
                    return StreamOpened(_stream_id(body), headers, bool(flags & _FIN))
                case 3:
                    return StreamReset(_stream_id(body))
                case 6:
                    return Ping(struct.unpack_from(">I", body)[0])
                case 7:
                    return GoAway()
                case 2 | 8:  # replies to streams we never open, late headers: read, since they share the compression
                    self._read_headers(body[4:])
                    return None
                case _:  # settings, window updates: nothing here depends on them
                    return None
        except (struct.error, zlib.error, UnicodeDecodeError) as error:
            raise SpdyError(f"a broken frame of type {kind}: {error}") from error

    def _read_headers(self, block: bytes) -> dict[str, str]:
        plain = self._inflate.decompress(block, MAX_HEADER_BYTES)
        if self._inflate.unconsumed_tail:
            raise SpdyError("a header block larger than any client's")
        (count,) = struct.unpack_from(">I", plain)
        position, headers = 4, {}
        for _ in range(count):
            name, position = _read_text(plain, position)
            value, position = _read_text(plain, position)
            headers[name.lower()] = value.partition("\0")[0]
        return headers

    def reply(self, stream_id: int) -> bytes:
        """The stream is taken."""
        block = self._deflate.compress(struct.pack(">I", 0)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        return _frame(_SYN_REPLY, 0, struct.pack(">I", stream_id) + block)

    @staticmethod
    def data(stream_id: int, data: bytes, *, is_final: bool = False) -> bytes:
        """Bytes for the client, at most MAX_DATA_BYTES of them."""
        return struct.pack(">II", stream_id, (_FIN << 24 if is_final else 0) | len(data)) + data

    @staticmethod
    def reset(stream_id: int) -> bytes:
        """The stream is given up."""
        return _frame(_RST_STREAM, 0, struct.pack(">II", stream_id, _CANCEL))

    @staticmethod
    def pong(ping_id: int) -> bytes:
        """The answer to a ping."""
        return _frame(_PING, 0, struct.pack(">I", ping_id))


def _stream_id(body: bytes) -> int:
    return int(struct.unpack_from(">I", body)[0]) & 0x7FFF_FFFF


def _read_text(plain: bytes, position: int) -> tuple[str, int]:
    (length,) = struct.unpack_from(">I", plain, position)
    end = position + 4 + length
    if end > len(plain):
        raise struct.error("a header runs over its block")
    return plain[position + 4 : end].decode(), end


def _frame(kind: int, flags: int, body: bytes) -> bytes:
    return struct.pack(">II", _CONTROL | _VERSION << 16 | kind, flags << 24 | len(body)) + body
