"""One pass over a pod: look, tell the API, then bring the runtime closer to the spec.

The status is written at the START of each sync, from what the previous one left behind: so `ErrImagePull` shows with
the next sync, as on any node (kubelet-images spec 14). Source: kubernetes pkg/kubelet/kubelet.go SyncPod,
SyncTerminatingPod, SyncTerminatedPod.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from pullet.base.jsonvalue import JsonObject
from pullet.cri.errors import CriError
from pullet.cri.types import ContainerState
from pullet.kit.clock import Clock
from pullet.kit.worker_threads import WorkerThreads
from pullet.kube import reasons
from pullet.kube.meta import format_time
from pullet.kube.pod import PodView
from pullet.kube.secret import SecretView, parse_secret
from pullet.kube.view import ViewInvalidError
from pullet.node.container_errors import ContainerConfigError
from pullet.node.events import EventSink
from pullet.node.object_reader import ObjectReader
from pullet.node.pod_cache import PodCache
from pullet.node.pod_credentials import PodCredentials
from pullet.node.pod_paths import PodPaths
from pullet.node.pod_workers import KillRequest, NetworkNotReadyError, PodSyncError
from pullet.node.pull_manager import CredentialLookup
from pullet.node.runtime_manager import RuntimeManager, SyncReport
from pullet.node.service_account_tokens import ServiceAccountTokens
from pullet.node.status_manager import StatusManager
from pullet.node.volumes import MountedVolume, VolumeError, VolumeManager
from pullet.policy.container_actions import compute_pod_actions
from pullet.policy.container_state import ReasonCache
from pullet.policy.pod_phase import PodPhase
from pullet.policy.pod_status import PodStatusFacts, generate_pod_status, refused_pod_status
from pullet.policy.probe_state import ProbeVerdicts
from pullet.policy.runtime_status import PodRuntimeStatus
from pullet.policy.terminated_status import terminated_status
from pullet.policy.wording import Wording

log = logging.getLogger(__name__)

OWN_CONDITIONS = frozenset(
    {
        reasons.POD_READY_TO_START_CONTAINERS,
        reasons.INITIALIZED,
        reasons.READY,
        reasons.CONTAINERS_READY,
        reasons.POD_SCHEDULED,
    }
)
CredentialSource: TypeAlias = Callable[[PodView, Sequence[SecretView]], CredentialLookup]


class Probes(Protocol):
    """What a sync needs of the probe workers."""

    def add_pod(self, pod: PodView) -> None:
        """Start probing its containers; again is harmless."""
        ...

    def stop_liveness(self, uid: str) -> None:
        """The pod is being stopped: only readiness still matters."""
        ...

    def remove_pod(self, uid: str) -> None:
        """Stop probing."""
        ...

    def verdicts(self, uid: str) -> ProbeVerdicts:
        """Standing verdicts about the pod's containers."""
        ...


