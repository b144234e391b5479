"""How many connections may be in use at once: to one host, and in all."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Final

from pullet.kit.worker_threads import StopFlag

_POLL_SECONDS: Final = 0.1  # how soon a stop is noticed


class HostSlots:
    """Slots by host. Thread-safe; waiters are served in no order. Who holds a slot must not wait for another."""

    def __init__(self, *, per_host: int, in_all: int) -> None:
        self._per_host, self._in_all = per_host, in_all
        self._changed = threading.Condition()
        self._used: Counter[str] = Counter()

    def take(self, host: str, stop: StopFlag) -> None:
        """Wait for a slot of `host`; `give_back` it. Raises StoppedError."""
        with self._changed:
            while self._used[host] >= self._per_host or self._used.total() >= self._in_all:
                stop.check()
                self._changed.wait(_POLL_SECONDS)
            self._used[host] += 1

    def give_back(self, host: str) -> None:
        """One connection to `host` is in use no longer."""
        with self._changed:
            self._used[host] -= 1
            if not self._used[host]:
                del self._used[host]
            self._changed.notify_all()
