"""Host names to addresses, with waits that end when the caller wants them to.

getaddrinfo blocks for as long as the system's resolver likes and cannot be interrupted. So it runs on threads of its
own, at most a few; who waits may leave, and the thread ends by itself once the resolver came back.
"""

from __future__ import annotations

import socket
import threading
from typing import Any, Final, TypeAlias

import msgspec

from pullet.base.values import State
from pullet.kit.clock import Clock
from pullet.kit.worker_threads import StopFlag

MAX_LOOKUPS: Final = 16
_POLL_SECONDS: Final = 0.1  # how soon a stop or the deadline is noticed

Addresses: TypeAlias = list[tuple[Any, ...]]  # as getaddrinfo gives them


class _Lookup(State, eq=False):
    """One question under way; everybody who asks the same waits for it."""

    done: threading.Event = msgspec.field(default_factory=threading.Event)
    addresses: Addresses = msgspec.field(default_factory=list)
    error: OSError | UnicodeError | None = None


class NameLookup:
    """Looks names up. Thread-safe."""

    def __init__(self, *, clock: Clock, max_lookups: int = MAX_LOOKUPS) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._slots = threading.Semaphore(max_lookups)
        self._under_way: dict[tuple[str, int], _Lookup] = {}

    def addresses(self, name: str, port: int, *, deadline: float, stop: StopFlag) -> Addresses:
        """The stream addresses of `name`, in the system's order of preference. `deadline` is monotonic seconds.

        Raises:
            OSError: gaierror when the name has none; TimeoutError at the deadline.
            UnicodeError: it cannot be a host name.
            StoppedError: `stop` was set meanwhile.
        """
        try:
            return socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        except socket.gaierror:
            pass  # a name, not an address
        lookup = self._join(name, port, deadline, stop)
        while not lookup.done.wait(_POLL_SECONDS):
            self._check(deadline, stop)
        stop.check()
        if lookup.error is not None:
            raise lookup.error
        return lookup.addresses

    def _join(self, name: str, port: int, deadline: float, stop: StopFlag) -> _Lookup:
        while True:
            with self._lock:
                lookup = self._under_way.get((name, port))
                if lookup is not None:
                    return lookup
                if self._slots.acquire(blocking=False):
                    lookup = self._under_way[name, port] = _Lookup()
                    break
            if self._slots.acquire(timeout=_POLL_SECONDS):
                self._slots.release()  # there is room now: look again
            self._check(deadline, stop)
        # a daemon: a resolver that hangs must not keep the program from ending
        threading.Thread(target=self._run, args=(name, port, lookup), name=f"lookup/{name}", daemon=True).start()
        return lookup

    def _run(self, name: str, port: int, lookup: _Lookup) -> None:
        try:
            lookup.addresses = self._ask(name, port)
        except (OSError, UnicodeError) as error:
            lookup.error = error
        finally:
            with self._lock:
                del self._under_way[name, port]
            self._slots.release()
            lookup.done.set()

    def _ask(self, name: str, port: int) -> Addresses:
        return socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)

    def _check(self, deadline: float, stop: StopFlag) -> None:
        stop.check()
        if self._clock.monotonic() >= deadline:
            raise TimeoutError
