"""Puts together what runs containers: configs, starts, stops, hooks."""

from __future__ import annotations

from collections.abc import Callable

from pullet.cri.services import ImageService, RuntimeService
from pullet.cri.types import DNSConfig
from pullet.kit.clock import Clock
from pullet.kit.worker_threads import WorkerThreads
from pullet.kube.pod import PodView
from pullet.node.container_config import ContainerConfigMaker
from pullet.node.container_killer import ContainerKiller
from pullet.node.container_starter import ContainerStarter
from pullet.node.environment import EnvironmentMaker
from pullet.node.events import EventSink
from pullet.node.image_manager import ImageManager
from pullet.node.lifecycle_hooks import LifecycleHooks
from pullet.node.metrics import NodeMetrics
from pullet.node.pod_paths import PodPaths
from pullet.node.runtime_manager import RuntimeManager
from pullet.node.settings import NodeSettings
from pullet.policy.restart_backoff import RestartBackoff
from pullet.policy.wording import Wording


def build_runtime_manager(
    *,
    runtime: RuntimeService,
    images: ImageService,
    image_manager: ImageManager,
    environment: EnvironmentMaker,
    paths: PodPaths,
    dns: Callable[[PodView], DNSConfig],
    settings: NodeSettings,
    memory_capacity_bytes: int,
    cgroup_root: str,
    events: EventSink,
    wording: Wording,
    metrics: NodeMetrics,
    threads: WorkerThreads,
    clock: Clock,
) -> RuntimeManager:
    """The manager with everything below it."""
    hooks = LifecycleHooks(runtime=runtime, clock=clock)
    killer = ContainerKiller(runtime=runtime, hooks=hooks, events=events, wording=wording, clock=clock)
    configs = ContainerConfigMaker(
        paths=paths,
        environment=environment,
        threads=threads,
        cluster_domain=settings.cluster_domain,
        memory_capacity_bytes=memory_capacity_bytes,
    )
    starter = ContainerStarter(
        images=images,
        runtime=runtime,
        image_manager=image_manager,
        configs=configs,
        killer=killer,
        hooks=hooks,
        backoff=RestartBackoff(max_seconds=settings.max_restart_period_seconds),
        events=events,
        wording=wording,
        metrics=metrics,
        clock=clock,
    )
    return RuntimeManager(
        runtime=runtime,
        starter=starter,
        killer=killer,
        image_manager=image_manager,
        paths=paths,
        dns=dns,
        cgroup_root=cgroup_root,
        cluster_domain=settings.cluster_domain,
        events=events,
        wording=wording,
    )
