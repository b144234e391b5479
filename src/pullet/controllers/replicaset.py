"""ReplicaSets: as many pods as wanted, no more, no fewer.

Source: kubernetes pkg/controller/replicaset/{replica_set,replica_set_utils}.go.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from pullet.base.jsonvalue import JsonObject
from pullet.base.values import Value
from pullet.controllers.conditions import drop_condition, find_condition, set_condition
from pullet.controllers.informers import BY_CONTROLLER, Informers
from pullet.controllers.pod_control import PodControl, carry_out_claims
from pullet.controllers.pods import decide_claims, deletion_order, is_active, is_available, is_ready, pod_from_template
from pullet.controllers.reconciler import Reconciler, Source, same_key
from pullet.controllers.rollout import wanted
from pullet.kit.clock import Clock
from pullet.kube.meta import controller_of, is_deleting, labels_of, metadata, name_of, namespace_of, uid_of
from pullet.kube.scheme import PODS, REPLICASETS
from pullet.kube.selector import label_selector_from
from pullet.kube.status import ApiError
from pullet.kubeclient.client import ApiClient
from pullet.kubeclient.event_recorder import EventRecorder
from pullet.kubeclient.object_cache import Change, Key

_BURST = 500  # pods made or removed in one pass


class ReplicaPlan(Value):
    """What to do about the number of pods."""

    create: int
    delete: list[JsonObject]


def plan_replicas(replica_set: JsonObject, pods: Sequence[JsonObject], siblings: Sequence[JsonObject]) -> ReplicaPlan:
    """How many pods to create, or which to delete; `siblings` are pods of the same owner's other ReplicaSets."""
    active = [pod for pod in pods if is_active(pod)]
    missing = wanted(replica_set) - len(active)
    if missing >= 0:
        return ReplicaPlan(min(missing, _BURST), [])
    crowd = Counter(_node(pod) for pod in (*active, *siblings) if is_active(pod))
    order = deletion_order(active, {uid_of(pod): crowd[_node(pod)] for pod in active})
    return ReplicaPlan(0, order[: min(-missing, _BURST)])


def replica_set_status(
    replica_set: JsonObject,
    pods: Sequence[JsonObject],
    failure: ApiError | None,
    *,
    is_deleting_pods: bool,
    now: datetime,
) -> JsonObject:
    """The whole status; `failure` is what creating or deleting pods ended with."""
    spec = replica_set["spec"]
    active = [pod for pod in pods if is_active(pod)]
    template_labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    min_ready = int(spec.get("minReadySeconds") or 0)
    counts = {
        "fullyLabeledReplicas": sum(1 for pod in active if template_labels.items() <= labels_of(pod).items()),
        "readyReplicas": sum(1 for pod in active if is_ready(pod)),
        "availableReplicas": sum(1 for pod in active if is_available(pod, min_ready, now)),
        "observedGeneration": int(metadata(replica_set).get("generation") or 0),
    }
    conditions: Sequence[Mapping[str, Any]] = (replica_set.get("status") or {}).get("conditions") or ()
    if failure is not None:
        reason = "FailedDelete" if is_deleting_pods else "FailedCreate"
        conditions = set_condition(conditions, "ReplicaFailure", "True", reason, str(failure), now)
    elif find_condition(conditions, "ReplicaFailure") is not None:
        conditions = drop_condition(conditions, "ReplicaFailure")
    status: JsonObject = {"replicas": len(active)} | {name: count for name, count in counts.items() if count}
    return status | ({"conditions": list(conditions)} if conditions else {})


def _node(pod: JsonObject) -> str:
    return str((pod.get("spec") or {}).get("nodeName") or "")


class ReplicaSetController:
    """Runs until cancelled; pods are created in the name of replicaset-controller."""

    def __init__(self, *, client: ApiClient, informers: Informers, recorder: EventRecorder, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._replica_sets = informers.of(REPLICASETS)
        self._pods = informers.of(PODS)
        self._control = PodControl(client=client, pods=self._pods, recorder=recorder)
        self._reconciler = Reconciler(
            name="replicaset",
            clock=clock,
            reconcile=self.reconcile,
            sources=(Source(self._replica_sets, same_key), Source(self._pods, self._keys_of_pod)),
            workers=4,
        )

    async def run(self) -> None:
        """Reconcile until cancelled."""
        await self._reconciler.run()

    def _keys_of_pod(self, change: Change) -> Iterable[Key]:
        keys: set[Key] = set()
        for pod in (change.object, change.old or {}):
            controller = controller_of(pod)
            if controller is not None and controller.get("kind") == "ReplicaSet":
                keys.add((namespace_of(change.object), controller["name"]))
        if controller_of(change.object) is None and change.type != "DELETED":
            keys |= {
                (namespace_of(item), name_of(item))
                for item in self._replica_sets.list(namespace_of(change.object))
                if label_selector_from(item["spec"].get("selector")).matches(labels_of(change.object))
            }
        return keys

    async def reconcile(self, key: Key) -> float | None:
        """One pass over one ReplicaSet."""
        replica_set = self._replica_sets.get(*key)
        if replica_set is None:
            return None
        selector = label_selector_from(replica_set["spec"].get("selector"))
        claims = decide_claims(replica_set, selector, self._pods.list(key[0]))
        pods = await carry_out_claims(self._client, self._pods, replica_set, claims)
        failure: ApiError | None = None
        plan = ReplicaPlan(0, [])
        if not is_deleting(replica_set):
            plan = plan_replicas(replica_set, pods, self._siblings(replica_set))
            try:
                await self._carry_out(replica_set, plan)
            except ApiError as error:
                failure = error
            pods = list(self._pods.by_index(BY_CONTROLLER, uid_of(replica_set)))
        await self._write_status(replica_set, pods, failure, is_deleting_pods=bool(plan.delete))
        if failure is not None:
            raise failure
        return self._seconds_to_available(replica_set, pods)

    async def _carry_out(self, replica_set: JsonObject, plan: ReplicaPlan) -> None:
        template, prefix = replica_set["spec"].get("template") or {}, f"{name_of(replica_set)}-"
        made = [pod_from_template(replica_set, template, generate_name=prefix) for _ in range(plan.create)]
        await self._control.create_many(replica_set, made)
        await self._control.delete_many(replica_set, plan.delete)

    async def _write_status(
        self, replica_set: JsonObject, pods: Sequence[JsonObject], failure: ApiError | None, *, is_deleting_pods: bool
    ) -> None:
        status = replica_set_status(
            replica_set, pods, failure, is_deleting_pods=is_deleting_pods, now=self._clock.now()
        )
        if status != (replica_set.get("status") or {}):
            written = await self._client.update(
                REPLICASETS, namespace_of(replica_set), replica_set | {"status": status}, subresource="status"
            )
            self._replica_sets.observe(written)

    def _siblings(self, replica_set: JsonObject) -> list[JsonObject]:
        controller = controller_of(replica_set)
        if controller is None:
            return []
        return [
            pod
            for other in self._replica_sets.by_index(BY_CONTROLLER, controller["uid"])
            if uid_of(other) != uid_of(replica_set)
            for pod in self._pods.by_index(BY_CONTROLLER, uid_of(other))
        ]

    def _seconds_to_available(self, replica_set: JsonObject, pods: Sequence[JsonObject]) -> float | None:
        min_ready = int(replica_set["spec"].get("minReadySeconds") or 0)
        now = self._clock.now()
        waiting = any(is_active(pod) and is_ready(pod) and not is_available(pod, min_ready, now) for pod in pods)
        return float(min_ready) if waiting else None
