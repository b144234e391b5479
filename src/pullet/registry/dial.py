"""Makes a connection to a registry: name lookup, TCP, a proxy's tunnel, TLS, with failures that say what they are.

The detail of a failure is worded as Go's net and crypto/tls packages word it: those are the texts that people find
when they search for a pull that failed.
"""

from __future__ import annotations

import os
import socket
import ssl
import threading
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from pullet.kit.clock import Clock
from pullet.kit.worker_threads import StopFlag
from pullet.registry.endpoint import TlsSettings
from pullet.registry.errors import (
    CertificateError,
    HostsConfigError,
    PlainHttpError,
    RegistryUnavailableError,
)
from pullet.registry.name_lookup import NameLookup
from pullet.registry.proxies import PROXY_FAILURE, Proxy
from pullet.registry.tcp_connect import connect_first

_MAX_TUNNEL_ANSWER_BYTES: Final = 16 * 1024
_PLAIN_HTTP_REASONS: Final = frozenset(
    {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DialTarget:
    """Where to connect, and the request it is for (named in errors)."""

    scheme: str
    host: str  # with port if given
    tls: TlsSettings
    method: str
    url: str
    timeout_seconds: float
    proxy: Proxy | None = None

    @property
    def name(self) -> str:
        """The host without port and brackets."""
        return urlsplit(f"//{self.host}").hostname or ""

    @property
    def port(self) -> int:
        """The port, or the scheme's own."""
        return urlsplit(f"//{self.host}").port or (443 if self.scheme == "https" else 80)

    def unavailable(
        self, detail: str, kind: type[RegistryUnavailableError] = RegistryUnavailableError
    ) -> RegistryUnavailableError:
        """The error for this target."""
        return kind(host=self.host, method=self.method, url=self.url, detail=detail)


class Dialer:
    """Dials; keeps one TLS context per TlsSettings. Thread-safe."""

    def __init__(self, *, clock: Clock, read_timeout_seconds: float) -> None:
        self._clock, self._read_timeout_seconds = clock, read_timeout_seconds
        self._names = NameLookup(clock=clock)
        self._lock = threading.Lock()
        self._contexts: dict[TlsSettings, ssl.SSLContext] = {}

    def dial(self, target: DialTarget, stop: StopFlag) -> socket.socket:
        """A connected socket whose reads and writes time out after `read_timeout_seconds` without a byte.

        Raises:
            RegistryUnavailableError: with its leaves for TLS.
            HostsConfigError: a CA or client certificate file cannot be used.
            StoppedError: `stop` was set meanwhile.
        """
        stop.check()
        context = self._context(target.tls) if target.scheme == "https" else None
        stream = self._connect(target, stop)
        return self._start_tls(stream, context, target, stop) if context is not None else stream

    def _connect(self, target: DialTarget, stop: StopFlag) -> socket.socket:
        deadline = self._clock.monotonic() + target.timeout_seconds
        proxy = target.proxy
        if proxy is None:
            return self._connect_to(target.name, target.port, target, deadline, stop, "")
        stream = self._connect_to(proxy.name, proxy.port, target, deadline, stop, PROXY_FAILURE)
        if target.scheme == "https":
            try:
                self._open_tunnel(stream, proxy, target, stop)
            except BaseException:
                stream.close()
                raise
        return stream

    def _connect_to(
        self, name: str, port: int, target: DialTarget, deadline: float, stop: StopFlag, prefix: str
    ) -> socket.socket:
        try:
            addresses = self._names.addresses(name, port, deadline=deadline, stop=stop)
        except TimeoutError as error:
            raise target.unavailable(f"{prefix}dial tcp: lookup {name}: i/o timeout") from error
        except (OSError, UnicodeError) as error:
            raise target.unavailable(f"{prefix}dial tcp: lookup {name}: {_lookup_text(error)}") from error
        stream = connect_first(addresses, deadline=deadline, clock=self._clock, stop=stop)
        if isinstance(stream, str):
            raise target.unavailable(prefix + stream)
        stream.settimeout(self._read_timeout_seconds)
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return stream

    def _open_tunnel(self, stream: socket.socket, proxy: Proxy, target: DialTarget, stop: StopFlag) -> None:
        """CONNECT. Source: RFC 9110, 9.3.6."""
        name = f"[{target.name}]" if ":" in target.name else target.name
        lines = [f"CONNECT {name}:{target.port} HTTP/1.1", f"Host: {name}:{target.port}"]
        if proxy.authorization:
            lines.append(f"Proxy-Authorization: {proxy.authorization.reveal()}")
        forget = stop.on_stop(lambda: stream.shutdown(socket.SHUT_RDWR))
        answer = b""
        try:
            stream.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
            while not answer.endswith(b"\r\n\r\n"):  # one by one: what follows belongs to the tunnel
                data = stream.recv(1)
                if not data or len(answer) > _MAX_TUNNEL_ANSWER_BYTES:
                    raise target.unavailable(f"{PROXY_FAILURE}{proxy.host} ended the connection")
                answer += data
        except OSError as error:
            stop.check()
            detail = "i/o timeout" if isinstance(error, TimeoutError) else os_text(error)
            raise target.unavailable(f"{PROXY_FAILURE}{proxy.host}: {detail}") from error
        finally:
            forget()
        stop.check()
        version, _, status = answer.partition(b"\r\n")[0].decode("latin-1").partition(" ")
        if not version.startswith("HTTP/1.") or not status.startswith("2"):
            raise target.unavailable(f"{PROXY_FAILURE}{proxy.host} answered {status[:100] or 'no HTTP'}")

    def _start_tls(
        self, stream: socket.socket, context: ssl.SSLContext, target: DialTarget, stop: StopFlag
    ) -> ssl.SSLSocket:
        stream.settimeout(min(self._read_timeout_seconds, target.timeout_seconds))
        try:
            wrapped = context.wrap_socket(stream, server_hostname=target.name, do_handshake_on_connect=False)
        except (OSError, ValueError) as error:
            stream.close()
            raise target.unavailable(os_text(error)) from error
        # the base class's shutdown wakes the handshake; the stream itself gave its descriptor away
        forget = stop.on_stop(lambda: socket.socket.shutdown(wrapped, socket.SHUT_RDWR))
        try:
            wrapped.do_handshake()
        except ssl.SSLCertVerificationError as error:
            wrapped.close()
            raise target.unavailable(
                f"tls: failed to verify certificate: x509: {_certificate_text(error, target.name)}", CertificateError
            ) from error
        except (OSError, ValueError) as error:
            wrapped.close()
            stop.check()
            if isinstance(error, ssl.SSLError) and error.reason in _PLAIN_HTTP_REASONS:
                raise target.unavailable("http: server gave HTTP response to HTTPS client", PlainHttpError) from error
            if isinstance(error, TimeoutError):
                raise target.unavailable("net/http: TLS handshake timeout") from error
            text = f"remote error: tls: {error.reason}" if isinstance(error, ssl.SSLError) else os_text(error)
            raise target.unavailable(text) from error
        except BaseException:
            wrapped.close()
            raise
        finally:
            forget()
        wrapped.settimeout(self._read_timeout_seconds)
        return wrapped

    def _context(self, tls: TlsSettings) -> ssl.SSLContext:
        with self._lock:
            context = self._contexts.get(tls)
            if context is None:
                context = self._contexts[tls] = _make_context(tls)
            return context


def _make_context(tls: TlsSettings) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if tls.skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    for file in tls.ca_files:
        try:
            context.load_verify_locations(cafile=file)
        except OSError as error:  # SSLError is one
            raise HostsConfigError(f"CA file {file} cannot be used: {os_text(error)}") from error
    for certificate, key in tls.client_pairs:
        try:
            context.load_cert_chain(certificate, key)
        except OSError as error:
            raise HostsConfigError(
                f"client certificate {certificate} with key {key} cannot be used: {os_text(error)}"
            ) from error
    return context


def os_text(error: BaseException) -> str:
    """An OSError in the words of Go: `connection refused`, without Python's number and path."""
    if isinstance(error, ssl.SSLError):
        return f"tls: {error.reason or error}"
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno).lower()
    return str(error) or type(error).__name__


def _lookup_text(error: OSError | UnicodeError) -> str:
    if not isinstance(error, OSError) or error.errno in {socket.EAI_NONAME, socket.EAI_NODATA}:
        return "no such host"
    if error.errno == socket.EAI_AGAIN:
        return "server misbehaving: temporary failure in name resolution"
    return error.strerror or "failed"


def _certificate_text(error: ssl.SSLCertVerificationError, name: str) -> str:
    match error.verify_code:
        case 10:
            return "certificate has expired or is not yet valid"
        case 62 | 64:
            return f"certificate is not valid for {name}"
        case 18 | 19 | 20 | 21:
            return "certificate signed by unknown authority"
        case _:
            return error.verify_message
