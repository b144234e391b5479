"""What the test proxies have in common: a server on a thread, where names really are, a log, and carrying bytes."""

from __future__ import annotations

import select
import socket
import ssl
import threading
from collections.abc import Mapping
from socketserver import TCPServer
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit


class ProxyServer:
    """Serves on `server`'s address while it is a context. Thread-safe."""

    def __init__(self, server: TCPServer, routes: Mapping[str, str] | None) -> None:
        self._routes = dict(routes or {})
        self._lock = threading.Lock()
        self._log: list[str] = []
        self.closing = threading.Event()
        self._server = server
        self._thread = threading.Thread(target=server.serve_forever, args=(0.02,), name=type(self).__name__)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def host(self) -> str:
        """`127.0.0.1:port`."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def log(self) -> tuple[str, ...]:
        """What was asked for, in order."""
        with self._lock:
            return tuple(self._log)

    def record(self, line: str) -> None:
        """Remember a request."""
        with self._lock:
            self._log.append(line)

    def route(self, target: str) -> tuple[str, int]:
        """Where `host:port` really is."""
        parts = urlsplit(f"//{self._routes.get(target, target)}")
        return parts.hostname or "", parts.port or 80


def shuttle(near: socket.socket, far: socket.socket, closing: threading.Event) -> None:
    """Carry bytes both ways until one side ends or `closing` is set."""
    other = {near: far, far: near}
    while not closing.is_set():
        for ready in select.select(list(other), [], [], 0.05)[0]:
            while True:
                data = ready.recv(64 * 1024)
                if not data:
                    return
                other[ready].sendall(data)
                if not (isinstance(ready, ssl.SSLSocket) and ready.pending()):
                    break
