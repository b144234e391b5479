"""Binds pods to nodes: watch unbound pods, decide with policy.scheduling, POST the binding.

A pod that no node can take is tried again when a node or another pod changed in a way that may help, and after five
minutes in any case. Source: kube-scheduler pkg/scheduler/schedule_one.go.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from pullet.base.jsonvalue import JsonObject
from pullet.controllers.informers import BY_NODE, Informers
from pullet.controllers.pods import condition_of
from pullet.controllers.reconciler import Reconciler, Source
from pullet.kit.clock import Clock
from pullet.kube.meta import (
    format_time,
    is_deleting,
    metadata,
    name_of,
    namespace_of,
    object_reference,
    resource_version_of,
    uid_of,
)
from pullet.kube.reasons import FAILED_SCHEDULING, POD_SCHEDULED, SCHEDULED
from pullet.kube.scheme import NODES, PODS
from pullet.kube.status import ConflictError, NotFoundError
from pullet.kubeclient.client import ApiClient
from pullet.kubeclient.event_series import EventSeriesRecorder
from pullet.kubeclient.object_cache import Change, Key
from pullet.policy.scheduling import Unassigned, choose_node
from pullet.policy.scheduling_facts import NodeFacts, is_terminal, node_facts, pod_demand

log = logging.getLogger(__name__)

DEFAULT_SCHEDULER = "default-scheduler"
_RETRY_SECONDS = 300.0
# What of a node matters to where pods go; its heartbeat does not.
_NODE_FIELDS = ("unschedulable", "taints")


class Scheduler:
    """Runs until cancelled; one pod at a time, so that each decision sees the ones before it."""

    def __init__(
        self,
        *,
        client: ApiClient,
        informers: Informers,
        recorder: EventSeriesRecorder,
        clock: Clock,
        name: str = DEFAULT_SCHEDULER,
    ) -> None:
        self._client = client
        self._clock = clock
        self._recorder = recorder
        self._name = name
        self._pods = informers.of(PODS)
        self._nodes = informers.of(NODES)
        self._unschedulable: dict[Key, str] = {}  # uid of each pod that no node could take
        self._assumed: dict[str, JsonObject] = {}  # bound by us, not yet seen as bound
        self._reconciler = Reconciler(
            name="scheduler",
            clock=clock,
            reconcile=self.reconcile,
            sources=(Source(self._pods, self._keys_of_pod), Source(self._nodes, self._keys_of_node)),
        )

    async def run(self) -> None:
        """Schedule until cancelled."""
        await self._reconciler.run()

    def _keys_of_pod(self, change: Change) -> Iterable[Key]:
        pod = change.object
        if change.type == "DELETED" or (pod.get("spec") or {}).get("nodeName"):
            self._assumed.pop(uid_of(pod), None)
            self._unschedulable.pop(change.key, None)
            # what it held may be what others wait for
            is_over = change.type == "DELETED" or (is_terminal(pod) and not is_terminal(change.old or {}))
            return list(self._unschedulable) if is_over else ()
        if change.key in self._unschedulable and not _wants_differ(change.old, pod):
            return ()  # our own word about it, or somebody's label
        return (change.key,)

    def _keys_of_node(self, change: Change) -> Iterable[Key]:
        if change.old is not None and _offer(change.old) == _offer(change.object):
            return ()
        return list(self._unschedulable)

    async def reconcile(self, key: Key) -> float | None:
        """Find a node for one pod."""
        pod = self._pods.get(*key)
        if pod is None or not self._is_ours(pod):
            self._unschedulable.pop(key, None)
            return None
        decision = choose_node(pod_demand(pod), self._facts())
        if isinstance(decision, Unassigned):
            self._unschedulable[key] = uid_of(pod)
            await self._report_failure(pod, decision.message)
            return _RETRY_SECONDS
        await self._bind(pod, decision.node_name)
        self._unschedulable.pop(key, None)
        return None

    def _is_ours(self, pod: JsonObject) -> bool:
        spec = pod.get("spec") or {}
        return (
            not spec.get("nodeName")
            and not spec.get("schedulingGates")
            and (spec.get("schedulerName") or DEFAULT_SCHEDULER) == self._name
            and not is_deleting(pod)
            and not is_terminal(pod)
            and uid_of(pod) not in self._assumed
        )

    def _facts(self) -> list[NodeFacts]:
        facts = []
        for node in self._nodes.list():
            name = name_of(node)
            assumed = [pod for pod in self._assumed.values() if pod["spec"]["nodeName"] == name]
            facts.append(node_facts(node, [*self._pods.by_index(BY_NODE, name), *assumed]))
        return facts

    async def _bind(self, pod: JsonObject, node_name: str) -> None:
        namespace, name, uid = namespace_of(pod), name_of(pod), uid_of(pod)
        binding: JsonObject = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": name, "namespace": namespace, "uid": uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node_name},
        }
        self._assumed[uid] = pod | {"spec": pod["spec"] | {"nodeName": node_name}}
        try:
            await self._client.create(PODS, namespace, binding, subresource="binding", name=name)
        except BaseException:
            self._assumed.pop(uid, None)
            raise
        bound = self._pods.get(namespace, name)
        if bound is None or uid_of(bound) != uid or (bound.get("spec") or {}).get("nodeName"):
            self._assumed.pop(uid, None)  # the watch was faster than the answer
        message = f"Successfully assigned {namespace}/{name} to {node_name}"
        self._recorder.event(object_reference(pod), "Normal", SCHEDULED, "Binding", message)

    async def _report_failure(self, pod: JsonObject, message: str) -> None:
        log.info("pod cannot be scheduled", extra={"pod": f"{namespace_of(pod)}/{name_of(pod)}", "why": message})
        self._recorder.event(object_reference(pod), "Warning", FAILED_SCHEDULING, "Scheduling", message)
        condition = condition_of(pod, POD_SCHEDULED) or {}
        if condition.get("status") == "False" and condition.get("message") == message:
            return
        same = condition.get("status") == "False"
        fresh: JsonObject = {
            "type": POD_SCHEDULED,
            "status": "False",
            "lastProbeTime": None,
            "lastTransitionTime": condition.get("lastTransitionTime") if same else format_time(self._clock.now()),
            "reason": "Unschedulable",
            "message": message,
        }
        generation = metadata(pod).get("generation")
        if generation:
            fresh["observedGeneration"] = generation
        patch: JsonObject = {"metadata": {"uid": uid_of(pod)}, "status": {"conditions": [fresh]}}
        try:
            written = await self._client.patch(
                PODS, namespace_of(pod), name_of(pod), patch, kind="strategic", subresource="status"
            )
        except (NotFoundError, ConflictError):
            return
        self._pods.observe(written)


def _wants_differ(old: JsonObject | None, pod: JsonObject) -> bool:
    return old is None or uid_of(old) != uid_of(pod) or old.get("spec") != pod.get("spec")


def _offer(node: JsonObject) -> tuple[object, ...]:
    """What of a node decides over pods."""
    spec, status = node.get("spec") or {}, node.get("status") or {}
    return (
        *(spec.get(field) for field in _NODE_FIELDS),
        status.get("allocatable"),
        metadata(node).get("labels"),
        resource_version_of(node) if not status else None,
    )
