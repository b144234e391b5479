"""Ends pods that ran longer than their activeDeadlineSeconds. Source: kubernetes pkg/kubelet/active_deadline.go."""

from __future__ import annotations

from datetime import timedelta

from pullet.kit.clock import Clock
from pullet.kube import reasons
from pullet.kube.meta import parse_time
from pullet.kube.pod import PodView
from pullet.node.events import EventSink
from pullet.node.pod_workers import KillRequest, PodWorkers, WorkState
from pullet.node.status_manager import StatusManager

PERIOD_SECONDS = 1.0
MESSAGE = "Pod was active on the node longer than the specified deadline"


class ActiveDeadlines:
    """Looks every second; time counts from the pod's startTime."""

    def __init__(self, *, workers: PodWorkers, statuses: StatusManager, events: EventSink, clock: Clock) -> None:
        self._workers, self._statuses, self._events, self._clock = workers, statuses, events, clock

    async def run(self) -> None:
        """Check until cancelled."""
        while True:
            await self._clock.sleep(PERIOD_SECONDS)
            for uid, pod in self._workers.pods.items():
                if self._workers.state(uid) is WorkState.SYNCING and self._is_over(pod):
                    self._events.event(pod.reference(), reasons.NORMAL, reasons.DEADLINE_EXCEEDED, MESSAGE)
                    self._workers.kill_pod(uid, KillRequest(reason=reasons.DEADLINE_EXCEEDED, message=MESSAGE))

    def _is_over(self, pod: PodView) -> bool:
        limit = pod.spec.active_deadline_seconds
        started_at = parse_time(self._statuses.get(pod.uid).get("startTime"))
        return (
            limit is not None and started_at is not None and self._clock.now() - started_at >= timedelta(seconds=limit)
        )
