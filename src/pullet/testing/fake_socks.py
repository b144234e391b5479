"""A SOCKS5 proxy for tests: makes connections, keeps a log.

with FakeSocks(routes={"registry.example.com:443": registry.host}, user=("me", "secret")) as proxy:
    ...
    assert proxy.log == ("registry.example.com:443",)

Source: RFC 1928, RFC 1929.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Mapping
from socketserver import BaseRequestHandler, ThreadingTCPServer

from pullet.testing.proxy_server import ProxyServer, shuttle


class _Server(ThreadingTCPServer):
    daemon_threads = True
    block_on_close = True

    def __init__(self, proxy: FakeSocks) -> None:
        self.proxy = proxy
        super().__init__(("127.0.0.1", 0), _Handler)


class FakeSocks(ProxyServer):
    """A proxy on a free port of 127.0.0.1. Thread-safe; a context manager.

    `routes` says where `host:port` really is, so that names need not resolve. With `user` it wants that login;
    `refusal` is the reply code for every connection that is asked for (5: refused). The log
    has `host:port` of every connection, as it was asked for.
    """

    def __init__(
        self, *, routes: Mapping[str, str] | None = None, user: tuple[str, str] | None = None, refusal: int = 0
    ) -> None:
        super().__init__(_Server(self), routes)
        self.user, self.refusal = user, refusal


class _Handler(BaseRequestHandler):
    server: _Server
    request: socket.socket

    def handle(self) -> None:
        proxy, near = self.server.proxy, self.request
        near.settimeout(30)
        try:
            if not self._admits():
                return
            target = self._target()
            proxy.record(target)
            if proxy.refusal:
                near.sendall(bytes((5, proxy.refusal, 0, 1)) + bytes(6))
                return
            with socket.create_connection(proxy.route(target), timeout=10) as far:
                near.sendall(bytes((5, 0, 0, 1)) + bytes(6))
                shuttle(near, far, proxy.closing)
        except (EOFError, ConnectionError):
            return

    def _admits(self) -> bool:
        _, count = self._read(2)
        methods = self._read(count)
        user = self.server.proxy.user
        method = 0 if user is None else 2
        if method not in methods:
            self.request.sendall(bytes((5, 0xFF)))
            return False
        self.request.sendall(bytes((5, method)))
        if user is None:
            return True
        name = self._read(self._read(2)[1]).decode()
        password = self._read(self._read(1)[0]).decode()
        is_right = (name, password) == user
        self.request.sendall(bytes((1, 0 if is_right else 1)))
        return is_right

    def _target(self) -> str:
        kind = self._read(4)[3]
        if kind == 3:
            name = self._read(self._read(1)[0]).decode()
        else:
            address = ipaddress.ip_address(self._read(4 if kind == 1 else 16))
            name = str(address) if address.version == 4 else f"[{address}]"
        (port,) = struct.unpack(">H", self._read(2))
        return f"{name}:{port}"

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self.request.recv(size - len(data))
            if not more:
                raise EOFError
            data += more
        return data
