"""Stops containers: preStop, stop signal, grace period, and in which order a pod's containers go.

Source: kubernetes pkg/kubelet/kuberuntime/kuberuntime_container.go killContainer, kuberuntime_termination_order.go.
"""

from __future__ import annotations

import asyncio
import logging

from pullet.cri.errors import CriError
from pullet.cri.services import RuntimeService
from pullet.cri.types import ContainerState
from pullet.kit.clock import Clock
from pullet.kit.tasks import one_error
from pullet.kube import reasons
from pullet.kube.container import ContainerView
from pullet.kube.pod import PodView
from pullet.node.events import EventSink
from pullet.node.lifecycle_hooks import HookFailedError, LifecycleHooks
from pullet.policy.container_actions import KillReason
from pullet.policy.runtime_status import ContainerRuntimeStatus, PodRuntimeStatus
from pullet.policy.wording import Wording

log = logging.getLogger(__name__)

MIN_GRACE_SECONDS = 2.0  # what a container gets for its stop signal, however long its preStop took


class ContainerKiller:
    """Stops one container, or all of a pod."""

    def __init__(
        self,
        *,
        runtime: RuntimeService,
        hooks: LifecycleHooks,
        events: EventSink,
        wording: Wording,
        clock: Clock,
    ) -> None:
        self._runtime, self._hooks, self._events = runtime, hooks, events
        self._wording, self._clock = wording, clock

    async def kill_container(
        self,
        pod: PodView,
        container: ContainerView,
        container_id: str,
        *,
        message: str = "",
        reason: KillReason | None = None,
        grace_seconds: float | None = None,
        pod_ip: str = "",
    ) -> None:
        """Stop it; returns when it has ended.

        Raises:
            CriError: the runtime could not.
        """
        grace = _grace(pod, container, reason) if grace_seconds is None else grace_seconds
        text = message or self._wording.killing(container.name)
        self._events.event(pod.reference(container), reasons.NORMAL, reasons.KILLING, text)
        if container.lifecycle.pre_stop is not None and grace > 0:
            grace = max(grace - await self._pre_stop(pod, container, container_id, grace, pod_ip), MIN_GRACE_SECONDS)
        await self._runtime.stop_container(container_id, grace)

    async def kill_all(self, pod: PodView, status: PodRuntimeStatus, *, grace_seconds: float | None) -> None:
        """Stop every running container: regular and ephemeral ones together, then sidecars from last to first.

        Raises:
            CriError: the first failure; the others were tried all the same.
        """
        pod_ip = status.ips[0] if status.ips else ""
        sidecars = {container.name for container in pod.sidecars}
        running = [each for each in status.containers if each.state is not ContainerState.EXITED]
        begun = self._clock.monotonic()
        await self._kill_together(pod, [e for e in running if e.name not in sidecars], grace_seconds, pod_ip)
        order = {container.name: number for number, container in enumerate(pod.spec.init_containers)}
        for each in sorted((e for e in running if e.name in sidecars), key=lambda e: order[e.name], reverse=True):
            left = None
            if grace_seconds is not None:
                left = max(grace_seconds - (self._clock.monotonic() - begun), min(grace_seconds, MIN_GRACE_SECONDS))
            await self._kill_together(pod, [each], left, pod_ip)

    async def _kill_together(
        self, pod: PodView, containers: list[ContainerRuntimeStatus], grace_seconds: float | None, pod_ip: str
    ) -> None:
        failures: list[CriError] = []

        async def kill(each: ContainerRuntimeStatus) -> None:
            view = pod.container(each.name) or ContainerView(name=each.name)
            try:
                await self.kill_container(pod, view, each.id, grace_seconds=grace_seconds, pod_ip=pod_ip)
            except CriError as error:
                failures.append(error)

        with one_error():
            async with asyncio.TaskGroup() as group:
                for each in containers:
                    group.create_task(kill(each), name=f"kill/{each.name}")
        if failures:
            raise failures[0]

    async def _pre_stop(
        self, pod: PodView, container: ContainerView, container_id: str, grace: float, pod_ip: str
    ) -> float:
        """Run the hook, at most for the grace period; how many seconds it took."""
        handler = container.lifecycle.pre_stop
        assert handler is not None
        began = self._clock.monotonic()
        failure: HookFailedError | None = None

        async def run() -> None:
            nonlocal failure
            try:
                await self._hooks.run(handler, pod=pod, container=container, container_id=container_id, pod_ip=pod_ip)
            except HookFailedError as error:
                failure = error
            limit.cancel()

        async with asyncio.TaskGroup() as group:
            hook = group.create_task(run())
            limit = group.create_task(_cancel_after(self._clock, grace, hook))
        if failure is not None:
            log.info("preStop failed", extra={"pod": pod.description, "error": str(failure)})
            text = self._wording.pre_stop_hook_failed()
            self._events.event(pod.reference(container), reasons.WARNING, reasons.FAILED_PRE_STOP_HOOK, text)
        return self._clock.monotonic() - began


async def _cancel_after(clock: Clock, seconds: float, task: asyncio.Task[None]) -> None:
    await clock.sleep(seconds)
    task.cancel()


def _grace(pod: PodView, container: ContainerView, reason: KillReason | None) -> float:
    if pod.metadata.deletion_grace_period_seconds is not None:
        return float(pod.metadata.deletion_grace_period_seconds)
    probe = (
        {
            KillReason.LIVENESS_PROBE: container.liveness_probe,
            KillReason.STARTUP_PROBE: container.startup_probe,
        }.get(reason)
        if reason is not None
        else None
    )
    if probe is not None and probe.termination_grace_period_seconds is not None:
        return float(probe.termination_grace_period_seconds)
    return float(pod.spec.termination_grace_period_seconds)
