"""An HTTP proxy for tests: forwards plain requests, opens tunnels for CONNECT, keeps a log.

with FakeProxy(routes={"registry.example.com:443": registry.host}, user=("me", "secret")) as proxy:
    ...
    assert proxy.log == ("CONNECT registry.example.com:443",)
"""

from __future__ import annotations

import base64
import http.client
import socket
import ssl
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import urlsplit

from pullet.testing.proxy_server import ProxyServer, shuttle

_HOP_HEADERS: Final = frozenset({"proxy-authorization", "connection", "keep-alive", "proxy-connection"})


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = True

    def __init__(self, proxy: FakeProxy, tls: ssl.SSLContext | None) -> None:
        self.proxy, self._tls = proxy, tls
        super().__init__(("127.0.0.1", 0), _Handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        stream, address = super().get_request()
        if self._tls is not None:  # the handshake is made by the first read, on the handler's own thread
            stream = self._tls.wrap_socket(stream, server_side=True, do_handshake_on_connect=False)
        return stream, address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who does not trust the certificate goes away."""


class FakeProxy(ProxyServer):
    """A proxy on a free port of 127.0.0.1. Thread-safe; a context manager.

    `routes` says where `host:port` really is, so that names need not resolve; others are taken as they are. With
    `user` it answers 407 to whoever shows another name and password. With `tls` it is spoken to in TLS. The log
    has `METHOD target` of every request.
    """

    def __init__(
        self,
        *,
        routes: Mapping[str, str] | None = None,
        user: tuple[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(_Server(self, tls), routes)
        self._authorization = ""
        if user is not None:
            self._authorization = f"Basic {base64.b64encode(':'.join(user).encode()).decode()}"

    def admits(self, authorization: str) -> bool:
        """Whether who shows this header may pass."""
        return not self._authorization or authorization == self._authorization


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30
    server: _Server

    def log_message(self, format: str, *args: object) -> None:
        """Requests are in the proxy's log."""

    def _is_refused(self) -> bool:
        proxy = self.server.proxy
        proxy.record(f"{self.command} {self.path}")
        if proxy.admits(self.headers.get("Proxy-Authorization", "")):
            return False
        self.send_response(407)
        self.send_header("Proxy-Authenticate", 'Basic realm="proxy"')
        self.send_header("Content-Length", "0")
        self.end_headers()
        return True

    def do_CONNECT(self) -> None:
        self.close_connection = True
        if self._is_refused():
            return
        with socket.create_connection(self.server.proxy.route(self.path), timeout=10) as far:
            self.send_response_only(200, "Connection established")
            self.end_headers()
            shuttle(self.connection, far, self.server.proxy.closing)

    def do_GET(self) -> None:
        self._forward()

    def do_HEAD(self) -> None:
        self._forward()

    def _forward(self) -> None:
        if self._is_refused():
            return
        parts = urlsplit(self.path)
        far = http.client.HTTPConnection(*self.server.proxy.route(parts.netloc), timeout=10)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_HEADERS}
            far.request(self.command, f"{parts.path}?{parts.query}", headers=headers)
            answer = far.getresponse()
            body = answer.read()
            self.send_response_only(answer.status)
            for name, value in answer.getheaders():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
        finally:
            far.close()
