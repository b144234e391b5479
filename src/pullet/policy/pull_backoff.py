"""When a failed pull may be tried again, and what the failure was. Source: kubelet-images spec 6.

Key: pod uid and the image string exactly as in the pod, so containers and image volumes of one pod share it, and a
pod made again starts clean. A node that restarts forgets all.
"""

from __future__ import annotations

from pullet.policy.backoff import INITIAL_SECONDS, MAX_SECONDS, ExponentialBackoff


def pull_backoff_key(pod_uid: str, image: str) -> str:
    """The key of one image in one pod."""
    return f"{pod_uid}_{image}"


class PullBackoff:
    """10, 20, 40, 80, 160, 300, 300 … seconds after each failed pull of a key. `now` is monotonic seconds."""

    def __init__(self, *, initial_seconds: float = INITIAL_SECONDS, max_seconds: float = MAX_SECONDS) -> None:
        self._backoff = ExponentialBackoff(initial_seconds=initial_seconds, max_seconds=max_seconds)
        self._failures: dict[str, str] = {}

    def remaining_seconds(self, key: str, now: float) -> float:
        """Seconds until a pull may be tried; 0.0 = now."""
        return self._backoff.remaining_since_update(key, now)

    def last_failure(self, key: str) -> str:
        """`<reason>: <message>` of the last failed pull, or nothing: none failed, or a new attempt has begun."""
        return self._failures.get(key, "")

    def record_attempt(self, key: str) -> None:
        """A pull begins: the old failure no longer speaks for the key; its delay stays."""
        self._failures.pop(key, None)

    def record_failure(self, key: str, now: float, *, reason: str, message: str) -> float:
        """A pull failed at `now`: the next window begins. Returns its length in seconds."""
        self._failures[key] = f"{reason}: {message}"
        return self._backoff.advance(key, now, now)

    def record_success(self, now: float) -> None:
        """A pull succeeded: expired entries of all keys go; the key's own delay is not reset."""
        self._backoff.collect_garbage(now)
        self._failures = {key: text for key, text in self._failures.items() if self._backoff.delay(key)}
