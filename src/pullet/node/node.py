"""The kubelet of one node: builds its parts, starts and stops them in order.

    start: records recovered ─► node registered ─► pods seen ─► workers, probes, garbage collection, server
    stop:  no new work ─► workers cancelled ─► events flushed; containers keep running

Containers belong to the runtime: a restarted node finds them again by their labels and goes on.
"""

from __future__ import annotations

import asyncio
import logging
import random as random_module
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import msgspec
from starlette.types import ASGIApp

from pullet.base.errors import PulletError
from pullet.base.values import Value
from pullet.credentials.keyring import Keyring
from pullet.cri.services import ImageService, RuntimeService
from pullet.cri.types import AuthConfig, VersionResponse
from pullet.kit.clock import Clock
from pullet.kit.tasks import Supervisor, one_error
from pullet.kit.worker_threads import WorkerThreads
from pullet.kube import reasons
from pullet.kube.quantity import parse_quantity
from pullet.kubeclient.client import ApiClient
from pullet.kubeclient.event_recorder import EventRecorder
from pullet.node.active_deadlines import ActiveDeadlines
from pullet.node.alarm import Alarm
from pullet.node.container_gc import ContainerGC
from pullet.node.container_logs import ContainerLogs
from pullet.node.downward import NodeFacts
from pullet.node.environment import ApiServerAddresses, EnvironmentMaker
from pullet.node.events import EventSink
from pullet.node.eviction_manager import EvictionManager
from pullet.node.eviction_signals import EvictionSignals, PodUses
from pullet.node.housekeeping import Housekeeping
from pullet.node.image_gc_manager import ImageGCManager
from pullet.node.image_manager import ImageManager, PassJournal
from pullet.node.image_puller import ImagePuller
from pullet.node.machine import EMPTY_MACHINE, read_machine
from pullet.node.metrics import NodeMetrics
from pullet.node.node_health import HealthMonitor
from pullet.node.node_status import NodeIdentity, NodeStatusUpdater
from pullet.node.object_reader import ObjectReader
from pullet.node.pleg import Pleg
from pullet.node.pod_account import credential_source
from pullet.node.pod_cache import PodCache
from pullet.node.pod_paths import PodPaths
from pullet.node.pod_source import PodSource
from pullet.node.pod_workers import PodWorkers
from pullet.node.probe_workers import ProbeManager
from pullet.node.probers import Prober
from pullet.node.pull_manager import PullManager
from pullet.node.pull_records import PullRecords
from pullet.node.runtime_parts import build_runtime_manager
from pullet.node.sandbox_config import ResolvConf, dns_config, read_resolv_conf
from pullet.node.server import NodeServer
from pullet.node.service_account_tokens import ServiceAccountTokens
from pullet.node.settings import NodeSettings
from pullet.node.static_pods import StaticPods
from pullet.node.status_manager import StatusManager
from pullet.node.sync_pod import PodSyncer
from pullet.node.volume_payloads import PayloadSources
from pullet.node.volumes import VolumeManager, unmount_below
from pullet.policy.app_armor import unenforced_app_armor
from pullet.policy.eviction import parse_thresholds
from pullet.policy.image_gc import ImageGCPolicy
from pullet.policy.pull_backoff import PullBackoff
from pullet.policy.pull_verification import parse_verification_rule
from pullet.policy.sysctls import forbidden_sysctl
from pullet.policy.wording import Wording

log = logging.getLogger(__name__)

RESTART_SECONDS = 1.0


class NodeParts(Value, kw_only=True):
    """What a running node consists of."""

    recorder: EventRecorder
    health: HealthMonitor
    updater: NodeStatusUpdater
    pull_manager: PullManager | None
    cache: PodCache
    statuses: StatusManager
    workers: PodWorkers
    syncer: PodSyncer
    source: PodSource
    pleg: Pleg
    housekeeping: Housekeeping
    deadlines: ActiveDeadlines
    image_gc: ImageGCManager
    eviction: EvictionManager
    container_gc: ContainerGC
    server: NodeServer


