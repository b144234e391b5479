"""A logging reverse proxy before a registry: who asked for what, when, and what the answer was.

It may also answer in the registry's place (a status for a repository) and let blobs drip, for tests that need trouble.
"""

from __future__ import annotations

import base64
import http.client
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

_PATH = re.compile(r"^/v2/(?P<repository>.+)/(?P<kind>manifests|blobs)/(?P<reference>[^/]+)$")
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "host"}
_CHUNK = 64 * 1024


@dataclass(kw_only=True)
class LoggedRequest:
    """One request, written down before it is answered. `at` is its arrival in monotonic seconds.

    `sent_bytes` counts the body as it is sent; `user` is that of Basic credentials.
    """

    at: float
    method: str
    repository: str
    kind: str
    reference: str
    status: int
    user: str
    headers: dict[str, str]
    sent_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the proxy says itself instead of asking the registry."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


class RequestLog:
    """The proxy and its log. `address` is what a hosts.toml names."""

    def __init__(self, upstream_port: int) -> None:
        self._upstream_port = upstream_port
        self._lock = threading.Lock()
        self._requests: list[LoggedRequest] = []
        self.answers: dict[str, Answer] = {}  # repository -> what to answer to all that is asked of it
        self.drip_bytes_per_second: dict[str, int] = {}  # repository -> how fast its blobs come
        self._server = _Server(("127.0.0.1", 0), self)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def upstream_port(self) -> int:
        return self._upstream_port

    def requests(self, *, since: float = 0.0) -> list[LoggedRequest]:
        """What was asked since `since` (monotonic), in order of arrival."""
        with self._lock:
            return sorted((request for request in self._requests if request.at >= since), key=lambda one: one.at)

    def add(self, request: LoggedRequest) -> None:
        """Called by the handler threads."""
        with self._lock:
            self._requests.append(request)

    @contextmanager
    def serving(self) -> Iterator[RequestLog]:
        """Serve until the block ends."""
        thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="request-log", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], log: RequestLog) -> None:
        self.log = log
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is its own business."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """The log is ours."""

    def do_GET(self) -> None:
        self._forward()

    def do_HEAD(self) -> None:
        self._forward()

    def _forward(self) -> None:
        self._at = time.monotonic()
        found = _PATH.match(urlsplit(self.path).path)
        self._named = found.groupdict() if found else {"repository": self.path, "kind": "", "reference": ""}
        answer = self.server.log.answers.get(self._named["repository"])
        if answer is not None:
            self._say(answer)
        else:
            self._relay()

    def _write_down(self, status: int) -> LoggedRequest:
        request = LoggedRequest(
            at=self._at,
            method=self.command,
            repository=self._named["repository"],
            kind=self._named["kind"],
            reference=self._named["reference"],
            status=status,
            user=_basic_user(self.headers.get("Authorization", "")),
            headers={name.lower(): value for name, value in self.headers.items()},
        )
        self.server.log.add(request)
        return request

    def _say(self, answer: Answer) -> None:
        request = self._write_down(answer.status)
        self.send_response(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)
            request.sent_bytes = len(answer.body)

    def _relay(self) -> None:
        rate = 0
        if self._named["kind"] == "blobs":
            rate = self.server.log.drip_bytes_per_second.get(self._named["repository"], 0)
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.log.upstream_port, timeout=60)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP}
            upstream.request(self.command, self.path, headers={**headers, "Host": self.headers["Host"]})
            response = upstream.getresponse()
            request = self._write_down(response.status)
            self.send_response(response.status)
            for name, value in response.getheaders():
                if name.lower() not in _HOP_BY_HOP and name.lower() not in ("date", "server"):
                    self.send_header(name, value)
            self.end_headers()
            while self.command != "HEAD" and (chunk := response.read(max(1, rate // 10) if rate else _CHUNK)):
                self.wfile.write(chunk)
                request.sent_bytes += len(chunk)
                if rate:
                    time.sleep(0.1)
        finally:
            upstream.close()


def _basic_user(authorization: str) -> str:
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() != "basic":
        return ""
    return base64.b64decode(value).decode(errors="replace").partition(":")[0]
