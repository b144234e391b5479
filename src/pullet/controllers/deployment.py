"""Deployments: one ReplicaSet per pod template, and the way from the old ones to the new.

    paused, or only the size changed ──► scale in proportion
    RollingUpdate ──► grow the new ──► shrink the old (unhealthy pods first) ──► tidy the history
    Recreate ──► old to zero ──► wait until their pods are gone ──► grow the new
One step per pass; each write comes back as a change and starts the next. The numbers are `rollout`'s, the conditions
`deployment_status`'s. Source: kubernetes pkg/controller/deployment/deployment_controller.go.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from pullet.base.jsonvalue import JsonObject
from pullet.base.quote import go_quote
from pullet.base.values import State
from pullet.controllers.conditions import find_condition, set_condition
from pullet.controllers.deployment_status import (
    compute_status,
    has_deadline,
    is_complete,
    pause_conditions,
    seconds_to_deadline,
)
from pullet.controllers.informers import BY_CONTROLLER, Informers
from pullet.controllers.pod_control import carry_out_claims
from pullet.controllers.pods import decide_claims, phase_of
from pullet.controllers.reconciler import Reconciler, Source, same_key
from pullet.controllers.revisions import (
    make_replica_set,
    new_annotations,
    next_revision,
    size_annotations,
    split_by_template,
)
from pullet.controllers.rollout import (
    REVISION,
    Scale,
    history_to_delete,
    is_rolling_update,
    is_scaling_event,
    revision_of,
    scale_in_proportion,
    scale_new,
    scale_old_rolling,
    scale_to_zero,
    wanted,
    with_replicas,
)
from pullet.controllers.templates import same_template
from pullet.kit.clock import Clock
from pullet.kube.meta import (
    annotations_of,
    controller_of,
    is_deleting,
    name_of,
    namespace_of,
    object_reference,
    resource_version_of,
    uid_of,
)
from pullet.kube.scheme import DEPLOYMENTS, PODS, REPLICASETS
from pullet.kube.selector import label_selector_from
from pullet.kube.status import AlreadyExistsError, ApiError, NotFoundError
from pullet.kubeclient.client import ApiClient
from pullet.kubeclient.event_recorder import EventRecorder
from pullet.kubeclient.object_cache import Change, Key

log = logging.getLogger(__name__)


class _Pass(State):
    """What one pass works on; replaced piece by piece with what the API answered."""

    deployment: JsonObject
    new: JsonObject | None
    old: list[JsonObject]
    conditions: list[JsonObject]


class DeploymentController:
    """Runs until cancelled."""

    def __init__(self, *, client: ApiClient, informers: Informers, recorder: EventRecorder, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._recorder = recorder
        self._deployments = informers.of(DEPLOYMENTS)
        self._replica_sets = informers.of(REPLICASETS)
        self._pods = informers.of(PODS)
        self._reconciler = Reconciler(
            name="deployment",
            clock=clock,
            reconcile=self.reconcile,
            sources=(
                Source(self._deployments, same_key),
                Source(self._replica_sets, self._keys_of_replica_set),
                Source(self._pods, self._keys_of_pod),
            ),
            workers=2,
        )

    async def run(self) -> None:
        """Reconcile until cancelled."""
        await self._reconciler.run()

    def _keys_of_replica_set(self, change: Change) -> Iterable[Key]:
        namespace = namespace_of(change.object)
        owners = [controller_of(item) for item in (change.object, change.old or {})]
        keys = {(namespace, owner["name"]) for owner in owners if owner is not None and owner["kind"] == "Deployment"}
        if owners[0] is None and change.type != "DELETED":
            keys |= {(namespace, name_of(item)) for item in self._deployments.list(namespace)}
        return keys

    def _keys_of_pod(self, change: Change) -> Iterable[Key]:
        """Recreate waits for the last old pod; everything else is told by the ReplicaSets' status."""
        owner = controller_of(change.object)
        if change.type != "DELETED" or owner is None or owner["kind"] != "ReplicaSet":
            return ()
        namespace = namespace_of(change.object)
        replica_set = self._replica_sets.get(namespace, owner["name"])
        top = controller_of(replica_set) if replica_set is not None else None
        return ((namespace, top["name"]),) if top is not None else ()

    async def reconcile(self, key: Key) -> float | None:
        """One step of one Deployment."""
        deployment = self._deployments.get(*key)
        if deployment is None:
            return None
        selector = label_selector_from(deployment["spec"].get("selector"))
        if not selector:
            message = "This deployment is selecting all pods. A non-empty selector is required."
            self._recorder.event(object_reference(deployment), "Warning", "SelectingAll", message)
            return None
        claims = decide_claims(deployment, selector, self._replica_sets.list(key[0]))
        owned = await carry_out_claims(self._client, self._replica_sets, deployment, claims)
        conditions = list((deployment.get("status") or {}).get("conditions") or ())
        step = _Pass(deployment, *split_by_template(deployment, owned), conditions)
        is_rollout = False
        if not is_deleting(deployment):
            step.conditions = pause_conditions(deployment, conditions, self._clock.now())
            if deployment["spec"].get("paused") or is_scaling_event(deployment, owned):
                await self._resize(step)
            else:
                is_rollout = True
                await (self._roll(step) if is_rolling_update(deployment) else self._recreate(step))
        return await self._write_status(step, is_rollout=is_rollout)

    async def _resize(self, step: _Pass) -> None:
        if step.new is not None:
            await self._note_revision(step)
        await self._scale_all(step, scale_in_proportion(step.deployment, step.new, step.old))
        sizes = size_annotations(step.deployment)
        for item in with_replicas(self._everything(step)):
            if not sizes.items() <= annotations_of(item).items():
                await self._scale_all(step, [Scale(item, wanted(item))])
        if step.deployment["spec"].get("paused"):
            await self._delete_history(step)

    async def _roll(self, step: _Pass) -> None:
        new = await self._ensure_new(step)
        if new is None:
            return
        growth = scale_new(step.deployment, new, step.old)
        if growth is not None:
            await self._scale_all(step, [growth])
            return
        shrinkage = scale_old_rolling(step.deployment, new, step.old)
        if shrinkage:
            await self._scale_all(step, shrinkage)
            return
        await self._tidy(step)

    async def _recreate(self, step: _Pass) -> None:
        off = scale_to_zero(step.old)
        if off:
            await self._scale_all(step, off)
            return
        old_pods = [pod for item in step.old for pod in self._pods.by_index(BY_CONTROLLER, uid_of(item))]
        if any(phase_of(pod) not in ("Succeeded", "Failed") for pod in old_pods):
            return
        new = await self._ensure_new(step)
        if new is None:
            return
        if wanted(new) != wanted(step.deployment):
            await self._scale_all(step, [Scale(new, wanted(step.deployment))])
            return
        await self._tidy(step)

    async def _tidy(self, step: _Pass) -> None:
        status = compute_status(
            step.deployment, step.new, step.old, step.conditions, self._clock.now(), is_rollout=False
        )
        if is_complete(step.deployment, status):
            await self._delete_history(step)

    async def _ensure_new(self, step: _Pass) -> JsonObject | None:
        """The new ReplicaSet, made if need be; None when its name was taken and the next pass tries another."""
        if step.new is not None:
            await self._note_revision(step)
            if has_deadline(step.deployment) and find_condition(step.conditions, "Progressing") is None:
                self._set_progress(step, "FoundNewReplicaSet", f"Found new replica set {go_quote(name_of(step.new))}")
            return step.new
        collisions = int((step.deployment.get("status") or {}).get("collisionCount") or 0)
        made = make_replica_set(step.deployment, step.old, collisions)
        try:
            step.new = await self._client.create(REPLICASETS, namespace_of(made), made)
        except AlreadyExistsError:
            return await self._resolve_collision(step, made, collisions)
        except ApiError as error:
            self._set_progress(
                step,
                "ReplicaSetCreateError",
                f"Failed to create new replica set {go_quote(name_of(made))}: {error}",
                status="False",
            )
            await self._write_status(step, is_rollout=False)
            raise
        self._replica_sets.observe(step.new)
        if wanted(step.new):
            self._report_scale(step, step.new, 0, wanted(step.new))
        if has_deadline(step.deployment):
            self._set_progress(step, "NewReplicaSetCreated", f"Created new replica set {go_quote(name_of(step.new))}")
        await self._note_revision(step)
        return step.new

    async def _resolve_collision(self, step: _Pass, made: JsonObject, collisions: int) -> JsonObject | None:
        existing = await self._client.get(REPLICASETS, namespace_of(made), name_of(made))
        owner = controller_of(existing)
        is_ours = owner is not None and owner["uid"] == uid_of(step.deployment)
        if is_ours and same_template(existing["spec"].get("template") or {}, made["spec"]["template"]):
            step.new = existing
            return existing
        status = dict(step.deployment.get("status") or {}) | {"collisionCount": collisions + 1}
        log.info(
            "name of a new replica set is taken", extra={"replica_set": name_of(made), "collisions": collisions + 1}
        )
        step.deployment = await self._client.update(
            DEPLOYMENTS, namespace_of(made), step.deployment | {"status": status}, subresource="status"
        )
        self._deployments.observe(step.deployment)
        return None

    async def _note_revision(self, step: _Pass) -> None:
        """Keep the new ReplicaSet's annotations and the deployment's revision in step."""
        if step.new is None:
            return
        new = step.new
        annotations = new_annotations(step.deployment, new, next_revision(step.old))
        min_ready = int(step.deployment["spec"].get("minReadySeconds") or 0)
        if annotations != dict(annotations_of(new)) or min_ready != int(new["spec"].get("minReadySeconds") or 0):
            meta = {"annotations": annotations, "resourceVersion": resource_version_of(new)}
            patch: JsonObject = {"metadata": meta, "spec": {"minReadySeconds": min_ready or None}}
            step.new = await self._client.patch(REPLICASETS, namespace_of(new), name_of(new), patch)
            self._replica_sets.observe(step.new)
        revision = str(revision_of(step.new))
        if annotations_of(step.deployment).get(REVISION) != revision:
            patch = {
                "metadata": {
                    "annotations": {REVISION: revision},
                    "resourceVersion": resource_version_of(step.deployment),
                }
            }
            step.deployment = await self._client.patch(
                DEPLOYMENTS, namespace_of(step.deployment), name_of(step.deployment), patch
            )
            self._deployments.observe(step.deployment)

    async def _scale_all(self, step: _Pass, scales: Sequence[Scale]) -> None:
        for scale in scales:
            item = scale.replica_set
            meta = {"annotations": size_annotations(step.deployment), "resourceVersion": resource_version_of(item)}
            patch: JsonObject = {"metadata": meta, "spec": {"replicas": scale.replicas}}
            written = await self._client.patch(REPLICASETS, namespace_of(item), name_of(item), patch)
            self._replica_sets.observe(written)
            if scale.replicas != wanted(item):
                self._report_scale(step, item, wanted(item), scale.replicas)
            if step.new is not None and uid_of(step.new) == uid_of(item):
                step.new = written
            step.old = [written if uid_of(other) == uid_of(item) else other for other in step.old]

    def _report_scale(self, step: _Pass, item: JsonObject, before: int, after: int) -> None:
        way = "up" if after > before else "down"
        message = f"Scaled {way} replica set {name_of(item)} from {before} to {after}"
        self._recorder.event(object_reference(step.deployment), "Normal", "ScalingReplicaSet", message)

    async def _delete_history(self, step: _Pass) -> None:
        for item in history_to_delete(step.deployment, step.old):
            try:
                await self._client.delete(REPLICASETS, namespace_of(item), name_of(item), uid=uid_of(item))
            except NotFoundError:
                continue

    def _set_progress(self, step: _Pass, reason: str, message: str, *, status: str = "True") -> None:
        step.conditions = set_condition(
            step.conditions, "Progressing", status, reason, message, self._clock.now(), with_update_time=True
        )

    def _everything(self, step: _Pass) -> list[JsonObject]:
        return [*step.old, *([step.new] if step.new is not None else [])]

    async def _write_status(self, step: _Pass, *, is_rollout: bool) -> float | None:
        now = self._clock.now()
        status = compute_status(step.deployment, step.new, step.old, step.conditions, now, is_rollout=is_rollout)
        if status != (step.deployment.get("status") or {}):
            step.deployment = await self._client.update(
                DEPLOYMENTS, namespace_of(step.deployment), step.deployment | {"status": status}, subresource="status"
            )
            self._deployments.observe(step.deployment)
        return seconds_to_deadline(step.deployment, status, now)
