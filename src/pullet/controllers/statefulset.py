"""StatefulSets: pods with names that stay, made in order, updated in reverse order.

    OrderedReady: one change at a time, each pod waits until those before it are ready
    Parallel:     all missing pods at once;  either way updates go from the highest ordinal down, maxUnavailable at once
Source: kubernetes pkg/controller/statefulset/{stateful_set_control,stateful_set_utils}.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from pullet.base.jsonvalue import JsonObject
from pullet.base.values import State
from pullet.controllers.conditions import scaled_value
from pullet.controllers.history import (
    REVISION_HASH_LABEL,
    History,
    RevisionHistory,
    hash_of_pod,
    hashes_in_use,
    template_of,
)
from pullet.controllers.informers import BY_CONTROLLER, Informers
from pullet.controllers.pod_control import carry_out_claims
from pullet.controllers.pods import decide_claims, is_available, is_ready, phase_of, pod_from_template
from pullet.controllers.reconciler import Reconciler, Source, same_key
from pullet.controllers.rollout import wanted
from pullet.kit.clock import Clock
from pullet.kube.meta import controller_of, is_deleting, metadata, name_of, namespace_of, object_reference, uid_of
from pullet.kube.scheme import CONTROLLERREVISIONS, PODS, STATEFULSETS
from pullet.kube.selector import label_selector_from
from pullet.kube.status import ApiError, ConflictError, NotFoundError
from pullet.kubeclient.client import ApiClient
from pullet.kubeclient.event_recorder import EventRecorder
from pullet.kubeclient.object_cache import Change, Key

_POD_NAME_LABEL, _POD_INDEX_LABEL = "statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index"


class StatefulPlan(State):
    """Ordinals to create with the revision hash of each, pods to delete, ended pods among them."""

    create: list[tuple[int, str]] = msgspec.field(default_factory=list)
    delete: list[JsonObject] = msgspec.field(default_factory=list)
    ended: list[JsonObject] = msgspec.field(default_factory=list)


def ordinal_of(pod: Mapping[str, Any]) -> int:
    """The number at the end of the name; -1 without one."""
    tail = name_of(pod).rpartition("-")[2]
    return int(tail) if tail.isdigit() else -1


def first_ordinal(stateful_set: Mapping[str, Any]) -> int:
    """spec.ordinals.start."""
    return int((stateful_set["spec"].get("ordinals") or {}).get("start") or 0)


def partition_of(stateful_set: Mapping[str, Any]) -> int:
    """Ordinals below this one keep the current revision."""
    rolling = (stateful_set["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}
    return int(rolling.get("partition") or 0)


def max_unavailable_of(stateful_set: Mapping[str, Any]) -> int:
    """How many members an update may take away at once; percentages are of all members."""
    rolling = (stateful_set["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}
    return max(1, scaled_value(rolling.get("maxUnavailable"), wanted(stateful_set), default=1, round_up=True))


def plan_statefulset(
    stateful_set: JsonObject, pods: Sequence[JsonObject], current_hash: str, update_hash: str, now: datetime
) -> StatefulPlan:
    """The next step, or for Parallel the next steps."""
    spec = stateful_set["spec"]
    in_order = spec.get("podManagementPolicy") != "Parallel"
    min_ready = int(spec.get("minReadySeconds") or 0)
    start, partition = first_ordinal(stateful_set), partition_of(stateful_set)
    wanted_ordinals = range(start, start + wanted(stateful_set))
    by_ordinal = {ordinal_of(pod): pod for pod in pods}
    plan = StatefulPlan()

    def is_healthy(pod: JsonObject) -> bool:
        return phase_of(pod) == "Running" and is_available(pod, min_ready, now) and not is_deleting(pod)

    for ordinal in wanted_ordinals:
        pod = by_ordinal.get(ordinal)
        if pod is None:
            plan.create.append((ordinal, current_hash if ordinal < partition else update_hash))
        elif phase_of(pod) in ("Failed", "Succeeded") and not is_deleting(pod):
            plan.delete.append(pod)
            plan.ended.append(pod)
        elif is_healthy(pod) or not in_order:
            continue
        if in_order:
            return plan
    condemned = sorted((pod for pod in pods if ordinal_of(pod) not in wanted_ordinals), key=ordinal_of, reverse=True)
    for pod in condemned:
        if not is_deleting(pod):
            plan.delete.append(pod)
        if in_order:
            return plan
    if not plan.create and not plan.delete and (spec.get("updateStrategy") or {}).get("type") != "OnDelete":
        members = [by_ordinal[ordinal] for ordinal in wanted_ordinals]
        limit = max_unavailable_of(stateful_set) - sum(1 for pod in members if not is_healthy(pod))
        if max_unavailable_of(stateful_set) > 1:
            due = [pod for pod in members if ordinal_of(pod) >= partition and hash_of_pod(pod) != update_hash]
            plan.delete = [pod for pod in reversed(due) if not is_deleting(pod)][: max(0, limit)]
        else:
            plan.delete = _next_update(
                [pod for pod in members if ordinal_of(pod) >= partition], update_hash, is_healthy
            )
    return plan


def _next_update(
    pods: Sequence[JsonObject], update_hash: str, is_healthy: Callable[[JsonObject], bool]
) -> list[JsonObject]:
    """The highest pod of an old revision, once all above it are new and healthy."""
    for pod in reversed(pods):
        if hash_of_pod(pod) != update_hash and not is_deleting(pod):
            return [pod]
        if not is_healthy(pod):
            return []
    return []


def stateful_status(
    stateful_set: JsonObject, pods: Sequence[JsonObject], current: str, update: str, now: datetime
) -> JsonObject:
    """The whole status; `current` and `update` are names of ControllerRevisions ending in their hashes."""
    min_ready = int(stateful_set["spec"].get("minReadySeconds") or 0)
    alive = [pod for pod in pods if phase_of(pod) not in ("Failed", "Succeeded")]
    steady = [pod for pod in alive if not is_deleting(pod)]

    def of_revision(name: str) -> int:
        return sum(1 for pod in steady if name.endswith(f"-{hash_of_pod(pod)}"))

    ready = sum(1 for pod in alive if is_ready(pod) and phase_of(pod) == "Running")
    updated, kept = of_revision(update), of_revision(current)
    if update != current and updated == wanted(stateful_set) == ready == len(alive):
        current, kept = update, updated
    counts = {
        "readyReplicas": ready,
        "currentReplicas": kept,
        "updatedReplicas": updated,
        "observedGeneration": int(metadata(stateful_set).get("generation") or 0),
    }
    status: JsonObject = {"replicas": len(alive)} | {name: count for name, count in counts.items() if count}
    status["availableReplicas"] = sum(1 for pod in alive if is_available(pod, min_ready, now))
    return status | {"currentRevision": current, "updateRevision": update, "collisionCount": 0}


def stateful_pod(stateful_set: JsonObject, ordinal: int, revision: JsonObject) -> JsonObject:
    """The pod of an ordinal, from the template of a revision."""
    name = f"{name_of(stateful_set)}-{ordinal}"
    pod = pod_from_template(stateful_set, template_of(revision), name=name)
    meta, spec = pod["metadata"], pod["spec"]
    revision_hash = metadata(revision)["labels"][REVISION_HASH_LABEL]
    labels = {_POD_NAME_LABEL: name, _POD_INDEX_LABEL: str(ordinal), REVISION_HASH_LABEL: revision_hash}
    meta["labels"] = dict(meta.get("labels") or {}) | labels
    spec["hostname"] = name
    if stateful_set["spec"].get("serviceName"):
        spec["subdomain"] = stateful_set["spec"]["serviceName"]
    return pod


class StatefulSetController:
    """Runs until cancelled."""

    def __init__(self, *, client: ApiClient, informers: Informers, recorder: EventRecorder, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._recorder = recorder
        self._sets = informers.of(STATEFULSETS)
        self._pods = informers.of(PODS)
        revisions = informers.of(CONTROLLERREVISIONS)
        self._history = RevisionHistory(client=client, revisions=revisions)
        self._reconciler = Reconciler(
            name="statefulset",
            clock=clock,
            reconcile=self.reconcile,
            sources=(Source(self._sets, same_key), Source(self._pods, _set_of_pod)),
            needs=(revisions,),
        )

    async def run(self) -> None:
        """Reconcile until cancelled."""
        await self._reconciler.run()

    async def reconcile(self, key: Key) -> float | None:
        """One pass over one StatefulSet."""
        stateful_set = self._sets.get(*key)
        if stateful_set is None or is_deleting(stateful_set):
            return None
        selector = label_selector_from(stateful_set["spec"].get("selector"))
        claims = decide_claims(stateful_set, selector, self._pods.list(key[0]))
        await carry_out_claims(self._client, self._pods, stateful_set, claims)
        history = await self._history.ensure(stateful_set)
        update = history.current
        current = self._current_revision(stateful_set, history)
        pods = self._pods_of(stateful_set)
        now = self._clock.now()
        hashes = [metadata(item)["labels"][REVISION_HASH_LABEL] for item in (current, update)]
        plan = plan_statefulset(stateful_set, pods, hashes[0], hashes[1], now)
        try:
            await self._carry_out(stateful_set, plan, current, update)
        finally:
            await self._write_status(stateful_set, name_of(current), name_of(update))
        pods = self._pods_of(stateful_set)
        await self._history.truncate(stateful_set, history, hashes_in_use(pods) | set(hashes))
        min_ready = int(stateful_set["spec"].get("minReadySeconds") or 0)
        waiting = any(is_ready(pod) and not is_available(pod, min_ready, now) for pod in pods)
        return float(min_ready) if waiting else None

    def _current_revision(self, stateful_set: JsonObject, history: History) -> JsonObject:
        name = (stateful_set.get("status") or {}).get("currentRevision")
        return next((item for item in history.others if name_of(item) == name), history.current)

    def _pods_of(self, stateful_set: JsonObject) -> list[JsonObject]:
        return list(self._pods.by_index(BY_CONTROLLER, uid_of(stateful_set)))

    async def _carry_out(
        self, stateful_set: JsonObject, plan: StatefulPlan, current: JsonObject, update: JsonObject
    ) -> None:
        whole = f"{namespace_of(stateful_set)}/{name_of(stateful_set)}"
        for pod in plan.ended:
            if phase_of(pod) == "Failed":
                kind, reason, word = "Warning", "RecreatingFailedPod", "failed"
            else:
                kind, reason, word = "Normal", "RecreatingTerminatedPod", "terminated"
            message = f"StatefulSet {whole} is recreating {word} Pod {name_of(pod)}"
            self._event(stateful_set, kind, reason, message)
        for pod in plan.delete:
            await self._delete(stateful_set, pod)
        for ordinal, revision_hash in plan.create:
            is_update = metadata(update)["labels"][REVISION_HASH_LABEL] == revision_hash
            await self._create(stateful_set, stateful_pod(stateful_set, ordinal, update if is_update else current))

    async def _create(self, stateful_set: JsonObject, pod: JsonObject) -> None:
        what = f"create Pod {name_of(pod)} in StatefulSet {name_of(stateful_set)}"
        try:
            self._pods.observe(await self._client.create(PODS, namespace_of(stateful_set), pod))
        except ApiError as error:
            self._event(stateful_set, "Warning", "FailedCreate", f"{what} failed error: {error}")
            raise
        self._event(stateful_set, "Normal", "SuccessfulCreate", f"{what} successful")

    async def _delete(self, stateful_set: JsonObject, pod: JsonObject) -> None:
        what = f"delete Pod {name_of(pod)} in StatefulSet {name_of(stateful_set)}"
        try:
            answer = await self._client.delete(PODS, namespace_of(pod), name_of(pod), uid=uid_of(pod))
        except (NotFoundError, ConflictError):
            return
        if answer.get("kind") == "Pod" and is_deleting(answer):
            self._pods.observe(answer)
        self._event(stateful_set, "Normal", "SuccessfulDelete", f"{what} successful")

    def _event(self, stateful_set: JsonObject, kind: str, reason: str, message: str) -> None:
        self._recorder.event(object_reference(stateful_set), kind, reason, message)

    async def _write_status(self, stateful_set: JsonObject, current: str, update: str) -> None:
        status = stateful_status(stateful_set, self._pods_of(stateful_set), current, update, self._clock.now())
        if status != (stateful_set.get("status") or {}):
            written = await self._client.update(
                STATEFULSETS, namespace_of(stateful_set), stateful_set | {"status": status}, subresource="status"
            )
            self._sets.observe(written)


def _set_of_pod(change: Change) -> Iterable[Key]:
    controller = controller_of(change.object)
    if controller is None or controller.get("kind") != "StatefulSet":
        return ()
    return ((namespace_of(change.object), controller["name"]),)
