"""DaemonSets: one pod on every node that will have it, replaced node by node when the template changes.

Source: kubernetes pkg/controller/daemon/{daemon_controller,update}.go, util/daemonset_util.go.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pullet.base.jsonvalue import JsonObject
from pullet.controllers.conditions import scaled_value
from pullet.controllers.history import REVISION_HASH_LABEL, RevisionHistory, hash_of_pod, hashes_in_use
from pullet.controllers.informers import Informers
from pullet.controllers.pod_control import PodControl, carry_out_claims
from pullet.controllers.pods import decide_claims, is_available, is_ready, phase_of, pod_from_template
from pullet.controllers.reconciler import Reconciler, Source, same_key
from pullet.kit.clock import Clock
from pullet.kube.meta import controller_of, is_deleting, metadata, name_of, namespace_of, object_reference
from pullet.kube.scheme import CONTROLLERREVISIONS, DAEMONSETS, NODES, PODS
from pullet.kube.selector import label_selector_from
from pullet.kubeclient.client import ApiClient
from pullet.kubeclient.event_recorder import EventRecorder
from pullet.kubeclient.object_cache import Change, Key
from pullet.policy.scheduling_facts import NodeFacts, node_facts, pod_demand
from pullet.policy.scheduling_filters import find_untolerated_taint, matches_node

_TOLERATED = (
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
)


@dataclass(slots=True)
class DaemonPlan:
    """Nodes that lack a pod, pods to delete, and failed pods among them."""

    create_on: list[str] = field(default_factory=list)
    delete: list[JsonObject] = field(default_factory=list)
    failed: list[JsonObject] = field(default_factory=list)


def daemon_pod(daemonset: JsonObject, node_name: str, revision_hash: str) -> JsonObject:
    """The pod for one node: bound to it by affinity, tolerating what nodes go through."""
    pod = pod_from_template(daemonset, daemonset["spec"].get("template") or {}, generate_name=f"{name_of(daemonset)}-")
    meta, spec = pod["metadata"], pod["spec"]
    meta["labels"] = dict(meta.get("labels") or {}) | {REVISION_HASH_LABEL: revision_hash}
    spec["tolerations"] = [*(spec.get("tolerations") or ()), *_added_tolerations(spec)]
    fields = [{"key": "metadata.name", "operator": "In", "values": [node_name]}]
    affinity = copy.deepcopy(spec.get("affinity") or {})
    node_affinity = affinity.setdefault("nodeAffinity", {})
    required = node_affinity.setdefault("requiredDuringSchedulingIgnoredDuringExecution", {})
    terms = required.get("nodeSelectorTerms") or [{}]
    required["nodeSelectorTerms"] = [{**term, "matchFields": fields} for term in terms]
    spec["affinity"] = affinity
    return pod


def _added_tolerations(spec: Mapping[str, Any]) -> list[JsonObject]:
    added = [
        *_TOLERATED,
        *([("node.kubernetes.io/network-unavailable", "NoSchedule")] if spec.get("hostNetwork") else []),
    ]
    return [{"key": key, "operator": "Exists", "effect": effect} for key, effect in added]


def node_eligibility(daemonset: JsonObject, node: NodeFacts) -> tuple[bool, bool]:
    """Whether a pod should be started on the node, and whether one that is there may stay."""
    template = daemonset["spec"].get("template") or {}
    spec = dict(template.get("spec") or {})
    spec["tolerations"] = [*(spec.get("tolerations") or ()), *_added_tolerations(spec)]
    demand = pod_demand({"metadata": {}, "spec": spec})
    if not matches_node(demand, node):
        return False, False
    should_run = find_untolerated_taint(demand, node, ("NoSchedule", "NoExecute")) is None
    return should_run, find_untolerated_taint(demand, node, ("NoExecute",)) is None


def target_node(pod: Mapping[str, Any]) -> str:
    """The node a daemon pod is for, bound or not."""
    spec = pod.get("spec") or {}
    if spec.get("nodeName"):
        return str(spec["nodeName"])
    required = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    ) or {}
    for term in required.get("nodeSelectorTerms") or ():
        for item in term.get("matchFields") or ():
            if item.get("key") == "metadata.name" and item.get("values"):
                return str(item["values"][0])
    return ""


def plan_daemons(
    nodes: Mapping[str, tuple[bool, bool]], pods_by_node: Mapping[str, Sequence[JsonObject]]
) -> DaemonPlan:
    """Bring every eligible node to one pod, every other to none; `nodes` is eligibility by name."""
    plan = DaemonPlan()
    for name, (should_run, may_stay) in nodes.items():
        pods = pods_by_node.get(name, ())
        alive = [pod for pod in pods if not is_deleting(pod)]
        if not may_stay:
            plan.delete += alive
            continue
        failed = [pod for pod in alive if phase_of(pod) in ("Failed", "Succeeded")]
        plan.failed += [pod for pod in failed if phase_of(pod) == "Failed"]
        plan.delete += failed
        running = [pod for pod in alive if pod not in failed]
        plan.delete += sorted(running, key=_age)[1:]
        if should_run and not pods:
            plan.create_on.append(name)
    gone = [pod for name, pods in pods_by_node.items() if name not in nodes for pod in pods]
    plan.delete += [pod for pod in gone if not is_deleting(pod)]
    return plan


def plan_update(
    daemonset: JsonObject,
    pods_by_node: Mapping[str, Sequence[JsonObject]],
    desired: int,
    revision_hash: str,
    now: datetime,
) -> list[JsonObject]:
    """Old pods to delete now, without more than maxUnavailable nodes being without an available pod."""
    strategy = daemonset["spec"].get("updateStrategy") or {}
    if strategy.get("type") == "OnDelete":
        return []
    allowed = scaled_value(
        (strategy.get("rollingUpdate") or {}).get("maxUnavailable"), desired, default=1, round_up=True
    )
    min_ready = int(daemonset["spec"].get("minReadySeconds") or 0)
    unavailable = 0
    candidates: list[JsonObject] = []
    for pods in pods_by_node.values():
        available = any(is_available(pod, min_ready, now) and not is_deleting(pod) for pod in pods)
        unavailable += not available
        old = [pod for pod in pods if hash_of_pod(pod) != revision_hash and not is_deleting(pod)]
        candidates += old
    unavailable += max(0, desired - len(pods_by_node))
    broken = [pod for pod in candidates if not is_available(pod, min_ready, now)]
    healthy = [pod for pod in candidates if is_available(pod, min_ready, now)]
    return [*broken, *healthy[: max(0, allowed - unavailable)]]


def _age(pod: JsonObject) -> tuple[bool, str, str]:
    return not (pod.get("spec") or {}).get("nodeName"), str(metadata(pod).get("creationTimestamp") or ""), name_of(pod)


class DaemonSetController:
    """Runs until cancelled."""

    def __init__(self, *, client: ApiClient, informers: Informers, recorder: EventRecorder, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._recorder = recorder
        self._daemonsets = informers.of(DAEMONSETS)
        self._pods = informers.of(PODS)
        self._nodes = informers.of(NODES)
        revisions = informers.of(CONTROLLERREVISIONS)
        self._history = RevisionHistory(client=client, revisions=revisions)
        self._control = PodControl(client=client, pods=self._pods, recorder=recorder)
        self._reconciler = Reconciler(
            name="daemonset",
            clock=clock,
            reconcile=self.reconcile,
            sources=(
                Source(self._daemonsets, same_key),
                Source(self._pods, _daemonset_of_pod),
                Source(self._nodes, self._keys_of_node),
            ),
            needs=(revisions,),
        )

    async def run(self) -> None:
        """Reconcile until cancelled."""
        await self._reconciler.run()

    def _keys_of_node(self, change: Change) -> Iterable[Key]:
        if change.old is not None and _node_offer(change.old) == _node_offer(change.object):
            return ()
        return [(namespace_of(item), name_of(item)) for item in self._daemonsets.list()]

    async def reconcile(self, key: Key) -> float | None:
        """One pass over one DaemonSet."""
        daemonset = self._daemonsets.get(*key)
        if daemonset is None or is_deleting(daemonset):
            return None
        selector = label_selector_from(daemonset["spec"].get("selector"))
        claims = decide_claims(daemonset, selector, self._pods.list(key[0]))
        await carry_out_claims(self._client, self._pods, daemonset, claims)
        history = await self._history.ensure(daemonset)
        revision_hash = history.current_hash
        nodes = {name_of(node): node_eligibility(daemonset, node_facts(node, ())) for node in self._nodes.list()}
        plan = plan_daemons(nodes, self._pods_by_node(daemonset))
        for pod in plan.failed:
            message = f"Found failed daemon pod {key[0]}/{name_of(pod)} on node {target_node(pod)}, will try to kill it"
            self._recorder.event(object_reference(daemonset), "Warning", "FailedDaemonPod", message)
        await self._control.delete_many(daemonset, plan.delete)
        made = [daemon_pod(daemonset, name, revision_hash) for name in plan.create_on]
        await self._control.create_many(daemonset, made)
        desired = sum(1 for should_run, _ in nodes.values() if should_run)
        pods_by_node = self._pods_by_node(daemonset)
        if not plan.create_on and not plan.delete:
            now = self._clock.now()
            await self._control.delete_many(
                daemonset, plan_update(daemonset, pods_by_node, desired, revision_hash, now)
            )
        everything = [pod for pods in pods_by_node.values() for pod in pods]
        await self._history.truncate(daemonset, history, hashes_in_use(everything))
        return await self._write_status(daemonset, nodes, pods_by_node, revision_hash)

    def _pods_by_node(self, daemonset: JsonObject) -> dict[str, list[JsonObject]]:
        found: dict[str, list[JsonObject]] = {}
        for pod in self._pods.by_index("controller", metadata(daemonset)["uid"]):
            found.setdefault(target_node(pod), []).append(pod)
        return found

    async def _write_status(
        self,
        daemonset: JsonObject,
        nodes: Mapping[str, tuple[bool, bool]],
        pods_by_node: Mapping[str, Sequence[JsonObject]],
        revision_hash: str,
    ) -> float | None:
        now = self._clock.now()
        min_ready = int(daemonset["spec"].get("minReadySeconds") or 0)
        desired = [name for name, (should_run, _) in nodes.items() if should_run]
        chosen = [sorted(pods_by_node[name], key=_age)[0] for name in desired if pods_by_node.get(name)]
        available = sum(1 for pod in chosen if is_available(pod, min_ready, now))
        status: JsonObject = {
            "currentNumberScheduled": len(chosen),
            "numberMisscheduled": sum(
                1 for name, pods in pods_by_node.items() if name in nodes and name not in desired and pods
            ),
            "desiredNumberScheduled": len(desired),
            "numberReady": sum(1 for pod in chosen if is_ready(pod)),
        }
        optional = {
            "observedGeneration": int(metadata(daemonset).get("generation") or 0),
            "updatedNumberScheduled": sum(1 for pod in chosen if hash_of_pod(pod) == revision_hash),
            "numberAvailable": available,
            "numberUnavailable": len(desired) - available,
        }
        status |= {name: count for name, count in optional.items() if count}
        if status != (daemonset.get("status") or {}):
            written = await self._client.update(
                DAEMONSETS, namespace_of(daemonset), daemonset | {"status": status}, subresource="status"
            )
            self._daemonsets.observe(written)
        return (
            float(min_ready) if min_ready and any(is_ready(pod) for pod in chosen) and available < len(chosen) else None
        )


def _daemonset_of_pod(change: Change) -> Iterable[Key]:
    controller = controller_of(change.object)
    if controller is None or controller.get("kind") != "DaemonSet":
        return ()
    return ((namespace_of(change.object), controller["name"]),)


def _node_offer(node: JsonObject) -> tuple[object, ...]:
    spec = node.get("spec") or {}
    return spec.get("taints"), spec.get("unschedulable"), metadata(node).get("labels")
