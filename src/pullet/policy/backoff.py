"""Exponential back-off per key, as client-go's flowcontrol.Backoff keeps it: pure state, time handed in.

Times are seconds on one base of the caller's choice. An entry is (delay, last update); it counts as expired when
the event in question lies more than twice the largest delay after its last update.
Source: client-go util/flowcontrol/backoff.go; kubelet-images spec 6.
"""

from __future__ import annotations

from pullet.base.values import Value

INITIAL_SECONDS = 10.0
MAX_SECONDS = 300.0


class _Entry(Value):
    delay_seconds: float
    updated_at: float


class ExponentialBackoff:
    """Delays of initial, 2·initial, 4·initial … max seconds per key. Success resets nothing; only time does."""

    def __init__(self, *, initial_seconds: float = INITIAL_SECONDS, max_seconds: float = MAX_SECONDS) -> None:
        self.initial_seconds, self.max_seconds = initial_seconds, max_seconds
        self._entries: dict[str, _Entry] = {}

    def delay(self, key: str) -> float:
        """The delay of the key's entry in seconds, 0.0 without one."""
        entry = self._entries.get(key)
        return entry.delay_seconds if entry else 0.0

    def remaining_since_update(self, key: str, now: float) -> float:
        """Seconds until the window that began at the entry's last update is over; 0.0 outside it."""
        entry = self._entries.get(key)
        if entry is None or self._is_expired(entry, now):
            return 0.0
        return max(0.0, entry.delay_seconds - (now - entry.updated_at))

    def remaining_since_event(self, key: str, event_at: float, now: float) -> float:
        """Seconds until the entry's delay, counted from `event_at`, is over; 0.0 outside the window."""
        entry = self._entries.get(key)
        if entry is None or self._is_expired(entry, event_at):
            return 0.0
        return max(0.0, entry.delay_seconds - (now - event_at))

    def advance(self, key: str, event_at: float, now: float) -> float:
        """Start the key's next window at `now`; the new delay in seconds. An expired entry starts afresh."""
        entry = self._entries.get(key)
        if entry is None or self._is_expired(entry, event_at):
            delay = self.initial_seconds
        else:
            delay = min(2 * entry.delay_seconds, self.max_seconds)
        delay = min(delay, self.max_seconds)
        self._entries[key] = _Entry(delay, now)
        return delay

    def collect_garbage(self, now: float) -> None:
        """Forget every expired entry."""
        self._entries = {key: entry for key, entry in self._entries.items() if not self._is_expired(entry, now)}

    def _is_expired(self, entry: _Entry, event_at: float) -> bool:
        return event_at - entry.updated_at > 2 * self.max_seconds
