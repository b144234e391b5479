"""Makes a connection to a registry: name lookup, TCP, a proxy's tunnel, TLS, with failures that say what they are.

The detail of a failure is worded as Go's net and crypto/tls packages word it: those are the texts that people find
when they search for a pull that failed.
"""

from __future__ import annotations

import socket
import ssl
import threading

from pullet.kit.clock import Clock
from pullet.kit.worker_threads import StopFlag
from pullet.registry.dial_target import DialTarget
from pullet.registry.endpoint import TlsSettings
from pullet.registry.name_lookup import NameLookup
from pullet.registry.proxies import PROXY_FAILURE
from pullet.registry.tcp_connect import connect_first
from pullet.registry.tls_handshake import Stream, make_context, start_tls
from pullet.registry.tunnel import open_socks, open_tunnel


class Dialer:
    """Dials; keeps one TLS context per TlsSettings. Thread-safe."""

    def __init__(self, *, clock: Clock, read_timeout_seconds: float) -> None:
        self._clock, self._read_timeout_seconds = clock, read_timeout_seconds
        self._names = NameLookup(clock=clock)
        self._lock = threading.Lock()
        self._contexts: dict[TlsSettings, ssl.SSLContext] = {}

    def dial(self, target: DialTarget, stop: StopFlag) -> Stream:
        """A connected stream whose reads and writes time out after `read_timeout_seconds` without a byte.

        Raises:
            RegistryUnavailableError: with its leaves for TLS.
            HostsConfigError: a CA or client certificate file cannot be used.
            StoppedError: `stop` was set meanwhile.
        """
        stop.check()
        context = self._context(target.tls) if target.scheme == "https" else None
        stream = self._connect(target, stop)
        if context is None:
            return stream
        secured = start_tls(stream, context, target, stop, timeout_seconds=self._patience(target))
        secured.settimeout(self._read_timeout_seconds)
        return secured

    def _connect(self, target: DialTarget, stop: StopFlag) -> socket.socket:
        deadline = self._clock.monotonic() + target.timeout_seconds
        proxy = target.proxy
        if proxy is None:
            return self._connect_to(target.name, target.port, target, deadline, stop, "")
        stream = self._connect_to(proxy.name, proxy.port, target, deadline, stop, PROXY_FAILURE)
        if proxy.scheme == "https":
            # the CAs that are trusted for the registry are for its proxy too, its client certificate is not
            context = self._context(TlsSettings(ca_files=target.tls.ca_files))
            secured = start_tls(stream, context, target, stop, timeout_seconds=self._patience(target), proxy=proxy)
            assert isinstance(secured, socket.socket), "over a plain stream"
            stream = secured
            stream.settimeout(self._read_timeout_seconds)
        try:
            if proxy.is_socks:
                open_socks(stream, proxy, target, stop)
            elif target.scheme == "https":
                open_tunnel(stream, proxy, target, stop)
        except BaseException:
            stream.close()
            raise
        return stream

    def _patience(self, target: DialTarget) -> float:
        return min(self._read_timeout_seconds, target.timeout_seconds)

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

    def _context(self, tls: TlsSettings) -> ssl.SSLContext:
        with self._lock:
            context = self._contexts.get(tls)
            if context is None:
                context = self._contexts[tls] = make_context(tls)
            return context


def _lookup_text(error: OSError | UnicodeError) -> str:
    if not isinstance(error, OSError) or error.errno in {socket.EAI_NONAME, socket.EAI_NODATA}:
        return "no such host"
    if error.errno == socket.EAI_AGAIN:
        return "server misbehaving: temporary failure in name resolution"
    return error.strerror or "failed"
