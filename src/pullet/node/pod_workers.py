"""One worker per pod uid, from the first sight of a pod to its end.

            update          terminal phase, deletion, eviction           stopped              object gone
   (new) ───────────▶ SYNCING ───────────────────────────────▶ TERMINATING ──────▶ TERMINATED ──────────▶ (forgotten)
                      ▲     │                                  ▲         │
                      └─────┘ requeue, news                    └─────────┘ error, shorter grace

A worker's mailbox holds one pod: the newest wins, and a kill is never overwritten by an update. A kill interrupts the
sync under way (a pull that nobody needs any more is dropped); a kill with less grace interrupts the stop under way.
A terminated pod is never started again under the same uid.
Source: kubelet-images spec 16; kubernetes pkg/kubelet/pod_workers.go.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Set
from enum import StrEnum
from typing import Any, Protocol

import msgspec

from pullet.base.errors import PulletError
from pullet.base.values import State, Value
from pullet.kit.clock import Clock
from pullet.kit.tasks import Supervisor, one_error
from pullet.kube.pod import PodView
from pullet.kube.view import ObjectMetaView
from pullet.node.alarm import Alarm

log = logging.getLogger(__name__)

ERROR_BACKOFF_SECONDS = 10.0
NETWORK_BACKOFF_SECONDS = 1.0
MAX_CRASH_LOOP_WAIT_SECONDS = 60.0
JITTER = 0.5
TERMINAL_PHASES = ("Succeeded", "Failed")


class PodSyncError(PulletError):
    """One pass over a pod did not reach its goal; it is tried again after a back-off.

    `retry_after_seconds` is when the earliest restart back-off of its containers ends, if that is what it waits for.
    `is_back_off`: nothing failed in this pass, its containers only wait for the end of a back-off.
    """

    reason = "FailedSync"
    retryable = True

    def __init__(self, message: str, *, retry_after_seconds: float | None = None, is_back_off: bool = False) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
        self.is_back_off = is_back_off


class NetworkNotReadyError(PodSyncError):
    """The runtime's network is not up, so pods that need one cannot start."""

    reason = "NetworkNotReady"


def is_worth_a_sync(old: PodView, new: PodView) -> bool:
    """Whether the change is more than our own status coming back; conditions behind readiness gates count."""
    if old.spec != new.spec or _identity(old) != _identity(new):
        return True
    gates = {gate.condition_type for gate in new.spec.readiness_gates}
    return _conditions(old, gates) != _conditions(new, gates)


def _identity(pod: PodView) -> ObjectMetaView:
    return msgspec.structs.replace(pod.metadata, resource_version="")


def _conditions(pod: PodView, types: Set[str]) -> list[tuple[str, str]]:
    conditions = pod.status.get("conditions") or ()
    return [(each["type"], each["status"]) for each in conditions if each["type"] in types]


class WorkState(StrEnum):
    """Where a pod's worker is."""

    SYNCING = "Syncing"
    TERMINATING = "Terminating"
    TERMINATED = "Terminated"


class KillRequest(Value, kw_only=True):
    """Stop the pod. `grace_seconds` None: what the pod says. `reason` and `message` become its status (eviction).

    `is_disruption`: the node ends a pod that did nothing wrong, which a condition of the pod then tells.
    `is_refusal`: nothing of the pod was started here, nor will be.
    """

    grace_seconds: int | None = None
    reason: str = ""
    message: str = ""
    is_disruption: bool = False
    is_refusal: bool = False


class PodSync(Protocol):
    """What a worker does with its pod."""

    async def sync_pod(self, pod: PodView) -> bool:
        """Bring the pod closer to its spec; True when it has come to its end by itself. Raises PodSyncError."""
        ...

    async def sync_terminating_pod(self, pod: PodView, kill: KillRequest) -> None:
        """Stop every container; returns when none runs. Raises PodSyncError."""
        ...

    async def sync_terminated_pod(self, pod: PodView) -> None:
        """Clean up after the last container. Raises PodSyncError."""
        ...

    async def remove_pod(self, pod: PodView) -> None:
        """The API no longer has the pod: remove what is left of it. Raises PodSyncError."""
        ...


def requeue_seconds(error: PodSyncError | None, *, sync_frequency_seconds: float, jitter: float) -> float:
    """How long until the next sync; `jitter` is a random number in [0, 1). Source: spec 16."""
    match error:
        case None:
            base = sync_frequency_seconds
        case NetworkNotReadyError():
            base = NETWORK_BACKOFF_SECONDS
        case PodSyncError(retry_after_seconds=None):
            base = ERROR_BACKOFF_SECONDS
        case _:
            base = min(max(error.retry_after_seconds or 0.0, 0.0), MAX_CRASH_LOOP_WAIT_SECONDS)
    return base * (1 + JITTER * jitter)


class _Worker(State):
    pod: PodView
    alarm: Alarm
    state: WorkState = WorkState.SYNCING
    kill: KillRequest | None = None
    running: asyncio.Task[Any] | None = None
    task: asyncio.Task[None] | None = None
    is_forgotten: bool = False


