"""Carries out the actions of one sync on the runtime, in the kubelet's order.

    kills ─► sandbox ─► image volumes ─► ephemeral ─► init ─► regular containers, one after the other

Source: kubelet-images spec 12.1, 13 (pkg/kubelet/kuberuntime/kuberuntime_manager.go SyncPod, killPodWithSyncResult).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import msgspec

from pullet.base.values import State
from pullet.cri.errors import CriError
from pullet.cri.services import RuntimeService
from pullet.cri.types import ContainerState, DNSConfig, ImageSpec, PodSandboxConfig
from pullet.kube import reasons
from pullet.kube.container import ContainerView
from pullet.kube.pod import PodView
from pullet.node.container_errors import ContainerStartError, CrashLoopBackOffError, ImageError
from pullet.node.container_killer import ContainerKiller
from pullet.node.container_starter import ContainerStarter, StartContext
from pullet.node.ensure_image_pass import ImageRequest
from pullet.node.events import EventSink
from pullet.node.image_manager import ImageManager
from pullet.node.pod_paths import PodPaths
from pullet.node.pull_manager import CredentialLookup
from pullet.node.sandbox_config import SandboxConfigError, sandbox_config
from pullet.node.volumes import MountedVolume
from pullet.policy.container_actions import PodActions
from pullet.policy.qos import compute_qos
from pullet.policy.runtime_status import PodRuntimeStatus
from pullet.policy.wording import Wording

log = logging.getLogger(__name__)

_BACK_OFFS = (reasons.CRASH_LOOP_BACK_OFF, reasons.IMAGE_PULL_BACK_OFF)


class SyncReport(State):
    """What came of the actions: per started container None or its error, and failures that are no container's."""

    starts: dict[str, ContainerStartError | None] = msgspec.field(default_factory=dict)
    problems: list[str] = msgspec.field(default_factory=list)

    @property
    def failures(self) -> list[str]:
        """Every failure as text, empty when the sync reached its goal."""
        failed = [f"failed to start container {name!r}: {error}" for name, error in self.starts.items() if error]
        return self.problems + failed

    @property
    def is_back_off(self) -> bool:
        """Whether every failure is a container that waits for the end of a back-off."""
        failed = [error for error in self.starts.values() if error]
        return not self.problems and all(error.waiting_reason in _BACK_OFFS for error in failed)

    @property
    def retry_after_seconds(self) -> float | None:
        """When the earliest restart back-off ends, if one is among the failures."""
        waits = [e.remaining_seconds for e in self.starts.values() if isinstance(e, CrashLoopBackOffError)]
        return min(waits) if waits else None


