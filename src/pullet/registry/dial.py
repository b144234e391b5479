"""Makes a connection to a registry: name lookup, TCP, TLS, with failures that say what they are.

The detail of a failure is worded as Go's net and crypto/tls packages word it: those are the texts that people find
when they search for a pull that failed.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import ssl
import threading
from dataclasses import dataclass
from typing import Any, Final
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

_POLL_MILLISECONDS: Final = 100  # how soon a stop is noticed while dialling
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
        stream = self._connect_any(target, stop)
        return self._start_tls(stream, context, target, stop) if context is not None else stream

    def _connect_any(self, target: DialTarget, stop: StopFlag) -> socket.socket:
        try:
            addresses = socket.getaddrinfo(target.name, target.port, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            raise target.unavailable(f"dial tcp: lookup {target.name}: {_lookup_text(error)}") from error
        except UnicodeError as error:
            raise target.unavailable(f"dial tcp: lookup {target.name}: no such host") from error
        detail = f"dial tcp: lookup {target.name}: no such host"
        deadline = self._clock.monotonic() + target.timeout_seconds
        for family, kind, protocol, _, address in addresses:
            try:
                return self._connect(socket.socket(family, kind, protocol), address, deadline, stop)
            except TimeoutError:
                detail = f"dial tcp {_address_text(address)}: i/o timeout"
            except OSError as error:
                detail = f"dial tcp {_address_text(address)}: connect: {os_text(error)}"
        raise target.unavailable(detail)

    def _connect(self, stream: socket.socket, address: Any, deadline: float, stop: StopFlag) -> socket.socket:
        try:
            stream.setblocking(False)
            code = stream.connect_ex(address)
            if code == errno.EINPROGRESS:
                poll = select.poll()
                poll.register(stream, select.POLLOUT)
                while not poll.poll(_POLL_MILLISECONDS):
                    stop.check()
                    if self._clock.monotonic() >= deadline:
                        raise TimeoutError
                code = stream.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                raise OSError(code, os.strerror(code))
            stream.settimeout(self._read_timeout_seconds)
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except BaseException:
            stream.close()
            raise
        return stream

    def _start_tls(
        self, stream: socket.socket, context: ssl.SSLContext, target: DialTarget, stop: StopFlag
    ) -> ssl.SSLSocket:
        stream.settimeout(min(self._read_timeout_seconds, target.timeout_seconds))
        forget = stop.on_stop(lambda: stream.shutdown(socket.SHUT_RDWR))
        try:
            wrapped = context.wrap_socket(stream, server_hostname=target.name)
        except ssl.SSLCertVerificationError as error:
            stream.close()
            raise target.unavailable(
                f"tls: failed to verify certificate: x509: {_certificate_text(error, target.name)}", CertificateError
            ) from error
        except (OSError, ValueError) as error:
            stream.close()
            stop.check()
            if isinstance(error, ssl.SSLError) and error.reason in _PLAIN_HTTP_REASONS:
                raise target.unavailable("http: server gave HTTP response to HTTPS client", PlainHttpError) from error
            if isinstance(error, TimeoutError):
                raise target.unavailable("net/http: TLS handshake timeout") from error
            text = f"remote error: tls: {error.reason}" if isinstance(error, ssl.SSLError) else os_text(error)
            raise target.unavailable(text) from error
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


def _lookup_text(error: socket.gaierror) -> str:
    if error.errno in {socket.EAI_NONAME, socket.EAI_NODATA}:
        return "no such host"
    if error.errno == socket.EAI_AGAIN:
        return "server misbehaving: temporary failure in name resolution"
    return error.strerror or "failed"


def _address_text(address: Any) -> str:
    host, port = address[0], address[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


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
