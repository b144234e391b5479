"""grpc.health.v1.Health/Check over plain HTTP/2: one request, one answer.

Source: grpc/grpc doc/health-checking.md and PROTOCOL-HTTP2.md; kubernetes pkg/probe/grpc/grpc.go.
"""

from __future__ import annotations

import asyncio
import struct
import urllib.parse
from contextlib import suppress
from typing import ClassVar, Final

from pullet.base.errors import PulletError
from pullet.base.quote import go_quote
from pullet.node.http_get import authority

_CHUNK_BYTES: Final = 16 << 10
_STATUS: Final = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
_UNKNOWN, _UNIMPLEMENTED, _INTERNAL, _UNAVAILABLE = 2, 12, 13, 14
_CODES: Final = (
    "OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound", "AlreadyExists",
    "PermissionDenied", "ResourceExhausted", "FailedPrecondition", "Aborted", "OutOfRange", "Unimplemented", "Internal",
    "Unavailable", "DataLoss", "Unauthenticated",
)  # fmt: skip


class GRPCHealthError(PulletError):
    """No health status was had; the text is what the event of a failed probe shows."""

    reason: ClassVar[str] = "GRPCHealth"


class GRPCHealthCheck:
    """One call. The time limit is the caller's: it cancels `run` and shows `timeout_text`."""

    def __init__(self, *, host: str, port: int, service: str, timeout_seconds: int) -> None:
        self._host, self._port, self._service = host, port, service
        self._timeout_seconds = timeout_seconds
        self._address = authority(host, port)
        self._is_connected = False

    @property
    def timeout_text(self) -> str:
        """How far it came when time was up."""
        if self._is_connected:
            return f"timeout: health rpc did not complete within {self._timeout_seconds}s"
        return (
            f"timeout: failed to connect service {go_quote(self._address)} within {self._timeout_seconds}s: "
            "context deadline exceeded"
        )

    async def run(self) -> str:
        """SERVING, NOT_SERVING, UNKNOWN or SERVICE_UNKNOWN. Cancelling closes the connection.

        Raises:
            GRPCHealthError: nobody there, or the call failed.
        """
        try:
            reader, writer = await asyncio.open_connection(self._host, self._port)
        except OSError as error:
            # a gRPC client goes on trying until its time is up, and then says no more than that
            raise GRPCHealthError(self.timeout_text) from error
        try:
            return await self._call(reader, writer)
        except OSError as error:
            raise self._cut() from error
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _call(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
        from h2 import events  # here: few nodes ever have a pod with such a probe
        from h2.config import H2Configuration
        from h2.connection import H2Connection
        from h2.exceptions import ProtocolError

        connection = H2Connection(H2Configuration(client_side=True))
        connection.initiate_connection()
        connection.send_headers(1, self._headers())
        connection.send_data(1, _request_message(self._service), end_stream=True)
        body = b""
        while True:
            writer.write(connection.data_to_send())
            await writer.drain()
            received = await reader.read(_CHUNK_BYTES)
            if not received:
                raise self._cut()
            try:
                happened = connection.receive_data(received)
            except ProtocolError as error:
                raise self._cut() from error
            for event in happened:
                match event:
                    case events.RemoteSettingsChanged():
                        self._is_connected = True
                    case events.ResponseReceived() | events.TrailersReceived():
                        _check_status({_text(name): _text(value) for name, value in event.headers})
                    case events.DataReceived():
                        body += event.data
                    case events.StreamReset() | events.ConnectionTerminated():
                        raise self._cut()
                    case events.StreamEnded():
                        return _health_status(body)
                    case _:
                        pass

    def _headers(self) -> list[tuple[str, str]]:
        return [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/grpc.health.v1.Health/Check"),
            (":authority", self._address),
            ("content-type", "application/grpc"),
            ("user-agent", "kube-probe/1.36"),
            ("te", "trailers"),
        ]

    def _cut(self) -> GRPCHealthError:
        """The server is there, and went away or talks something else."""
        if not self._is_connected:
            return GRPCHealthError(self.timeout_text)
        return _failure(_UNAVAILABLE, "error reading from server: EOF")


def _request_message(service: str) -> bytes:
    name = service.encode()
    message = b"\x0a" + _varint(len(name)) + name if name else b""
    return b"\x00" + struct.pack(">I", len(message)) + message


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*found, number))


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "replace")


def _check_status(headers: dict[str, str]) -> None:
    """Raise GRPCHealthError when these headers say that the call failed."""
    code = headers.get("grpc-status", "0")
    if code != "0":
        message = urllib.parse.unquote(headers.get("grpc-message", ""))
        raise _failure(int(code) if code.isdecimal() else _UNKNOWN, message)
    http_status = headers.get(":status", "200")
    if http_status != "200":
        raise _failure(_UNAVAILABLE, f"unexpected HTTP status code received from server: {http_status}")


def _failure(code: int, message: str) -> GRPCHealthError:
    if code == _UNIMPLEMENTED:
        return GRPCHealthError(
            f"error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {message}"
        )
    name = _CODES[code] if code < len(_CODES) else f"Code({code})"
    return GRPCHealthError(f"error: health rpc probe failed: rpc error: code = {name} desc = {message}")


def _health_status(body: bytes) -> str:
    """The answer's message: field 1, a number; absent is zero."""
    if len(body) < 5 or len(body) < 5 + int.from_bytes(body[1:5]):
        raise _failure(_INTERNAL, "the server ended the call without an answer")
    message = body[5 : 5 + int.from_bytes(body[1:5])]
    number = message[1] if len(message) >= 2 and message[0] == 0x08 else 0
    return _STATUS.get(number, "UNKNOWN")
