"""When an ended container may be started again (CrashLoopBackOff). Source: kubelet-images spec 15.

The window counts from the finish time of the container's last exit. The first restart is immediate: it makes the
entry whose delay the second one waits for.
"""

from __future__ import annotations

import hashlib

from pullet.base.jsonvalue import JsonObject, canonical_json
from pullet.kube.container import ContainerView
from pullet.kube.pod import PodView
from pullet.policy.backoff import INITIAL_SECONDS, MAX_SECONDS, ExponentialBackoff


def restart_backoff_key(pod: PodView, container: ContainerView) -> str:
    """Names the container in its present form: a changed image or changed resources start clean."""
    facts: JsonObject = {
        "pod": [pod.name, pod.namespace, pod.uid],
        "container": [container.name, container.image],
        "resources": {"limits": container.resources.limits, "requests": container.resources.requests},
    }
    return f"{pod.uid}/{container.name}/{hashlib.sha256(canonical_json(facts)).hexdigest()[:16]}"


class RestartBackoff:
    """10, 20, 40 … max seconds between an exit and the restart. Times are wall-clock seconds since the epoch."""

    def __init__(self, *, initial_seconds: float = INITIAL_SECONDS, max_seconds: float = MAX_SECONDS) -> None:
        self._backoff = ExponentialBackoff(initial_seconds=initial_seconds, max_seconds=max_seconds)

    def delay_seconds(self, key: str) -> float:
        """The present delay, as messages name it."""
        return self._backoff.delay(key)

    def remaining_seconds(self, key: str, finished_at: float, now: float) -> float:
        """Seconds until the container that ended at `finished_at` may start; 0.0 = now."""
        return self._backoff.remaining_since_event(key, finished_at, now)

    def record_restart(self, key: str, finished_at: float, now: float) -> float:
        """The container is started again now: the next exit waits longer. Returns that delay in seconds."""
        return self._backoff.advance(key, finished_at, now)

    def collect_garbage(self, now: float) -> None:
        """Forget entries that no longer count."""
        self._backoff.collect_garbage(now)
