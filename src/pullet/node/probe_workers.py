"""One worker per probe of each container: probes at its period and keeps the standing verdict.

Source: kubernetes pkg/kubelet/prober/{worker,prober_manager}.go; the rules of verdicts are policy.probe_state's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from pullet.base.values import State
from pullet.cri.types import ContainerState
from pullet.kit.clock import Clock
from pullet.kit.tasks import Supervisor
from pullet.kube import reasons
from pullet.kube.container import ContainerKind, ContainerView, ProbeView
from pullet.kube.pod import PodView
from pullet.node.alarm import Alarm
from pullet.node.events import EventSink
from pullet.node.pod_cache import PodCache
from pullet.node.probers import Prober
from pullet.policy.container_actions import should_be_running
from pullet.policy.probe_state import ProbeResult, ProbeState, ProbeType, ProbeVerdicts, should_probe
from pullet.policy.runtime_status import ContainerRuntimeStatus, PodRuntimeStatus
from pullet.policy.wording import Wording


class _Worker(State):
    pod: PodView
    container: ContainerView
    type: ProbeType
    probe: ProbeView
    alarm: Alarm
    state: ProbeState
    container_id: str = ""
    task: asyncio.Task[None] | None = None


class ProbeManager:
    """The probes of all pods. `on_change(uid)`: a verdict changed, the pod's status or its containers must follow."""

    def __init__(
        self,
        *,
        prober: Prober,
        cache: PodCache,
        supervisor: Supervisor,
        events: EventSink,
        wording: Wording,
        clock: Clock,
        on_change: Callable[[str], None],
    ) -> None:
        self._prober, self._cache, self._supervisor = prober, cache, supervisor
        self._events, self._wording, self._clock, self._on_change = events, wording, clock, on_change
        self._workers: dict[tuple[str, str, ProbeType], _Worker] = {}

    def add_pod(self, pod: PodView) -> None:
        """Start probing the pod's containers; known ones get the newer pod."""
        for container, probe_type, probe in _probes(pod):
            key = (pod.uid, container.name, probe_type)
            worker = self._workers.get(key)
            if worker is not None:
                worker.pod, worker.container, worker.probe = pod, container, probe
                continue
            worker = _Worker(pod, container, probe_type, probe, Alarm(self._clock), ProbeState.initial(probe_type))
            self._workers[key] = worker
            name = f"probe/{pod.uid}/{container.name}/{probe_type}"
            worker.task = self._supervisor.start(name, self._runner(worker), restart_seconds=10.0)

    def wake(self, uid: str) -> None:
        """Something happened to the pod's containers: a new one is probed without waiting for the period."""
        for key, worker in self._workers.items():
            if key[0] == uid:
                worker.alarm.ring()

    def stop_liveness(self, uid: str) -> None:
        """The pod is being stopped: liveness and startup no longer matter."""
        self._stop(key for key in list(self._workers) if key[0] == uid and key[2] is not ProbeType.READINESS)

    def remove_pod(self, uid: str) -> None:
        """Stop probing the pod."""
        self._stop(key for key in list(self._workers) if key[0] == uid)

    def verdicts(self, uid: str) -> ProbeVerdicts:
        """Standing verdicts by container id."""
        found: dict[ProbeType, dict[str, ProbeResult]] = {kind: {} for kind in ProbeType}
        for key, worker in self._workers.items():
            if key[0] == uid and worker.container_id:
                found[worker.type][worker.container_id] = worker.state.verdict
        return ProbeVerdicts(
            liveness=found[ProbeType.LIVENESS],
            readiness=found[ProbeType.READINESS],
            startup=found[ProbeType.STARTUP],
        )

    def _stop(self, keys: Iterator[tuple[str, str, ProbeType]]) -> None:
        for key in keys:
            worker = self._workers.pop(key)
            if worker.task is not None:
                worker.task.cancel()

    def _runner(self, worker: _Worker) -> Callable[[], Coroutine[Any, Any, None]]:
        async def run() -> None:
            due_at = self._clock.monotonic()
            while True:
                status = await self._cache.get(worker.pod.uid)
                container = status.latest(worker.container.name)
                if container is not None and container.id != worker.container_id:
                    self._begin(worker, container)
                    due_at = self._clock.monotonic()
                if self._clock.monotonic() >= due_at:
                    await self._tick(worker, status, container)
                    due_at = self._clock.monotonic() + worker.probe.period_seconds
                await worker.alarm.wait(max(0.0, due_at - self._clock.monotonic()))

        return run

    def _begin(self, worker: _Worker, container: ContainerRuntimeStatus) -> None:
        worker.container_id = container.id
        worker.state = ProbeState.initial(worker.type)
        if _was_good(worker, container.id):
            worker.state = msgspec.structs.replace(worker.state, verdict=ProbeResult.SUCCESS)
        self._on_change(worker.pod.uid)

    async def _tick(self, worker: _Worker, status: PodRuntimeStatus, container: ContainerRuntimeStatus | None) -> None:
        if container is None or worker.state.is_on_hold:
            return
        if container.state is not ContainerState.RUNNING:
            if worker.type is ProbeType.READINESS and not should_be_running(worker.container, worker.pod, status):
                self._judge(worker, ProbeState.initial(worker.type))
            return
        started = datetime.fromtimestamp(container.started_at / 1e9, UTC)
        age = (self._clock.now() - started).total_seconds()
        if not should_probe(worker.type, worker.probe, seconds_since_start=age, is_started=self._is_started(worker)):
            return
        outcome = await self._prober.probe(
            worker.probe,
            container=worker.container,
            container_id=container.id,
            pod_ip=status.ips[0] if status.ips else "127.0.0.1",
        )
        reference = worker.pod.reference(worker.container)
        if outcome.result is ProbeResult.FAILURE:
            text = self._wording.probe_failed(worker.type, outcome.output)
            self._events.event(reference, reasons.WARNING, reasons.UNHEALTHY, text)
        elif outcome.result is ProbeResult.UNKNOWN:
            text = self._wording.probe_errored(worker.type, outcome.output)
            self._events.event(reference, reasons.WARNING, reasons.UNHEALTHY, text)
        elif outcome.is_warning:
            text = self._wording.probe_warned(worker.type, outcome.output)
            self._events.event(reference, reasons.WARNING, reasons.PROBE_WARNING, text)
        self._judge(worker, worker.state.observe(outcome.result, worker.probe))

    def _judge(self, worker: _Worker, state: ProbeState) -> None:
        is_changed = state.verdict is not worker.state.verdict
        worker.state = state
        if is_changed:
            self._on_change(worker.pod.uid)

    def _is_started(self, worker: _Worker) -> bool:
        if worker.container.startup_probe is None:
            return True
        startup = self._workers.get((worker.pod.uid, worker.container.name, ProbeType.STARTUP))
        return (
            startup is not None
            and startup.container_id == worker.container_id
            and startup.state.verdict is ProbeResult.SUCCESS
        )


def _was_good(worker: _Worker, container_id: str) -> bool:
    """Whether an earlier run of the node told that about this very container: a restart changes nobody's status.

    Source: kubernetes KEP-4781.
    """
    told = {ProbeType.READINESS: "ready", ProbeType.STARTUP: "started"}.get(worker.type)
    status = worker.pod.status
    statuses = (*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ()))
    return told is not None and any(
        str(each.get("containerID")).endswith(f"://{container_id}") and each.get(told) is True for each in statuses
    )


def _probes(pod: PodView) -> Iterator[tuple[ContainerView, ProbeType, ProbeView]]:
    for container in pod.all_containers():
        if container.kind is ContainerKind.EPHEMERAL or (
            container.kind is ContainerKind.INIT and not container.is_sidecar
        ):
            continue
        for probe_type, probe in (
            (ProbeType.STARTUP, container.startup_probe),
            (ProbeType.LIVENESS, container.liveness_probe),
            (ProbeType.READINESS, container.readiness_probe),
        ):
            if probe is not None:
                yield container, probe_type, probe
