"""grpc.health.v1.Health/Check over plain HTTP/2: one request, one answer, nothing more of either protocol.

The request's header block is written as HPACK literals without Huffman coding or indexing, so no codec is needed;
of the answer only the first message is read (its headers are not needed: a failing call sends none).
Source: grpc/grpc doc/health-checking.md, RFC 9113 (HTTP/2), RFC 7541 (HPACK).
"""

from __future__ import annotations

import asyncio
import struct
from contextlib import suppress
from typing import ClassVar

from pullet.base.errors import PulletError

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY = 0, 1, 3, 4, 6, 7
_ACK, _END_STREAM, _END_HEADERS = 1, 1, 4
_STATUS = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
_MAX_FRAME = 1 << 20


class GRPCHealthError(PulletError):
    """No health status was had."""

    reason: ClassVar[str] = "GRPCHealth"


async def check_grpc_health(host: str, port: int, service: str) -> str:
    """SERVING, NOT_SERVING, UNKNOWN or SERVICE_UNKNOWN. Cancelling closes the connection.

    Raises:
        GRPCHealthError: refused, cut, or the call failed.
    """
    try:
        reader, writer = await asyncio.open_connection(host, port)
    except OSError as error:
        raise GRPCHealthError(f'failed to connect service "{host}:{port}": {error.strerror or error}') from error
    try:
        writer.write(_PREFACE + _frame(_SETTINGS, 0, 0, b"") + _request(host, port, service))
        await writer.drain()
        return await _answer(reader, writer)
    except (OSError, asyncio.IncompleteReadError) as error:
        raise GRPCHealthError(f'connection to "{host}:{port}" was cut: {error}') from error
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def _request(host: str, port: int, service: str) -> bytes:
    headers = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/grpc.health.v1.Health/Check"),
        (":authority", f"{host}:{port}"),
        ("content-type", "application/grpc"),
        ("user-agent", "kube-probe/1.36"),
        ("te", "trailers"),
    ]
    block = b"".join(b"\x00" + _literal(name) + _literal(value) for name, value in headers)
    name = service.encode()[:127]
    message = b"\x0a" + bytes((len(name),)) + name if name else b""
    body = b"\x00" + struct.pack(">I", len(message)) + message
    return _frame(_HEADERS, _END_HEADERS, 1, block) + _frame(_DATA, _END_STREAM, 1, body)


def _literal(text: str) -> bytes:
    data = text.encode()[:126]
    return bytes((len(data),)) + data


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
    body = b""
    while True:
        head = await reader.readexactly(9)
        size, kind, flags = int.from_bytes(head[:3]), head[3], head[4]
        stream = int.from_bytes(head[5:9]) & 0x7FFFFFFF
        if size > _MAX_FRAME:
            raise GRPCHealthError("the answer is not HTTP/2")
        payload = await reader.readexactly(size)
        if kind == _SETTINGS and not flags & _ACK:
            writer.write(_frame(_SETTINGS, _ACK, 0, b""))
        elif kind == _PING and not flags & _ACK:
            writer.write(_frame(_PING, _ACK, 0, payload))
        elif kind in (_GOAWAY, _RST_STREAM):
            raise GRPCHealthError("the server refused the health check")
        elif kind == _DATA and stream == 1:
            body += payload
            if len(body) >= 5 and len(body) >= 5 + int.from_bytes(body[1:5]):
                return _status(body[5 : 5 + int.from_bytes(body[1:5])])
        if kind in (_DATA, _HEADERS) and stream == 1 and flags & _END_STREAM:
            raise GRPCHealthError("the health check failed: the server does not implement it or knows no such service")


def _status(message: bytes) -> str:
    if not message:
        return _STATUS[0]
    return _STATUS.get(message[1], "UNKNOWN") if len(message) >= 2 and message[0] == 0x08 else "UNKNOWN"