class PodWorkers:
    """The workers, as children of `supervisor`."""

    def __init__(
        self,
        *,
        sync: PodSync,
        supervisor: Supervisor,
        clock: Clock,
        random: Callable[[], float],
        sync_frequency_seconds: float = 60.0,
    ) -> None:
        self._sync, self._supervisor, self._clock, self._random = sync, supervisor, clock, random
        self._sync_frequency_seconds = sync_frequency_seconds
        self._workers: dict[str, _Worker] = {}

    def update_pod(self, pod: PodView) -> None:
        """The API has this pod, in this version; wakes or starts its worker."""
        worker = self._workers.get(pod.uid)
        if worker is None:
            worker = _Worker(pod, Alarm(self._clock))
            self._workers[pod.uid] = worker
            worker.task = self._supervisor.start(
                f"pod-worker/{pod.uid}", lambda: self._run(worker), restart_seconds=10.0
            )
        is_changed = worker.pod is pod or is_worth_a_sync(worker.pod, pod)
        worker.pod = pod
        if pod.is_terminating:
            self._kill(worker, KillRequest(grace_seconds=pod.metadata.deletion_grace_period_seconds))
        elif worker.kill is None and pod.status.get("phase") in TERMINAL_PHASES and worker.state is WorkState.SYNCING:
            self._kill(worker, KillRequest())
        if is_changed:
            worker.alarm.ring()

    def kill_pod(self, uid: str, request: KillRequest) -> None:
        """Stop a pod that the API still wants (eviction, deadline). Unknown uids are ignored."""
        worker = self._workers.get(uid)
        if worker is not None:
            self._kill(worker, request)

    def forget_pod(self, uid: str) -> None:
        """The API no longer has the pod: it is stopped, cleaned up, and its worker ends."""
        worker = self._workers.get(uid)
        if worker is None:
            return
        worker.is_forgotten = True
        self._kill(worker, KillRequest(grace_seconds=worker.pod.metadata.deletion_grace_period_seconds))
        worker.alarm.ring()

    def wake(self, uid: str) -> None:
        """Something happened to the pod's containers; sync it soon."""
        worker = self._workers.get(uid)
        if worker is not None and worker.state is not WorkState.TERMINATED:
            worker.alarm.ring()

    def wake_all(self) -> None:
        """Sync every pod soon."""
        for uid in list(self._workers):
            self.wake(uid)

    @property
    def pods(self) -> Mapping[str, PodView]:
        """Known pods by uid, terminated ones included."""
        return {uid: worker.pod for uid, worker in self._workers.items()}

    def state(self, uid: str) -> WorkState | None:
        """Where the pod is, None when unknown."""
        worker = self._workers.get(uid)
        return worker.state if worker is not None else None

    def _kill(self, worker: _Worker, request: KillRequest) -> None:
        known = worker.kill
        if worker.state is WorkState.TERMINATED:
            return
        if known is not None:
            old, new = known.grace_seconds, request.grace_seconds
            if new is None or (old is not None and new >= old):
                return  # a grace period only ever gets shorter
            request = msgspec.structs.replace(known, grace_seconds=new)
        worker.kill = request
        if worker.running is not None:
            worker.running.cancel()
        worker.alarm.ring()

    async def _run(self, worker: _Worker) -> None:
        while worker.state is not WorkState.TERMINATED:
            delay = await self._turn(worker)
            await worker.alarm.wait(delay)
        while not worker.is_forgotten:
            await worker.alarm.wait()
        while True:
            try:
                await self._sync.remove_pod(worker.pod)
                break
            except PodSyncError as error:
                log.info("pod not removed yet", extra={"pod": worker.pod.description, "error": str(error)})
                await self._clock.sleep(self._delay(error))
        self._workers.pop(worker.pod.uid, None)

    async def _turn(self, worker: _Worker) -> float:
        """One sync in the worker's state; how long to wait for the next."""
        pod, kill = worker.pod, worker.kill
        error: PodSyncError | None = None
        try:
            if worker.state is WorkState.SYNCING and kill is None:
                if await self._interruptible(worker, lambda: self._sync.sync_pod(pod)):
                    worker.kill = worker.kill or KillRequest()
                if worker.kill is None:
                    return self._delay(None)
                worker.state = WorkState.TERMINATING
                return 0.0
            worker.state = WorkState.TERMINATING
            request = kill or KillRequest()
            is_stopped = await self._interruptible(worker, lambda: self._stop(pod, request))
            if is_stopped:
                await self._sync.sync_terminated_pod(worker.pod)
                worker.state = WorkState.TERMINATED
            return 0.0
        except PodSyncError as failure:
            error = failure
            level = logging.DEBUG if failure.is_back_off else logging.INFO
            log.log(level, "pod sync failed", extra={"pod": pod.description, "error": str(failure)})
        if worker.kill is not kill:
            return 0.0
        return self._delay(error)

    async def _stop(self, pod: PodView, kill: KillRequest) -> bool:
        await self._sync.sync_terminating_pod(pod, kill)
        return True

    async def _interruptible(self, worker: _Worker, work: Callable[[], Coroutine[Any, Any, bool]]) -> bool:
        """Run the work so that a kill can cancel it; False when one did."""
        with one_error():
            async with asyncio.TaskGroup() as group:
                worker.running = group.create_task(work())
        task, worker.running = worker.running, None
        return not task.cancelled() and task.result()

    def _delay(self, error: PodSyncError | None) -> float:
        return requeue_seconds(error, sync_frequency_seconds=self._sync_frequency_seconds, jitter=self._random())
