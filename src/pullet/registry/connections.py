"""Connections kept for the next request. A `Connection` is used by one thread at a time."""

from __future__ import annotations

import http.client
import select
import threading
from collections import defaultdict

from pullet.base.values import Value
from pullet.kit.clock import Clock
from pullet.kit.worker_threads import StopFlag
from pullet.registry.dial import Dialer
from pullet.registry.dial_target import DialTarget
from pullet.registry.endpoint import TlsSettings
from pullet.registry.host_slots import HostSlots
from pullet.registry.proxies import Proxy
from pullet.registry.tls_handshake import Stream, shut_down, wire_of


class Origin(Value):
    """What a connection is good for; different TLS settings never share one."""

    scheme: str
    host: str
    tls: TlsSettings
    proxy: Proxy | None = None


class Connection:
    """One HTTP/1.1 connection. `abort` may be called from any thread and wakes a blocking read."""

    def __init__(self, origin: Origin, host: str, port: int, stream: Stream) -> None:
        self.origin = origin
        self.http = http.client.HTTPConnection(host, port)
        self.http.default_port = 443 if origin.scheme == "https" else 80  # which the Host header leaves out
        self.http.auto_open = 0  # a lost connection is dialled anew by us, so that it is seen
        self.http.sock = stream  # of which it uses what a NestedTls has as well
        self._stream = stream
        self.is_reused = False
        self.idle_since = 0.0

    def abort(self) -> None:
        """Wake whoever reads or writes: they see an error or the end of the stream. May raise OSError."""
        shut_down(self._stream)

    def close(self) -> None:
        """Close the socket."""
        self.http.close()
        self._stream.close()

    def is_quiet(self) -> bool:
        """Whether an idle connection is still open, with nothing unread on it."""
        wire = wire_of(self._stream)
        if wire.fileno() < 0:
            return False
        poll = select.poll()  # select knows no descriptors above 1023
        poll.register(wire, select.POLLIN)
        return not poll.poll(0)


class Connections:
    """A pool of kept-alive connections per origin. Thread-safe.

    Every connection taken is either given back or dropped; no more are out at once than `slots` allow.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        dialer: Dialer,
        slots: HostSlots,
        max_idle_per_origin: int = 4,
        max_idle_seconds: float = 60.0,
    ) -> None:
        self._clock, self._dialer, self._slots = clock, dialer, slots
        self._max_idle_per_origin, self._max_idle_seconds = max_idle_per_origin, max_idle_seconds
        self._lock = threading.Lock()
        self._idle: dict[Origin, list[Connection]] = defaultdict(list)
        self._is_closed = False

    def take(self, target: DialTarget, stop: StopFlag, *, fresh: bool = False) -> Connection:
        """A kept connection, or (always with `fresh`) a new one. Raises as Dialer.dial."""
        self._slots.take(target.host, stop)
        try:
            return self._take(target, stop, fresh=fresh)
        except BaseException:
            self._slots.give_back(target.host)
            raise

    def _take(self, target: DialTarget, stop: StopFlag, *, fresh: bool) -> Connection:
        origin = Origin(target.scheme, target.host, target.tls, target.proxy)
        while not fresh:
            with self._lock:
                idle = self._idle.get(origin)
                connection = idle.pop() if idle else None
            if connection is None:
                break
            is_fresh_enough = self._clock.monotonic() - connection.idle_since <= self._max_idle_seconds
            if is_fresh_enough and connection.is_quiet():
                connection.is_reused = True
                return connection
            connection.close()
        return Connection(origin, target.name, target.port, self._dialer.dial(target, stop))

    def give_back(self, connection: Connection) -> None:
        """Keep a connection whose last response was read to its end."""
        connection.idle_since = self._clock.monotonic()
        with self._lock:
            idle = self._idle[connection.origin]
            if not self._is_closed and len(idle) < self._max_idle_per_origin:
                idle.append(connection)
                is_kept = True
            else:
                is_kept = False
        if not is_kept:
            connection.close()
        self._slots.give_back(connection.origin.host)

    def drop(self, connection: Connection) -> None:
        """Close a connection that cannot be used again."""
        connection.close()
        self._slots.give_back(connection.origin.host)

    def close(self) -> None:
        """Close what is idle; what is in use is closed when it comes back."""
        with self._lock:
            self._is_closed = True
            idle = [connection for connections in self._idle.values() for connection in connections]
            self._idle.clear()
        for connection in idle:
            connection.close()
