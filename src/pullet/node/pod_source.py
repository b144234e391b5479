"""Where pods come from: a watch of the API for pods bound to this node. Source: kubernetes pkg/kubelet/config."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import closing

from pullet.base.jsonvalue import JsonObject
from pullet.kit.clock import Clock
from pullet.kube import reasons
from pullet.kube.meta import uid_of
from pullet.kube.pod import PodView, parse_pod
from pullet.kube.scheme import PODS
from pullet.kube.view import ViewInvalidError
from pullet.kubeclient.client import ApiClient
from pullet.kubeclient.object_cache import Change
from pullet.kubeclient.reflector import Reflector
from pullet.node.events import EventSink
from pullet.node.pod_workers import KillRequest, PodWorkers
from pullet.node.status_manager import StatusManager

log = logging.getLogger(__name__)


class PodSource:
    """Hands every change of this node's pods to workers and status manager."""

    def __init__(
        self,
        *,
        api: ApiClient,
        node_name: str,
        workers: PodWorkers,
        statuses: StatusManager,
        events: EventSink,
        refusals: Mapping[str, Callable[[PodView], str]],
        clock: Clock,
    ) -> None:
        """`refusals` by reason: each says why the node cannot take a pod that is new here; empty: it can."""
        self._reflector = Reflector(client=api, resource=PODS, clock=clock, field_selector=f"spec.nodeName={node_name}")
        self._workers, self._statuses, self._events, self._refusals = workers, statuses, events, refusals

    async def run_reflector(self) -> None:
        """Keep the local copy of the pods, until cancelled."""
        await self._reflector.run()

    async def run(self) -> None:
        """Hand over changes, until cancelled."""
        await self._reflector.wait_synced()
        with closing(self._reflector.changes()) as changes:
            async for change in changes:
                self._observe(change)

    async def wait_synced(self) -> None:
        """Until the first list of pods is known: before that no pod may be called gone."""
        await self._reflector.wait_synced()

    @property
    def uids(self) -> set[str]:
        """Uids of the pods that the API has."""
        return {uid_of(obj) for obj in self._reflector.list()}

    def raw_pods(self) -> list[JsonObject]:
        """The pods as the API has them."""
        return list(self._reflector.list())

    def _observe(self, change: Change) -> None:
        if change.type == "DELETED":
            self._workers.forget_pod(uid_of(change.object))
            return
        pod = self._parse(change.object)
        if pod is not None:
            self._statuses.observe_pod(pod)
            is_new = self._workers.state(pod.uid) is None and not pod.is_terminating
            self._workers.update_pod(pod)
            # a pod that was taken once has a start time: a restarted node does not think again
            if is_new and not pod.status.get("startTime"):
                self._refuse(pod)

    def _refuse(self, pod: PodView) -> None:
        """Turn it away for the first reason there is, if any."""
        for reason, refusal in self._refusals.items():
            text = refusal(pod)
            if text:
                self._events.event(pod.reference(), reasons.WARNING, reason, text)
                message = f"Pod was rejected: {text}"
                self._workers.kill_pod(pod.uid, KillRequest(reason=reason, message=message, is_refusal=True))
                return

    @staticmethod
    def _parse(obj: JsonObject) -> PodView | None:
        try:
            return parse_pod(obj)
        except ViewInvalidError as error:
            log.warning("pod not understood, skipped", extra={"error": str(error)})
            return None
