"""Deletes pods from nodes whose NoExecute taints they do not tolerate, or no longer.

Source: kubernetes pkg/controller/tainteviction/taint_eviction.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from pullet.base.jsonvalue import JsonObject
from pullet.controllers.informers import BY_NODE, Informers
from pullet.controllers.reconciler import Reconciler, Source, same_key
from pullet.kit.clock import Clock
from pullet.kube.meta import is_deleting, name_of, namespace_of, object_reference, parse_time, uid_of
from pullet.kube.scheme import NODES, PODS
from pullet.kube.status import ConflictError, NotFoundError
from pullet.kubeclient.client import ApiClient
from pullet.kubeclient.event_recorder import EventRecorder
from pullet.kubeclient.object_cache import Change, Key
from pullet.policy.scheduling_facts import is_terminal
from pullet.policy.scheduling_filters import tolerates


def seconds_to_eviction(
    tolerations: Sequence[Mapping[str, Any]], taints: Iterable[Mapping[str, Any]], now: datetime
) -> float | None:
    """How long the pod may stay; 0.0: it must go; None: for ever."""
    soonest: float | None = None
    for taint in taints:
        if taint.get("effect") != "NoExecute":
            continue
        matching = [toleration for toleration in tolerations if tolerates(toleration, taint)]
        if not matching:
            return 0.0
        limits = [int(item["tolerationSeconds"]) for item in matching if item.get("tolerationSeconds") is not None]
        if not limits:
            continue
        since = parse_time(taint.get("timeAdded")) or now
        left = max(0.0, min(limits) - (now - since).total_seconds())
        soonest = left if soonest is None else min(soonest, left)
    return soonest


class TaintEvictionController:
    """Runs until cancelled."""

    def __init__(self, *, client: ApiClient, informers: Informers, recorder: EventRecorder, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._recorder = recorder
        self._pods = informers.of(PODS)
        self._nodes = informers.of(NODES)
        self._reconciler = Reconciler(
            name="taint-eviction",
            clock=clock,
            reconcile=self.reconcile,
            sources=(Source(self._pods, same_key), Source(self._nodes, self._keys_of_node)),
        )

    async def run(self) -> None:
        """Reconcile until cancelled."""
        await self._reconciler.run()

    def _keys_of_node(self, change: Change) -> Iterable[Key]:
        before = ((change.old or {}).get("spec") or {}).get("taints")
        if before == (change.object.get("spec") or {}).get("taints"):
            return ()
        return [(namespace_of(pod), name_of(pod)) for pod in self._pods.by_index(BY_NODE, change.key[1])]

    async def reconcile(self, key: Key) -> float | None:
        """Look at one pod."""
        pod = self._pods.get(*key)
        if pod is None or is_deleting(pod) or is_terminal(pod):
            return None
        spec = pod.get("spec") or {}
        node = self._nodes.get("", spec.get("nodeName") or "")
        if node is None:
            return None
        taints = (node.get("spec") or {}).get("taints") or ()
        left = seconds_to_eviction(spec.get("tolerations") or (), taints, self._clock.now())
        if left is None or left > 0:
            return left
        await self._evict(pod)
        return None

    async def _evict(self, pod: JsonObject) -> None:
        namespace, name = namespace_of(pod), name_of(pod)
        message = f"Marking for deletion Pod {namespace}/{name}"
        self._recorder.event(object_reference(pod), "Normal", "TaintManagerEviction", message)
        try:
            await self._client.delete(PODS, namespace, name, uid=uid_of(pod))
        except (NotFoundError, ConflictError):
            return
