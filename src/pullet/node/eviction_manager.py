"""Pressure: looks how full disks and memory are, says so, frees what nobody needs, and at last ends pods.

    every 10 s: observe ─► a hard threshold is met ─► condition (and its taint), new pods are refused
                        ─► dead containers, unused images go ─► still met ─► one pod is evicted ─► observe again

A condition stays for the transition period after the last time one of its thresholds was met.
Source: kubernetes pkg/kubelet/eviction/eviction_manager.go.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence

from pullet.base.errors import PulletError
from pullet.base.jsonvalue import JsonObject
from pullet.kit.clock import Clock
from pullet.kube import reasons
from pullet.kube.pod import PodView
from pullet.node.container_gc import ContainerGC
from pullet.node.events import EventSink
from pullet.node.eviction_signals import EvictionSignals, PodUses
from pullet.node.metrics import NodeMetrics
from pullet.node.pod_workers import KillRequest, PodWorkers, WorkState
from pullet.policy.eviction import MEMORY, EvictionSignal, EvictionThreshold, Observation, met_thresholds
from pullet.policy.pod_eviction import eviction_message, eviction_order, is_critical, refusal

log = logging.getLogger(__name__)

PERIOD_SECONDS = 10.0  # Source: pkg/kubelet/kubelet.go evictionMonitoringPeriod
GRACE_SECONDS = 1  # Source: immediateEvictionGracePeriodSeconds
GONE_SECONDS = 30.0  # how long to wait for an evicted pod to be gone. Source: podCleanupTimeout
GONE_POLL_SECONDS = 1.0


class EvictionManager:
    """Watches one node. `node` is the reference of its events; `reclaim` are tried in order when disk is short."""

    def __init__(
        self,
        *,
        signals: EvictionSignals,
        thresholds: Sequence[EvictionThreshold],
        transition_seconds: float,
        reclaim: Sequence[Callable[[], Awaitable[object]]],
        workers: PodWorkers,
        uses: PodUses,
        container_gc: ContainerGC,
        announce: Callable[[], Awaitable[None]],
        events: EventSink,
        node: JsonObject,
        metrics: NodeMetrics,
        clock: Clock,
    ) -> None:
        """`announce` writes the node's status at once: until its taint is there, evicted pods are replaced here."""
        self._signals, self._thresholds = signals, tuple(thresholds)
        self._transition_seconds, self._reclaim = transition_seconds, tuple(reclaim)
        self._workers, self._uses, self._container_gc = workers, uses, container_gc
        self._announce, self._events, self._node = announce, events, node
        self._metrics, self._clock = metrics, clock
        self._met_at: dict[str, float] = {}

    @property
    def conditions(self) -> tuple[str, ...]:
        """The conditions whose thresholds are met, or were within the transition period."""
        now = self._clock.monotonic()
        return tuple(sorted(each for each, at in self._met_at.items() if now - at < self._transition_seconds))

    def refusal(self, pod: PodView) -> str:
        """Why a pod that is new here cannot be taken now; empty: it can."""
        return refusal(pod, self.conditions)

    async def run(self) -> None:
        """Look every ten seconds, and at once after an eviction; until cancelled."""
        while True:
            evicted = await self.synchronize()
            if evicted is None:
                await self._clock.sleep(PERIOD_SECONDS)
            else:
                await self._wait_gone(evicted)

    async def observe(self) -> tuple[EvictionThreshold, ...]:
        """The thresholds met now."""
        return self._met(await self._signals.observe())

    async def synchronize(self) -> PodView | None:
        """One look, and where it is needed, one attempt to relieve the node. The pod that was evicted, if any."""
        before = self.conditions
        met = await self.observe()
        if self.conditions != before:
            await self._announce()
        if not met:
            return None
        signal = met[0].signal
        log.warning("the node is short", extra={"signals": [each.signal.value for each in met]})
        text = f"Attempting to reclaim {signal.resource}"
        self._events.event(self._node, reasons.WARNING, reasons.EVICTION_THRESHOLD_MET, text)
        if signal.resource != MEMORY:
            await self._free()
        observations = await self._signals.observe()
        met = tuple(each for each in self._met(observations) if each in met)
        return await self._evict(met, observations) if met else None

    def _met(self, observations: Mapping[EvictionSignal, Observation]) -> tuple[EvictionThreshold, ...]:
        met = met_thresholds(self._thresholds, observations)
        for each in met:
            self._met_at[each.signal.condition] = self._clock.monotonic()
        return met

    async def _free(self) -> None:
        for reclaim in self._reclaim:
            try:
                await reclaim()
            except PulletError as error:
                log.warning("disk not freed", extra={"error": str(error)})

    async def _evict(
        self, met: Sequence[EvictionThreshold], observations: Mapping[EvictionSignal, Observation]
    ) -> PodView | None:
        signal = met[0].signal
        active = [pod for uid, pod in self._workers.pods.items() if self._workers.state(uid) is WorkState.SYNCING]
        used = [(pod, await self._uses.of(pod)) for pod in active if not is_critical(pod)]
        order = eviction_order(used, signal, has_own_imagefs=await self._signals.has_own_imagefs())
        if not order:
            log.error("the node is short and no pod may be evicted", extra={"signal": signal.value})
            return None
        pod, use = order[0]
        message = eviction_message(pod, use, signal, met, observations)
        log.warning("pod is evicted", extra={"pod": pod.description, "signal": signal.value})
        self._events.event(pod.reference(), reasons.WARNING, reasons.EVICTED, message)
        self._metrics.count("kubelet_evictions", eviction_signal=signal.value)
        self._workers.kill_pod(
            pod.uid,
            KillRequest(grace_seconds=GRACE_SECONDS, reason=reasons.EVICTED, message=message, is_disruption=True),
        )
        return pod

    async def _wait_gone(self, pod: PodView) -> None:
        """Until the pod's containers and volumes are gone, for a while; what it wrote goes with it."""
        deadline = self._clock.monotonic() + GONE_SECONDS
        while self._workers.state(pod.uid) not in (WorkState.TERMINATED, None):
            if self._clock.monotonic() >= deadline:
                log.warning("evicted pod is not gone yet", extra={"pod": pod.description})
                return
            await self._clock.sleep(GONE_POLL_SECONDS)
        await self._container_gc.remove_ended(pod.uid)
