"""An in-process OCI registry for tests: counts every request and misbehaves on demand.

with FakeRegistry() as registry:
    registry.push(tiny_image(), "library/nginx", "1.17.1")
    registry.inject(Fault(path="/blobs/", cut_after=100, times=1))
    ...
    assert registry.requests() == ["HEAD /v2/library/nginx/manifests/1.17.1", ...]
"""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import socket
import ssl
import threading
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import parse_qs, urlsplit

from pullet.base.values import Value
from pullet.oci.digest import Digest
from pullet.oci.distribution import parse_range
from pullet.oci.image_builder import BuiltImage
from pullet.testing.registry_faults import FakeAuth, Fault

SETTLE_SECONDS: Final = 30.0
_PATH: Final = re.compile(r"/v2/(?P<repository>.+)/(?P<kind>manifests|blobs|tags)/(?P<name>.*)")


class LoggedRequest(Value, kw_only=True):
    """One request as it came, and the status it got (0: none)."""

    method: str
    path: str
    query: str
    status: int
    headers: dict[str, str]

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = True
    request_queue_size = 128
    tls: ssl.SSLContext | None = None

    def __init__(self, registry: FakeRegistry, address: str) -> None:
        if ":" in address:
            self.address_family = socket.AF_INET6
        self.registry = registry
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        self._served = threading.Condition()
        self._being_served = 0
        self.connections = 0
        super().__init__((address, 0), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._served:
            self._being_served += 1
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._served:
                self._being_served -= 1
                self._served.notify_all()

    def finish_request(self, request: Any, client_address: Any) -> None:
        with self._open_lock:
            self._open.add(request)
            self.connections += 1
        try:
            if self.tls is not None:
                request.settimeout(10)
                request = self.tls.wrap_socket(request, server_side=True)
            super().finish_request(request, client_address)
        finally:
            with self._open_lock:
                self._open = {one for one in self._open if one is not request and one.fileno() >= 0}
            if self.tls is not None:
                request.close()

    def wait_quiet(self, seconds: float) -> bool:
        """Wait until no connection is being served; False if that takes longer."""
        with self._served:
            return self._served.wait_for(lambda: not self._being_served, seconds)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are part of the tests."""

    def hang_up(self) -> None:
        """End every open connection, so that their threads end."""
        with self._open_lock:
            for one in self._open:
                try:
                    one.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue


class FakeRegistry:
    """A registry on a free port of 127.0.0.1 (or `address`). Thread-safe; a context manager, also `async with`."""

    def __init__(
        self, *, auth: FakeAuth | None = None, tls: ssl.SSLContext | None = None, address: str = "127.0.0.1"
    ) -> None:
        self.auth = auth
        self.closing = threading.Event()
        self._lock = threading.Lock()
        self._blobs: dict[str, bytes] = {}
        self._repositories: dict[str, set[str]] = defaultdict(set)  # repository → blob digests
        self._manifests: dict[tuple[str, str], tuple[str, bytes]] = {}  # (repository, tag or digest)
        self._faults: list[Fault] = []
        self._log: list[LoggedRequest] = []
        self._address = f"[{address}]" if ":" in address else address
        self._server = _Server(self, address)
        self._server.tls = tls
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="fake-registry")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.hang_up()
        self._server.server_close()
        self._thread.join()

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.__exit__, kind, error, trace)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.server_address[1])

    @property
    def host(self) -> str:
        """`127.0.0.1:port`, the domain of references to it."""
        return f"{self._address}:{self.port}"

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http{'s' if self._server.tls is not None else ''}://{self.host}"

    @property
    def connections(self) -> int:
        """How many connections were made to it."""
        return self._server.connections

    def hang_up(self) -> None:
        """End every open connection."""
        self._server.hang_up()

    def settle(self) -> None:
        """Return when nothing is under way any more of what killed clients had asked, so that the log is complete.

        Blocking; plain http alone. Raises TimeoutError after SETTLE_SECONDS.
        """
        # connections are accepted in their order: once this one is answered, all earlier ones are known
        last = http.client.HTTPConnection(self.host, timeout=SETTLE_SECONDS)
        last.request("GET", "/v2/")
        last.getresponse().read()
        last.close()
        self.hang_up()
        if not self._server.wait_quiet(SETTLE_SECONDS):
            raise TimeoutError(f"connections to {self.host} are still open")

    def push(self, image: BuiltImage, repository: str, tag: str = "") -> Digest:
        """Take an image in, without HTTP; gives the digest that the tag stands for."""
        for digest, blob in image.blobs.items():
            self.add_blob(repository, blob, digest)
        for media_type, raw in image.manifests.values():
            self.add_manifest(repository, raw, media_type)
        return self.add_manifest(repository, image.raw, image.descriptor.media_type, tag)

    def add_blob(self, repository: str, content: bytes, digest: str | None = None) -> str:
        """Take a blob in, under any digest one likes to claim."""
        name = digest or Digest.of(content)
        with self._lock:
            self._blobs[name] = content
            self._repositories[repository].add(name)
        return name

    def add_manifest(self, repository: str, raw: bytes, media_type: str, tag: str = "") -> Digest:
        """Take a manifest in, by digest and by tag if given."""
        digest = Digest.of(raw)
        with self._lock:
            self._manifests[repository, digest] = media_type, raw
            if tag:
                self._manifests[repository, tag] = media_type, raw
        return digest

    def remove_manifest(self, repository: str, name: str) -> None:
        """Forget a tag or digest."""
        with self._lock:
            del self._manifests[repository, name]

    def remove_blob(self, digest: str) -> None:
        """Forget a blob."""
        with self._lock:
            del self._blobs[digest]

    def inject(self, fault: Fault) -> Fault:
        """Misbehave as `fault` says; earlier ones are looked at first."""
        self._faults.append(fault)
        return fault

    def clear_faults(self) -> None:
        """Behave again."""
        self._faults.clear()

    @property
    def log(self) -> tuple[LoggedRequest, ...]:
        """Every request so far, in the order of the answers."""
        with self._lock:
            return tuple(self._log)

    def requests(self, *, method: str = "", path: str = "") -> list[str]:
        """`METHOD /path` of every request that matches."""
        return [str(one) for one in self.log if (not method or one.method == method) and re.search(path, one.path)]

    @property
    def blob_requests(self) -> int:
        """How many GETs of blobs there were."""
        return len(self.requests(method="GET", path="/blobs/"))

    def clear_log(self) -> None:
        """Forget the requests so far."""
        with self._lock:
            self._log.clear()

    # what the handler asks

    def fault_for(self, method: str, path: str) -> Fault | None:
        """The fault whose turn it is."""
        with self._lock:
            return next((fault for fault in self._faults if fault.applies(method, path)), None)

    def record(self, request: LoggedRequest) -> None:
        """Remember a request."""
        with self._lock:
            self._log.append(request)

    def find(self, path: str) -> tuple[str, bytes, str] | None:
        """(media type, content, digest) of a manifest, blob or tag list; None if there is none."""
        match = _PATH.fullmatch(path)
        if match is None:
            return ("application/json", b"{}", "") if path == "/v2/" else None
        repository, name = match["repository"], match["name"]
        with self._lock:
            if match["kind"] == "manifests":
                found = self._manifests.get((repository, name))
                if found is None:
                    return None
                return (*found, name if ":" in name else Digest.of(found[1]))
            if match["kind"] == "tags":
                tags = sorted(tag for repo, tag in self._manifests if repo == repository and ":" not in tag)
                return "application/json", json.dumps({"name": repository, "tags": tags}).encode(), ""
            if name not in self._repositories[repository] or name not in self._blobs:
                return None
            return "application/octet-stream", self._blobs[name], name


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30
    server: _Server

    def log_message(self, format: str, *args: object) -> None:
        """Requests are in the registry's log."""

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def do_HEAD(self) -> None:
        self._serve()

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def _serve(self) -> None:
        registry, parts = self.server.registry, urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._respond(registry, parts.path, parts.query, body)

    def _record(self, status: int) -> None:
        """Log the request, before the client can have seen any answer."""
        parts = urlsplit(self.path)
        self.server.registry.record(
            LoggedRequest(
                method=self.command,
                path=parts.path,
                query=parts.query,
                status=status,
                headers={name.lower(): value for name, value in self.headers.items()},
            )
        )

    def _respond(self, registry: FakeRegistry, path: str, query: str, body: bytes) -> None:
        fault = registry.fault_for(self.command, path)
        if fault is not None and fault.delay_seconds:
            registry.closing.wait(fault.delay_seconds)
        if fault is not None and fault.is_silent:
            self._record(0)
            self.close_connection = True
            return
        if fault is not None and fault.redirect_to:
            self._answer(307, b"", {"Location": f"{fault.redirect_to}{self.path}"})
        elif fault is not None and fault.status:
            self._answer(fault.status, fault.body, {"Content-Type": "application/json", **fault.headers})
        elif registry.auth is not None and path == "/token":
            self._token(registry.auth, query, body)
        elif registry.auth is not None and not registry.auth.admits(self.headers.get("Authorization", "")):
            match = _PATH.fullmatch(path)
            challenge = registry.auth.challenge(registry.url, match["repository"] if match else "")
            self._error(401, "UNAUTHORIZED", {"WWW-Authenticate": challenge})
        elif self.command == "POST":
            self._answer(202, b"", {"Location": f"{path}{id(self)}"})
        elif self.command == "PUT":
            self._take(registry, path, query, body)
        else:
            self._give(registry, path, fault)

    def _token(self, auth: FakeAuth, query: str, body: bytes) -> None:
        token = auth.issue(self.command, query, body, self.headers.get("Authorization", ""))
        if token is None:
            self._error(401, "UNAUTHORIZED")
        else:
            document = json.dumps({"token": token, "expires_in": auth.token_seconds}).encode()
            self._answer(200, document, {"Content-Type": "application/json"})

    def _take(self, registry: FakeRegistry, path: str, query: str, body: bytes) -> None:
        match = _PATH.fullmatch(path)
        if match is None:
            self._error(404, "NAME_UNKNOWN")
        elif match["kind"] == "manifests":
            name = match["name"]
            media_type = self.headers.get("Content-Type", "")
            registry.add_manifest(match["repository"], body, media_type, "" if ":" in name else name)
            self._answer(201, b"", {})
        else:
            registry.add_blob(match["repository"], body, parse_qs(query)["digest"][0])
            self._answer(201, b"", {})

    def _give(self, registry: FakeRegistry, path: str, fault: Fault | None) -> None:
        found = registry.find(path)
        if found is None:
            self._error(404, "MANIFEST_UNKNOWN" if "/manifests/" in path else "BLOB_UNKNOWN")
            return
        media_type, content, digest = found
        status, headers = 200, {"Content-Type": media_type}
        if digest:
            headers["Docker-Content-Digest"] = digest
        wanted = self.headers.get("Range")
        if wanted and not (fault is not None and fault.ignores_range):
            span = parse_range(wanted, len(content))
            if span is None:
                self._answer(416, b"", {})
                return
            status = 206
            headers["Content-Range"] = f"bytes {span[0]}-{span[1]}/{len(content)}"
            content = content[span[0] : span[1] + 1]
        self._answer(status, content, headers, fault)

    def _error(self, status: int, code: str, headers: dict[str, str] | None = None) -> None:
        body = json.dumps({"errors": [{"code": code, "message": code.lower().replace("_", " ")}]}).encode()
        self._answer(status, body, {"Content-Type": "application/json", **(headers or {})})

    def _answer(self, status: int, body: bytes, headers: dict[str, str], fault: Fault | None = None) -> None:
        self._record(status)
        fault = fault or Fault()
        if fault.is_corrupt and body:
            body = body[:-1] + bytes([body[-1] ^ 0xFF])
        headers = {**headers, **fault.headers}
        length = len(body) if fault.content_length is None else fault.content_length
        self.send_response_only(status)
        for name, value in {"Content-Length": str(length), **headers}.items():
            if name not in fault.without_headers:
                self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault.cut_after is not None or length > len(body):
            body = body[: fault.cut_after]
            self.close_connection = True
        if fault.bytes_per_second:
            self._drip(body, 1 / fault.bytes_per_second)
        else:
            self.wfile.write(body)

    def _drip(self, body: bytes, pause_seconds: float) -> None:
        for position in range(len(body)):
            self.wfile.write(body[position : position + 1])
            if self.server.registry.closing.wait(pause_seconds):
                self.close_connection = True
                return
