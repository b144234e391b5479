"""startContainer: from a pod's container to a running process, each step with its event.

    restart back-off ─► image volumes ─► image ─► config ─► create ─► start ─► postStart

Whatever fails first becomes the container's waiting state. Source: kubelet-images spec 12.2
(pkg/kubelet/kuberuntime/kuberuntime_container.go startContainer).
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from pullet.base.values import Value
from pullet.cri.errors import CriError
from pullet.cri.services import ImageService, RuntimeService
from pullet.cri.types import ContainerConfig, ImageSpec, PodSandboxConfig
from pullet.kit.clock import Clock
from pullet.kube import reasons
from pullet.kube.container import ContainerKind, ContainerView, EphemeralContainerView
from pullet.kube.pod import PodView
from pullet.node.container_config import ContainerConfigMaker, ContainerContext
from pullet.node.container_errors import ContainerConfigError, ContainerStartError, CrashLoopBackOffError, ImageError
from pullet.node.container_killer import ContainerKiller
from pullet.node.ensure_image_pass import ImageRequest
from pullet.node.events import EventSink
from pullet.node.image_manager import ImageManager
from pullet.node.lifecycle_hooks import HookFailedError, LifecycleHooks
from pullet.node.metrics import NodeMetrics
from pullet.node.pull_manager import CredentialLookup
from pullet.node.volumes import MountedVolume
from pullet.policy.restart_backoff import RestartBackoff, restart_backoff_key
from pullet.policy.runtime_status import PodRuntimeStatus
from pullet.policy.wording import Wording

NANOS = 1_000_000_000
_METRIC_KINDS = {
    ContainerKind.REGULAR: "container",
    ContainerKind.INIT: "init_container",
    ContainerKind.EPHEMERAL: "ephemeral_container",
}


class StartContext(Value, kw_only=True):
    """What the containers of one sync share. `image_volume_errors`: image volumes that could not be had, by name."""

    pod: PodView
    status: PodRuntimeStatus
    sandbox_id: str
    sandbox: PodSandboxConfig
    pod_ips: tuple[str, ...]
    volumes: Mapping[str, MountedVolume]
    lookup: CredentialLookup
    image_volume_errors: Mapping[str, ImageError] = msgspec.field(default_factory=dict)


class ContainerStarter:
    """Starts containers of all pods; remembers when each may be started again."""

    def __init__(
        self,
        *,
        images: ImageService,
        runtime: RuntimeService,
        image_manager: ImageManager,
        configs: ContainerConfigMaker,
        killer: ContainerKiller,
        hooks: LifecycleHooks,
        backoff: RestartBackoff,
        events: EventSink,
        wording: Wording,
        metrics: NodeMetrics,
        clock: Clock,
    ) -> None:
        self._images, self._runtime, self._image_manager = images, runtime, image_manager
        self._configs, self._killer, self._hooks = configs, killer, hooks
        self._backoff, self._events, self._wording, self._clock = backoff, events, wording, clock
        self._metrics = metrics

    async def start(self, context: StartContext, container: ContainerView) -> None:
        """Start one container.

        Raises:
            ContainerStartError: what the container waits for.
        """
        kind = _METRIC_KINDS[container.kind]
        try:
            await self._start(context, container)
        except ContainerStartError as error:
            self._metrics.count(
                "kubelet_started_containers_errors_total", container_type=kind, code=error.waiting_reason
            )
            raise
        self._metrics.count("kubelet_started_containers_total", container_type=kind)

    async def _start(self, context: StartContext, container: ContainerView) -> None:
        self._check_backoff(context, container)
        self._check_image_volumes(context, container)
        config = await self._config(context, container, await self._image(context, container))
        container_id = await self._create(context, container, config)
        try:
            await self._runtime.start_container(container_id)
        except CriError as error:
            text = error.message.replace(container_id, container.name)
            self._fail(context, container, text)
            raise ContainerStartError(waiting_reason=reasons.RUN_CONTAINER_ERROR, message=text) from error
        self._event(context, container, reasons.NORMAL, reasons.STARTED, self._wording.started(container.name))
        await self._post_start(context, container, container_id)

    def _check_backoff(self, context: StartContext, container: ContainerView) -> None:
        exited = context.status.latest_exited(container.name)
        if exited is None:
            return
        pod, key = context.pod, restart_backoff_key(context.pod, container)
        now, finished_at = self._clock.now().timestamp(), exited.finished_at / NANOS
        remaining = self._backoff.remaining_seconds(key, finished_at, now)
        if remaining <= 0:
            self._backoff.record_restart(key, finished_at, now)
            return
        text = self._wording.restart_back_off(container.name, pod.description)
        self._event(context, container, reasons.WARNING, reasons.BACK_OFF, text)
        delay = self._backoff.delay_seconds(key)
        waiting = self._wording.restart_back_off_waiting(container.name, pod.description, delay)
        raise CrashLoopBackOffError(waiting, remaining_seconds=remaining)

    def _check_image_volumes(self, context: StartContext, container: ContainerView) -> None:
        failed: ImageError | None = None
        for mount in container.volume_mounts:
            error = context.image_volume_errors.get(mount.name)
            if error is not None:
                self._fail(context, container, error.waiting_reason)
                failed = error  # the last one is what the container shows
        if failed is not None:
            raise failed

    async def _image(self, context: StartContext, container: ContainerView) -> str:
        request = ImageRequest(
            pod=context.pod,
            image=container.image,
            policy=container.image_pull_policy,
            reference=context.pod.reference(container),
            container=container.name,
            sandbox=context.sandbox,
        )
        try:
            return await self._image_manager.ensure_image(request, context.lookup)
        except ImageError as error:
            self._fail(context, container, error.waiting_reason)
            raise

    async def _config(self, context: StartContext, container: ContainerView, image_ref: str) -> ContainerConfig:
        latest = context.status.latest(container.name)
        try:
            image = await self._images.image_status(ImageSpec(image_ref))
            if latest is not None:
                attempt = latest.restart_count + 1
            else:
                attempt = await self._configs.next_attempt_by_logs(context.pod, container)
            return await self._configs.make(
                ContainerContext(
                    pod=context.pod,
                    container=container,
                    attempt=attempt,
                    image_ref=image_ref,
                    image=image,
                    pod_ips=context.pod_ips,
                    volumes=context.volumes,
                    target_id=self._target_id(context, container),
                )
            )
        except CriError as error:
            self._fail(context, container, error.message)
            raise ContainerConfigError(error.message) from error
        except ContainerConfigError as error:
            self._fail(context, container, error.message)
            raise

    @staticmethod
    def _target_id(context: StartContext, container: ContainerView) -> str:
        if not isinstance(container, EphemeralContainerView) or not container.target_container_name:
            return ""
        target = context.status.latest(container.target_container_name)
        if target is None:
            raise ContainerConfigError(f'unable to find target container "{container.target_container_name}"')
        return target.id

    async def _create(self, context: StartContext, container: ContainerView, config: ContainerConfig) -> str:
        try:
            container_id = await self._runtime.create_container(context.sandbox_id, config, context.sandbox)
        except CriError as error:
            self._fail(context, container, error.message)
            raise ContainerStartError(waiting_reason=reasons.CREATE_CONTAINER_ERROR, message=error.message) from error
        self._event(context, container, reasons.NORMAL, reasons.CREATED, self._wording.created(container.name))
        return container_id

    async def _post_start(self, context: StartContext, container: ContainerView, container_id: str) -> None:
        handler = container.lifecycle.post_start
        if handler is None:
            return
        pod_ip = context.pod_ips[0] if context.pod_ips else ""
        try:
            await self._hooks.run(
                handler, pod=context.pod, container=container, container_id=container_id, pod_ip=pod_ip
            )
        except HookFailedError as error:
            text = self._wording.post_start_hook_failed()
            self._event(context, container, reasons.WARNING, reasons.FAILED_POST_START_HOOK, text)
            await self._kill_quietly(context, container, container_id)
            raise ContainerStartError(waiting_reason=reasons.POST_START_HOOK_ERROR, message=str(error)) from error

    async def _kill_quietly(self, context: StartContext, container: ContainerView, container_id: str) -> None:
        try:
            await self._killer.kill_container(
                context.pod, container, container_id, message="FailedPostStartHook", pod_ip=""
            )
        except CriError as error:
            self._fail(context, container, error.message)

    def _fail(self, context: StartContext, container: ContainerView, text: str) -> None:
        self._event(context, container, reasons.WARNING, reasons.FAILED, self._wording.container_error(text))

    def _event(
        self, context: StartContext, container: ContainerView, event_type: str, reason: str, message: str
    ) -> None:
        self._events.event(context.pod.reference(container), event_type, reason, message)