class PodSyncer:
    """The `PodSync` of this node. Holds no state of its own about pods beyond the reason cache."""

    def __init__(
        self,
        *,
        cache: PodCache,
        manager: RuntimeManager,
        statuses: StatusManager,
        volumes: VolumeManager,
        objects: ObjectReader,
        tokens: ServiceAccountTokens,
        credentials: CredentialSource,
        probes: Probes,
        events: EventSink,
        wording: Wording,
        paths: PodPaths,
        threads: WorkerThreads,
        clock: Clock,
        runtime_name: str,
        host_ips: tuple[str, ...],
        network_problem: Callable[[], str],
    ) -> None:
        """`network_problem` gives why the runtime's network is not up, or nothing."""
        self._cache, self._manager, self._statuses = cache, manager, statuses
        self._volumes, self._objects, self._tokens, self._credentials = volumes, objects, tokens, credentials
        self._probes, self._events, self._wording = probes, events, wording
        self._paths, self._threads, self._clock = paths, threads, clock
        self._runtime_name, self._host_ips, self._network_problem = runtime_name, host_ips, network_problem
        self._failures = ReasonCache()

    async def sync_pod(self, pod: PodView) -> bool:
        """As `pod_workers.PodSync`."""
        status = await self._look(pod)
        written = self._write_status(pod, status)
        if PodPhase(written["phase"]).is_terminal:
            return True
        await self._check_network(pod)
        volumes = await self._mount(pod, status)
        lookup = await self._credentials_told(pod)
        self._probes.add_pod(pod)
        actions = compute_pod_actions(pod, status, self._probes.verdicts(pod.uid))
        try:
            report = await self._manager.sync_pod(pod, status, actions, volumes=volumes, lookup=lookup)
        except CriError as error:
            raise PodSyncError(str(error)) from error
        self._remember(pod, report)
        if report.failures:
            raise PodSyncError(
                "; ".join(report.failures),
                retry_after_seconds=report.retry_after_seconds,
                is_back_off=report.is_back_off,
            )
        return False

    async def sync_terminating_pod(self, pod: PodView, kill: KillRequest) -> None:
        """As `pod_workers.PodSync`."""
        if kill.is_refusal:
            now = format_time(self._clock.now())
            written = refused_pod_status(pod, reason=kill.reason, message=kill.message, now=now)
            self._statuses.set_pod_status(pod, written)
            return
        status = await self._look(pod)
        self._write_status(pod, status, kill=kill)
        self._probes.stop_liveness(pod.uid)
        try:
            await self._manager.kill_pod(
                pod, status, grace_seconds=float(kill.grace_seconds) if kill.grace_seconds is not None else None
            )
            status = await self._cache.refresh(pod.uid)
        except CriError as error:
            text = f"error killing pod: {error}"
            self._events.event(pod.reference(), reasons.WARNING, reasons.FAILED_KILL_POD, text)
            raise PodSyncError(text) from error
        running = [each.name for each in status.containers if each.state is ContainerState.RUNNING]
        if running:
            raise PodSyncError(f"containers still running: {', '.join(running)}")
        self._probes.remove_pod(pod.uid)
        self._write_status(pod, status, kill=kill, is_terminal=True)

    async def sync_terminated_pod(self, pod: PodView) -> None:
        """As `pod_workers.PodSync`."""
        try:
            await self._volumes.unmount(pod.uid)
        except VolumeError as error:
            raise PodSyncError(str(error)) from error
        self._tokens.forget(pod.uid)
        self._statuses.set_pod_status(pod, terminated_status(pod, self._statuses.get(pod.uid) or pod.status))
        self._statuses.finish_pod(pod)

    async def remove_pod(self, pod: PodView) -> None:
        """The API no longer has the pod: remove its containers, sandboxes and logs.

        Raises:
            PodSyncError: something stayed; call again.
        """
        self._statuses.forget_pod(pod.uid)
        self._failures.forget_pod(pod.uid)
        try:
            await self._manager.remove_pod(await self._cache.refresh(pod.uid))
        except CriError as error:
            raise PodSyncError(str(error)) from error
        self._cache.forget(pod.uid)
        await self._threads.run(shutil.rmtree, self._paths.logs(pod), ignore_errors=True)

    async def credentials_of(self, pod: PodView) -> PodCredentials:
        """What the pod's images would be pulled with now."""
        secrets: list[SecretView] = []
        for name in pod.pull_secret_names:
            try:
                secrets.append(parse_secret(await self._objects.secret_object(pod.namespace, name)))
            except (ContainerConfigError, ViewInvalidError) as error:
                log.info("pull secret not to be had", extra={"pod": pod.description, "error": str(error)})
        return PodCredentials(lookup=self._credentials(pod, secrets), named=pod.pull_secret_names, secrets=secrets)

    async def end_pod(self, pod: PodView, grace_seconds: float) -> None:
        """The machine goes down: stop the pod's containers and sandbox, and tell nobody; the pod starts again later.

        Raises:
            CriError: something would not stop.
        """
        grace = min(float(pod.spec.termination_grace_period_seconds), grace_seconds)
        await self._manager.kill_pod(pod, await self._cache.refresh(pod.uid), grace_seconds=grace)

    def refresh_status(self, pod: PodView, status: PodRuntimeStatus) -> None:
        """Write the status anew without a sync: a probe changed its mind."""
        self._write_status(pod, status)

    async def _look(self, pod: PodView) -> PodRuntimeStatus:
        try:
            return await self._cache.look(pod.uid)
        except CriError as error:
            raise PodSyncError(str(error)) from error

    def _write_status(
        self, pod: PodView, status: PodRuntimeStatus, *, kill: KillRequest | None = None, is_terminal: bool = False
    ) -> JsonObject:
        written = generate_pod_status(
            PodStatusFacts(
                pod=pod,
                runtime=status,
                failures=self._failures,
                probes=self._probes.verdicts(pod.uid),
                runtime_name=self._runtime_name,
                now=format_time(self._clock.now()),
                host_ips=self._host_ips,
                old=self._old_status(pod),
                is_terminal=is_terminal,
                has_failed=kill is not None and bool(kill.reason),
                reason=kill.reason if kill is not None else "",
                message=kill.message if kill is not None else "",
                is_disruption=kill is not None and kill.is_disruption,
            )
        )
        self._statuses.set_pod_status(pod, written)
        return written

    def _old_status(self, pod: PodView) -> JsonObject:
        known = self._statuses.get(pod.uid)
        if not known:
            return pod.status
        # conditions of other writers are taken from the API's version, which is the newer one for them
        ours = [each for each in known.get("conditions") or () if each["type"] in OWN_CONDITIONS]
        theirs = [each for each in pod.status.get("conditions") or () if each["type"] not in OWN_CONDITIONS]
        return {**known, "conditions": [*theirs, *ours]}

    async def _check_network(self, pod: PodView) -> None:
        problem = self._network_problem()
        if problem and not pod.spec.host_network:
            text = f"network is not ready: {problem}"
            self._events.event(pod.reference(), reasons.WARNING, reasons.NETWORK_NOT_READY, text)
            raise NetworkNotReadyError(text)

    async def _mount(self, pod: PodView, status: PodRuntimeStatus) -> dict[str, MountedVolume]:
        try:
            return await self._volumes.mount(pod, status.ips)
        except VolumeError as error:
            self._events.event(pod.reference(), reasons.WARNING, reasons.FAILED_MOUNT, str(error))
            raise PodSyncError(str(error)) from error

    async def _credentials_told(self, pod: PodView) -> PodCredentials:
        """`credentials_of`, with an event about secrets that cannot be had."""
        found = await self.credentials_of(pod)
        if found.missing:
            text = self._wording.pull_secrets_missing(found.missing)
            reason = reasons.FAILED_TO_RETRIEVE_IMAGE_PULL_SECRET
            self._events.event(pod.reference(), reasons.WARNING, reason, text)
        return found

    def _remember(self, pod: PodView, report: SyncReport) -> None:
        for name, error in report.starts.items():
            if error is None:
                self._failures.record_success(pod.uid, name)
            else:
                self._failures.record_failure(pod.uid, name, reason=error.waiting_reason, message=error.message)