class Node:
    """One node. Build it, `await run()` it, `stop()` it from another task."""

    def __init__(
        self,
        *,
        name: str,
        root: Path,
        api: ApiClient,
        images: ImageService,
        runtime: RuntimeService,
        journal: PassJournal,
        clock: Clock,
        settings: NodeSettings,
        keyring: Keyring | None = None,
        host_ips: tuple[str, ...] = ("127.0.0.1",),
        api_server: ApiServerAddresses | None = None,
        cgroup_root: str = "/pullet",
        version: str = "v1.36.2",
        random: Callable[[], float] = random_module.random,
        serve: Callable[[ASGIApp], Coroutine[Any, Any, None]] | None = None,
        threads: WorkerThreads | None = None,
    ) -> None:
        """`root` is this node's own directory. `api_server`: where containers find the API server; None: nowhere.

        `random` gives numbers in [0, 1) for the jitter of requeues. `serve` serves the node's endpoints until
        cancelled, at `settings.port`, with TLS and client certificates; None: they are not served.
        """
        self.name, self.root, self.settings = name, root, settings
        self._api, self._images, self._runtime, self._journal = api, images, runtime, journal
        self._clock, self._keyring, self._host_ips = clock, keyring or Keyring(), host_ips
        self._api_server = api_server or ApiServerAddresses()
        self._cgroup_root, self._version, self._random = cgroup_root, version, random
        self._threads = threads or WorkerThreads(f"node-{name}", 4)
        self._wording = Wording(
            settings.kubernetes_version,
            ensures_secret_pulled_images=None if settings.verifies_pulled_images else False,
        )
        self._paths = PodPaths(root)
        self._serve = serve
        self._metrics = NodeMetrics()
        self._stopping = Alarm(clock)
        self._children: list[asyncio.Task[None]] = []
        self._machine = EMPTY_MACHINE
        self._parts: NodeParts | None = None

    async def run(self) -> None:
        """Run until `stop()` or cancellation. Containers are left running."""
        self._machine = await self._threads.run(read_machine)
        await self._threads.run(self.root.mkdir, parents=True, exist_ok=True)
        version = await self._runtime.version()
        host_dns = await self._threads.run(read_resolv_conf, Path(self.settings.resolv_conf))
        async with Supervisor(clock=self._clock) as supervisor:
            self._parts = parts = self._build(supervisor, version, host_dns)
            await self._start(supervisor, parts)
            await self._stopping.wait()
            await parts.recorder.flush()

    @property
    def eviction(self) -> EvictionManager | None:
        """What watches disks and memory; None before `run`."""
        return self._parts.eviction if self._parts is not None else None

    @property
    def image_gc(self) -> ImageGCManager | None:
        """The image garbage collection; None before `run`."""
        return self._parts.image_gc if self._parts is not None else None

    @property
    def pull_manager(self) -> PullManager | None:
        """The records of access; None before `run`, or while the feature is off."""
        return self._parts.pull_manager if self._parts is not None else None

    async def credentials_of(self, pod_uid: str, repository: str) -> Sequence[AuthConfig]:
        """What the pod would pull `repository` with now, first to be tried first.

        Nothing for a pod that is not here (any more), nor where its credentials cannot be had.
        """
        pod = self._parts.workers.pods.get(pod_uid) if self._parts is not None else None
        if self._parts is None or pod is None:
            return ()
        try:
            lookup = await self._parts.syncer.credentials_of(pod)
            return [credential.auth for credential in await lookup(repository)]
        except PulletError as error:
            log.info("credentials not to be had", extra={"pod": pod.description, "error": str(error)})
            return ()

    def stop(self) -> None:
        """Ask `run()` to end."""
        self._stopping.ring()

    async def end_pods(self, grace_seconds: float) -> None:
        """After `run()`: stop every pod together, each within its own grace period and at most `grace_seconds`.

        Raises:
            CriError: something would not stop; the rest was tried all the same.
        """
        parts = self._parts
        if parts is None:
            return
        with one_error():
            async with asyncio.TaskGroup() as group:
                for pod in parts.workers.pods.values():
                    group.create_task(parts.syncer.end_pod(pod, grace_seconds), name=f"end/{pod.uid}")

    async def unmount_volumes(self) -> None:
        """After `run()`, when its pods were stopped too: leave no volume mounted; the next `run()` mounts them anew.

        Raises:
            VolumeError: the kernel refused.
        """
        await unmount_below(self._paths.pods, self._threads)

    async def _start(self, supervisor: Supervisor, parts: NodeParts) -> None:
        def child(name: str, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
            self._children.append(supervisor.start(f"{self.name}/{name}", run, restart_seconds=RESTART_SECONDS))

        child("events", parts.recorder.run)
        await parts.health.refresh()
        await parts.eviction.observe()
        if parts.pull_manager is not None:
            await parts.pull_manager.start(parts.health.health.images)
        await parts.updater.register()
        await parts.pleg.relist()
        child("pleg-events", parts.pleg.run_events)
        child("pleg-relist", parts.pleg.run_relist)
        child("pod-statuses", parts.statuses.run)
        child("pod-reflector", parts.source.run_reflector)
        child("pod-source", parts.source.run)
        child("node-status", parts.updater.run_status)
        child("node-lease", parts.updater.run_lease)
        child("health-runtime", parts.health.run_runtime)
        child("health-images", parts.health.run_images)
        child("active-deadlines", parts.deadlines.run)
        if self.settings.static_pod_path:
            static_pods = StaticPods(
                directory=Path(self.settings.static_pod_path),
                node_name=self.name,
                api=self._api,
                threads=self._threads,
                clock=self._clock,
            )
            child("static-pods", static_pods.run)
        child("housekeeping", lambda: self._housekeep(parts))
        child("image-gc", parts.image_gc.run)
        child("eviction", lambda: self._relieve(parts))
        child("container-gc", parts.container_gc.run)
        child("log-rotation", parts.container_gc.run_log_rotation)
        serve = self._serve
        if serve is not None:
            child("server", lambda: serve(parts.server.app))

    @staticmethod
    async def _relieve(parts: NodeParts) -> None:
        await parts.source.wait_synced()
        await parts.eviction.run()

    @staticmethod
    async def _housekeep(parts: NodeParts) -> None:
        await parts.source.wait_synced()
        await parts.housekeeping.run()

    def _build(self, supervisor: Supervisor, version: VersionResponse, host_dns: ResolvConf) -> NodeParts:
        clock, threads, settings = self._clock, self._threads, self.settings
        recorder = EventRecorder(
            client=self._api,
            component="kubelet",
            clock=clock,
            host=self.name,
            writes_per_second=settings.event_record_qps,
            burst=settings.event_burst,
        )
        health = HealthMonitor(runtime=self._runtime, images=self._images, root=self.root, threads=threads, clock=clock)
        updater = NodeStatusUpdater(
            api=self._api,
            identity=NodeIdentity(
                name=self.name,
                host_ips=self._host_ips,
                port=settings.port,
                version=self._version,
                runtime=version,
            ),
            machine=self._machine,
            settings=settings,
            health=lambda: msgspec.structs.replace(health.health, pressures=eviction.conditions),
            events=recorder,
            clock=clock,
        )
        pull_manager = self._pull_manager()
        image_gc = self._image_gc(recorder, updater, pull_manager)
        image_manager = self._image_manager(recorder, pull_manager)
        cache = PodCache(runtime=self._runtime, threads=threads)
        statuses = StatusManager(api=self._api, clock=clock)
        objects = ObjectReader(self._api)
        tokens = ServiceAccountTokens(api=self._api, clock=clock)

        def facts() -> NodeFacts:
            return NodeFacts(name=self.name, host_ips=self._host_ips, allocatable=updater.allocatable)

        container_gc = ContainerGC(
            runtime=self._runtime,
            cache=cache,
            threads=threads,
            clock=clock,
            log_max_bytes=parse_quantity(settings.container_log_max_size).units,
            log_max_files=settings.container_log_max_files,
        )
        manager = build_runtime_manager(
            runtime=self._runtime,
            images=self._images,
            image_manager=image_manager,
            environment=EnvironmentMaker(objects=objects, node=facts, api_server=self._api_server),
            paths=self._paths,
            dns=lambda pod: dns_config(pod, settings, host_dns),
            settings=settings,
            memory_capacity_bytes=self._machine.memory_bytes,
            cgroup_root=self._cgroup_root,
            events=recorder,
            wording=self._wording,
            metrics=self._metrics,
            threads=threads,
            clock=clock,
        )
        volumes = VolumeManager(
            paths=self._paths,
            payloads=PayloadSources(objects=objects, tokens=tokens, node=facts),
            threads=threads,
            clock=clock,
        )
        probes = ProbeManager(
            prober=Prober(runtime=self._runtime, clock=clock),
            cache=cache,
            supervisor=supervisor,
            events=recorder,
            wording=self._wording,
            clock=clock,
            on_change=lambda uid: workers.wake(uid),
        )
        syncer = PodSyncer(
            cache=cache,
            manager=manager,
            statuses=statuses,
            volumes=volumes,
            objects=objects,
            tokens=tokens,
            credentials=credential_source(self._keyring, self._api, tokens),
            probes=probes,
            events=recorder,
            wording=self._wording,
            paths=self._paths,
            threads=threads,
            clock=clock,
            runtime_name=version.runtime_name,
            host_ips=self._host_ips,
            network_problem=lambda: health.network_problem,
        )
        workers = PodWorkers(
            sync=syncer,
            supervisor=supervisor,
            clock=clock,
            random=self._random,
            sync_frequency_seconds=settings.sync_frequency_seconds,
        )
        eviction = EvictionManager(
            signals=EvictionSignals(root=self.root, images=self._images, threads=threads),
            thresholds=parse_thresholds(settings.eviction_hard),
            transition_seconds=settings.eviction_pressure_transition_seconds,
            reclaim=(container_gc.collect, image_gc.delete_unused_images),
            workers=workers,
            uses=PodUses(runtime=self._runtime, cache=cache, paths=self._paths, threads=threads),
            container_gc=container_gc,
            announce=updater.announce,
            events=recorder,
            node=updater.reference,
            metrics=self._metrics,
            clock=clock,
        )
        source = PodSource(
            api=self._api,
            node_name=self.name,
            workers=workers,
            statuses=statuses,
            events=recorder,
            refusals={
                reasons.EVICTED: eviction.refusal,
                reasons.SYSCTL_FORBIDDEN: lambda pod: forbidden_sysctl(pod, settings.allowed_unsafe_sysctls),
                reasons.APP_ARMOR: unenforced_app_armor,
            },
            clock=clock,
        )
        return NodeParts(
            recorder=recorder,
            health=health,
            updater=updater,
            pull_manager=pull_manager,
            cache=cache,
            statuses=statuses,
            workers=workers,
            syncer=syncer,
            source=source,
            pleg=Pleg(runtime=self._runtime, cache=cache, clock=clock, notice=probes.wake, wake=workers.wake),
            housekeeping=Housekeeping(
                cache=cache,
                manager=manager,
                volumes=volumes,
                paths=self._paths,
                known=lambda: source.uids | workers.pods.keys(),
                threads=threads,
                clock=clock,
            ),
            deadlines=ActiveDeadlines(workers=workers, statuses=statuses, events=recorder, clock=clock),
            image_gc=image_gc,
            eviction=eviction,
            container_gc=container_gc,
            server=NodeServer(
                pods=lambda: workers.pods,
                raw_pods=source.raw_pods,
                statuses=statuses,
                cache=cache,
                runtime=self._runtime,
                logs=ContainerLogs(threads=threads, clock=clock),
                paths=self._paths,
                metrics=self._metrics,
                clock=clock,
            ),
        )

    def _image_gc(
        self, events: EventSink, updater: NodeStatusUpdater, pull_manager: PullManager | None
    ) -> ImageGCManager:
        settings = self.settings
        return ImageGCManager(
            images=self._images,
            runtime=self._runtime,
            policy=ImageGCPolicy(
                high_threshold_percent=settings.image_gc_high_threshold_percent,
                low_threshold_percent=settings.image_gc_low_threshold_percent,
                min_age_seconds=settings.image_minimum_gc_age_seconds,
                max_age_seconds=settings.image_maximum_gc_age_seconds,
            ),
            pull_manager=pull_manager,
            events=events,
            node=updater.reference,
            wording=self._wording,
            metrics=self._metrics,
            clock=self._clock,
            threads=self._threads,
        )

    def _pull_manager(self) -> PullManager | None:
        if not self.settings.verifies_pulled_images:
            return None
        return PullManager(
            records=PullRecords(self.root),
            rule=parse_verification_rule(
                self.settings.verification_policy, self.settings.preloaded_images_verification_allowlist
            ),
            threads=self._threads,
            clock=self._clock,
            on_check=lambda result: self._metrics.count(
                "kubelet_imagemanager_image_mustpull_checks_total", result=str(result)
            ),
        )

    def _image_manager(self, events: EventSink, pull_manager: PullManager | None) -> ImageManager:
        settings = self.settings
        puller = ImagePuller(
            images=self._images,
            clock=self._clock,
            is_serial=settings.is_serial,
            max_parallel=settings.max_parallel_image_pulls,
            qps=settings.registry_pull_qps,
            burst=settings.registry_burst,
        )
        return ImageManager(
            images=self._images,
            puller=puller,
            pull_manager=pull_manager,
            backoff=PullBackoff(),
            events=events,
            wording=self._wording,
            journal=self._journal,
            node_name=self.name,
            metrics=self._metrics,
            clock=self._clock,
        )
