"""Starts the scheduler and all controllers over one set of local copies, each restarted alone if it fails."""

from __future__ import annotations

import asyncio
from typing import Protocol

from pullet.controllers.daemonset import DaemonSetController
from pullet.controllers.deployment import DeploymentController
from pullet.controllers.disruption import DisruptionController
from pullet.controllers.garbage_collector import GarbageCollector
from pullet.controllers.informers import Informers
from pullet.controllers.job import JobController
from pullet.controllers.namespaces import NamespacesController
from pullet.controllers.node_lifecycle import NodeLifecycleController
from pullet.controllers.pod_garbage import PodGarbageController
from pullet.controllers.replicaset import ReplicaSetController
from pullet.controllers.scheduler import DEFAULT_SCHEDULER, Scheduler
from pullet.controllers.service_accounts import ServiceAccountsController
from pullet.controllers.statefulset import StatefulSetController
from pullet.controllers.taint_eviction import TaintEvictionController
from pullet.kit.clock import Clock
from pullet.kit.tasks import Supervisor
from pullet.kubeclient.client import ApiClient
from pullet.kubeclient.event_recorder import EventRecorder
from pullet.kubeclient.event_series import EventSeriesRecorder

_RESTART_SECONDS = 1.0


class Controller(Protocol):
    """A loop that brings what is closer to what should be."""

    async def run(self) -> None:
        """Work until cancelled."""
        ...


class ControllerManager:
    """kube-scheduler and kube-controller-manager in one; `client` decides who they are to the API server.

    `root_ca` is the PEM text that pods find in kube-root-ca.crt; `instance` names this machine in scheduler events.
    """

    def __init__(self, *, client: ApiClient, clock: Clock, root_ca: str, instance: str) -> None:
        self._clock = clock
        self._client = client.as_manager("kube-controller-manager")
        self._recorders: dict[str, EventRecorder | EventSeriesRecorder] = {}
        informers = Informers(client=self._client, clock=clock)
        self._informers = informers
        scheduler_client = client.as_manager("kube-scheduler")
        scheduler_events = EventSeriesRecorder(
            client=scheduler_client,
            controller=DEFAULT_SCHEDULER,
            instance=f"{DEFAULT_SCHEDULER}-{instance}",
            clock=clock,
        )
        self._recorders[DEFAULT_SCHEDULER] = scheduler_events
        writer = self._client
        self._controllers: dict[str, Controller] = {
            "scheduler": Scheduler(
                client=scheduler_client, informers=informers, clock=clock, recorder=scheduler_events
            ),
            "service-accounts": ServiceAccountsController(
                client=writer, informers=informers, clock=clock, root_ca=root_ca
            ),
            "namespaces": NamespacesController(client=writer, informers=informers, clock=clock),
            "node-lifecycle": NodeLifecycleController(
                client=writer, informers=informers, clock=clock, recorder=self._recorder("node-controller")
            ),
            "taint-eviction": TaintEvictionController(
                client=writer, informers=informers, clock=clock, recorder=self._recorder("taint-eviction-controller")
            ),
            "pod-garbage": PodGarbageController(client=writer, informers=informers, clock=clock),
            "replicaset": ReplicaSetController(
                client=writer, informers=informers, clock=clock, recorder=self._recorder("replicaset-controller")
            ),
            "deployment": DeploymentController(
                client=writer, informers=informers, clock=clock, recorder=self._recorder("deployment-controller")
            ),
            "daemonset": DaemonSetController(
                client=writer, informers=informers, clock=clock, recorder=self._recorder("daemonset-controller")
            ),
            "statefulset": StatefulSetController(
                client=writer, informers=informers, clock=clock, recorder=self._recorder("statefulset-controller")
            ),
            "job": JobController(
                client=writer, informers=informers, clock=clock, recorder=self._recorder("job-controller")
            ),
            "disruption": DisruptionController(client=writer, informers=informers, clock=clock),
            # last: it takes copies of metadata where nobody needs the whole
            "garbage-collector": GarbageCollector(client=writer, informers=informers, clock=clock),
        }

    async def run(self) -> None:
        """Run everything until cancelled; events still queued then are given a moment."""
        async with Supervisor(clock=self._clock) as outer:
            for name, recorder in self._recorders.items():
                _ = outer.start(f"events/{name}", recorder.run, restart_seconds=_RESTART_SECONDS)
            try:
                async with Supervisor(clock=self._clock) as inner:
                    _ = inner.start("informers", self._informers.run, restart_seconds=_RESTART_SECONDS)
                    for name, controller in self._controllers.items():
                        _ = inner.start(f"controller/{name}", controller.run, restart_seconds=_RESTART_SECONDS)
                    await asyncio.Event().wait()
            finally:
                async with asyncio.TaskGroup() as group:
                    for recorder in self._recorders.values():
                        group.create_task(recorder.flush(timeout_seconds=1.0))

    def _recorder(self, component: str) -> EventRecorder:
        recorder = EventRecorder(client=self._client, component=component, clock=self._clock)
        self._recorders[component] = recorder
        return recorder
