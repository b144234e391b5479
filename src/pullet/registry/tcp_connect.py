"""A TCP connection to whichever address of a host answers first (RFC 8305, "happy eyeballs").

Addresses are tried in order with the families taking turns; the next one starts when one failed or has not answered
for a quarter of a second, and the first to answer wins. So a host whose IPv6 leads nowhere costs a quarter of a second.
"""

from __future__ import annotations

import errno
import os
import select
import socket
from collections.abc import Sequence
from itertools import chain, zip_longest
from typing import Any, Final

from pullet.kit.clock import Clock
from pullet.kit.worker_threads import StopFlag

HEAD_START_SECONDS: Final = 0.25
_POLL_SECONDS: Final = 0.1  # how soon a stop is noticed


def connect_first(
    addresses: Sequence[tuple[Any, ...]], *, deadline: float, clock: Clock, stop: StopFlag
) -> socket.socket | str:
    """A connected, blocking socket; or what went wrong with the first address, in Go's words. Never leaks a socket.

    `addresses` as getaddrinfo gives them; `deadline` is monotonic seconds. Raises StoppedError.
    """
    race = _Race(clock)
    waiting = alternate_families(addresses)
    next_start = clock.monotonic()
    try:
        while waiting or race.pending:
            now = clock.monotonic()
            if now >= deadline:
                break
            if waiting and (now >= next_start or not race.pending):
                race.start(waiting.pop(0))
                next_start = now + HEAD_START_SECONDS
            elif race.poll(min(_POLL_SECONDS, deadline - now)):
                next_start = now  # one failed: the next may start at once
            stop.check()
            if race.winner is not None:
                return race.winner
        race.time_out()
        return race.failure
    finally:
        race.close()


def alternate_families(addresses: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The same addresses, IPv6 and IPv4 in turn, beginning with the family of the first."""
    preferred = [one for one in addresses if one[0] == addresses[0][0]]
    others = [one for one in addresses if one[0] != addresses[0][0]]
    return [one for one in chain.from_iterable(zip_longest(preferred, others)) if one is not None]


class _Race:
    """Connection attempts under way. `failure` is that of the address tried first."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.pending: dict[int, tuple[socket.socket, Any]] = {}
        self.winner: socket.socket | None = None
        self.failure = ""

    def start(self, address: tuple[Any, ...]) -> None:
        family, kind, protocol, _, where = address
        try:
            stream = socket.socket(family, kind, protocol)
        except OSError as error:  # this machine does not speak the family
            self._failed(where, error.errno or errno.EAFNOSUPPORT)
            return
        stream.setblocking(False)
        code = stream.connect_ex(where)
        if code in {0, errno.EINPROGRESS}:
            self.pending[stream.fileno()] = stream, where
        else:
            stream.close()
            self._failed(where, code)

    def poll(self, seconds: float) -> bool:
        """Wait for news; whether an attempt failed."""
        poll = select.poll()
        for number in self.pending:
            poll.register(number, select.POLLOUT)
        has_failed = False
        for number, _ in poll.poll(max(1, int(seconds * 1000))):
            stream, where = self.pending.pop(number)
            code = stream.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code == 0 and self.winner is None:
                stream.setblocking(True)
                self.winner = stream
                continue
            stream.close()
            if code:
                has_failed = True
                self._failed(where, code)
        return has_failed

    def time_out(self) -> None:
        for _, where in self.pending.values():
            self.failure = self.failure or f"dial tcp {address_text(where)}: i/o timeout"
        self.failure = self.failure or "dial tcp: i/o timeout"

    def close(self) -> None:
        for stream, _ in self.pending.values():
            stream.close()
        self.pending.clear()

    def _failed(self, where: Any, code: int) -> None:
        self.failure = self.failure or f"dial tcp {address_text(where)}: connect: {os.strerror(code).lower()}"


def address_text(where: Any) -> str:
    """`127.0.0.1:5000`, `[::1]:5000`."""
    host, port = where[0], where[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