class RuntimeManager:
    """Actions → CRI calls, for all pods of a node."""

    def __init__(
        self,
        *,
        runtime: RuntimeService,
        starter: ContainerStarter,
        killer: ContainerKiller,
        image_manager: ImageManager,
        paths: PodPaths,
        dns: Callable[[PodView], DNSConfig],
        cgroup_root: str,
        cluster_domain: str,
        events: EventSink,
        wording: Wording,
    ) -> None:
        self._cluster_domain = cluster_domain
        self._runtime, self._starter, self._killer = runtime, starter, killer
        self._image_manager, self._paths, self._dns = image_manager, paths, dns
        self._cgroup_root, self._events, self._wording = cgroup_root, events, wording

    async def sync_pod(
        self,
        pod: PodView,
        status: PodRuntimeStatus,
        actions: PodActions,
        *,
        volumes: dict[str, MountedVolume],
        lookup: CredentialLookup,
    ) -> SyncReport:
        """Do it. Failures of single containers are in the report; a failing init container ends the sync.

        Raises:
            CriError: the runtime failed outside of a container's start.
        """
        report = SyncReport()
        if actions.kill_pod:
            await self._kill_for_sync(pod, status, actions)
            if not actions.create_sandbox:
                return report
        await self._kill_unwanted(pod, status, actions)
        try:
            config = self.sandbox_config(pod, actions.attempt)
        except SandboxConfigError as error:
            self._sandbox_failed(pod, str(error), report)
            return report
        sandbox_id = actions.sandbox_id
        pod_ips = status.ips
        if actions.create_sandbox:
            created = await self._create_sandbox(pod, config, report)
            if created is None:
                return report
            sandbox_id = created
            pod_ips = await self._sandbox_ips(sandbox_id)
            status = await self._forget_init_containers(pod, status)
        image_volumes, errors = await self._image_volumes(pod, config, lookup)
        context = StartContext(
            pod=pod,
            status=status,
            sandbox_id=sandbox_id,
            sandbox=config,
            pod_ips=pod_ips,
            volumes=volumes | image_volumes,
            lookup=lookup,
            image_volume_errors=errors,
        )
        await self._start_all(context, actions, report)
        return report

    async def kill_pod(self, pod: PodView, status: PodRuntimeStatus, *, grace_seconds: float | None = None) -> None:
        """Stop every container, then every sandbox.

        Raises:
            CriError: something would not stop; the rest was tried all the same.
        """
        try:
            await self._killer.kill_all(pod, status, grace_seconds=grace_seconds)
        finally:
            for sandbox in status.sandboxes:
                await self._runtime.stop_pod_sandbox(sandbox.id)

    async def remove_pod(self, status: PodRuntimeStatus) -> None:
        """Remove every sandbox with its containers."""
        for container in status.containers:
            await self._runtime.remove_container(container.id)
        for sandbox in status.sandboxes:
            await self._runtime.remove_pod_sandbox(sandbox.id)

    def sandbox_config(self, pod: PodView, attempt: int) -> PodSandboxConfig:
        """The config of the pod's sandbox number `attempt`.

        Raises:
            SandboxConfigError: there cannot be such a sandbox.
        """
        return sandbox_config(
            pod,
            attempt=attempt,
            paths=self._paths,
            dns=self._dns(pod),
            cgroup_parent=f"{self._cgroup_root}/{str(compute_qos(pod)).lower()}/pod{pod.uid}",
            cluster_domain=self._cluster_domain,
        )

    async def _kill_for_sync(self, pod: PodView, status: PodRuntimeStatus, actions: PodActions) -> None:
        if actions.create_sandbox and actions.sandbox_id:
            text = self._wording.sandbox_changed()
            self._events.event(pod.reference(), reasons.NORMAL, reasons.SANDBOX_CHANGED, text)
        await self.kill_pod(pod, status)

    async def _kill_unwanted(self, pod: PodView, status: PodRuntimeStatus, actions: PodActions) -> None:
        for kill in actions.containers_to_kill:
            await self._killer.kill_container(
                pod,
                kill.container,
                kill.id,
                message=kill.message,
                reason=kill.reason,
                pod_ip=status.ips[0] if status.ips else "",
            )

    async def _create_sandbox(self, pod: PodView, config: PodSandboxConfig, report: SyncReport) -> str | None:
        try:
            return await self._runtime.run_pod_sandbox(config)
        except CriError as error:
            self._sandbox_failed(pod, str(error), report)
            return None

    def _sandbox_failed(self, pod: PodView, error: str, report: SyncReport) -> None:
        text = self._wording.sandbox_failed(error)
        self._events.event(pod.reference(), reasons.WARNING, reasons.FAILED_CREATE_POD_SANDBOX, text)
        report.problems.append(text)

    async def _sandbox_ips(self, sandbox_id: str) -> tuple[str, ...]:
        sandbox = await self._runtime.pod_sandbox_status(sandbox_id)
        return (sandbox.ip, *sandbox.additional_ips) if sandbox.ip else ()

    async def _forget_init_containers(self, pod: PodView, status: PodRuntimeStatus) -> PodRuntimeStatus:
        """Remove init containers of earlier sandboxes: they would count as done in the new one."""
        names = {container.name for container in pod.spec.init_containers}
        for container in status.containers:
            if container.name in names and container.state is ContainerState.EXITED:
                await self._runtime.remove_container(container.id)
        return status

    async def _image_volumes(
        self, pod: PodView, config: PodSandboxConfig, lookup: CredentialLookup
    ) -> tuple[dict[str, MountedVolume], dict[str, ImageError]]:
        mounted: dict[str, MountedVolume] = {}
        errors: dict[str, ImageError] = {}
        for volume in pod.spec.volumes:
            source = volume.image
            if source is None or not source.reference:
                continue
            request = ImageRequest(
                pod=pod,
                image=source.reference,
                policy=source.pull_policy,
                reference=pod.reference(),
                sandbox=config,
            )
            try:
                image_ref = await self._image_manager.ensure_image(request, lookup)
            except ImageError as error:
                errors[volume.name] = error
                continue
            spec = ImageSpec(image_ref, user_specified_image=source.reference)
            mounted[volume.name] = MountedVolume(Path(), is_readonly=True, image=spec)
        return mounted, errors

    async def _start_all(self, context: StartContext, actions: PodActions, report: SyncReport) -> None:
        for debug in actions.ephemeral_to_start:
            await self._start(context, debug, report)
        for init in actions.init_to_start:
            await self._start(context, init, report)
            if report.starts[init.name] is not None and not init.is_sidecar:
                return  # later init containers and the regular ones wait for it
        for container in actions.containers_to_start:
            await self._start(context, container, report)

    async def _start(self, context: StartContext, container: ContainerView, report: SyncReport) -> None:
        try:
            await self._starter.start(context, container)
        except ContainerStartError as error:
            report.starts[container.name] = error
        else:
            report.starts[container.name] = None
