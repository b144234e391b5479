"""One HTTP exchange over a Unix socket: as much of HTTP/1.1 as the node's control socket speaks.

The standard library's client brings a mail parser along, which costs a short command 20 ms.
Source: RFC 9112 4 (status line), 7.1 (chunked transfer coding).
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self


class CutShortError(ConnectionError):
    """The other side went away before its answer was complete."""


class Exchange:
    """A request sent; `status` and the body of its answer. Close it (use as a context manager)."""

    def __init__(self, path: Path, method: str, target: str, body: bytes | None) -> None:
        """Connect, ask, and read the head of the answer.

        Raises:
            FileNotFoundError, ConnectionRefusedError, PermissionError: nobody listens, or not for us.
            CutShortError.
        """
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.connect(str(path))
            head = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            if body is not None:
                head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            self._socket.sendall(head.encode() + b"\r\n" + (body or b""))
            self._file = self._socket.makefile("rb")
            self.status = int(self._line().split(None, 2)[1])
            headers = dict(line.lower().split(b":", 1) for line in iter(self._line, b""))
        except BaseException:
            self._socket.close()
            raise
        self._is_chunked = b"chunked" in headers.get(b"transfer-encoding", b"")
        self._length = int(headers.get(b"content-length", b"0"))

    def _line(self) -> bytes:
        line = self._file.readline()
        if not line.endswith(b"\n"):
            raise CutShortError("the connection ended before the answer was complete")
        return line.rstrip(b"\r\n")

    def _exactly(self, count: int) -> bytes:
        data = self._file.read(count)
        if len(data) != count:
            raise CutShortError("the connection ended before the answer was complete")
        return data

    def pieces(self) -> Iterator[bytes]:
        """The body as it comes. Raises CutShortError."""
        if not self._is_chunked:
            yield self._exactly(self._length)
            return
        while size := int(self._line().partition(b";")[0], 16):
            yield self._exactly(size)
            self._line()

    def read(self) -> bytes:
        """All of the body. Raises CutShortError."""
        return b"".join(self.pieces())

    def lines(self) -> Iterator[bytes]:
        """The body's lines as they come. Raises CutShortError."""
        rest = b""
        for piece in self.pieces():
            *whole, rest = (rest + piece).split(b"\n")
            yield from whole
        if rest:
            yield rest

    def hang_up(self) -> None:
        """End the connection from another thread: whoever reads gets CutShortError."""
        self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of the connection."""
        self._file.close()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
