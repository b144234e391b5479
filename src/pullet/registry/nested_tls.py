"""TLS inside TLS: to a registry, through a tunnel whose proxy is itself spoken to in TLS.

ssl wraps kernel sockets alone, so the inner layer runs in memory and its records travel as data of the outer one.
"""

from __future__ import annotations

import io
import ssl
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

T = TypeVar("T")
_RECORD_BYTES: Final = 64 * 1024


class NestedTls:
    """As much of a socket as http.client uses. Used by one thread; `wire` is the connection to the proxy."""

    def __init__(self, wire: ssl.SSLSocket, context: ssl.SSLContext, server_name: str) -> None:
        self.wire = wire
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_name)
        self._open_files = 0
        self._is_closed = False

    def do_handshake(self) -> None:
        """As `ssl.SSLSocket.do_handshake`, same errors."""
        self._run(self._tls.do_handshake)

    def settimeout(self, seconds: float | None) -> None:
        """For each read and write of the wire."""
        self.wire.settimeout(seconds)

    def sendall(self, data: bytes) -> None:
        """Send all of it."""
        view = memoryview(data)
        while view:
            view = view[self._run(partial(self._tls.write, view)) :]

    def recv_into(self, buffer: WriteableBuffer) -> int:
        """Bytes that arrived, into `buffer`; 0 at the end, clean or not, as of a socket."""
        view = memoryview(buffer)
        try:
            data = self._run(lambda: self._tls.read(len(view)))
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return 0
        view[: len(data)] = data
        return len(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        """A reader that keeps the connection open until it is closed, as of a socket."""
        assert mode == "rb"
        self._open_files += 1
        return io.BufferedReader(_Reader(self))

    def close(self) -> None:
        """Close the wire, once no reader is open any more."""
        self._is_closed = True
        if not self._open_files:
            self.wire.close()

    def file_closed(self) -> None:
        """A reader is done."""
        self._open_files -= 1
        if self._is_closed:
            self.close()

    def _run(self, step: Callable[[], T]) -> T:
        """Do `step` with as many records sent and received as it needs."""
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                self._flush()
                if received := self.wire.recv(_RECORD_BYTES):
                    self._incoming.write(received)
                else:
                    self._incoming.write_eof()
                continue
            self._flush()
            return result

    def _flush(self) -> None:
        if pending := self._outgoing.read():
            self.wire.sendall(pending)


class _Reader(io.RawIOBase):
    def __init__(self, stream: NestedTls) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        return self._stream.recv_into(buffer)

    def close(self) -> None:
        if not self.closed:
            self._stream.file_closed()
        super().close()
