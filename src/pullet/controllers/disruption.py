"""PodDisruptionBudgets: keeps count of how many pods may be evicted.

Source: kubernetes pkg/controller/disruption/disruption.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pullet.base.jsonvalue import JsonObject
from pullet.controllers.informers import Informers
from pullet.controllers.pods import is_active
from pullet.controllers.reconciler import Reconciler, Source, same_key
from pullet.kit.clock import Clock
from pullet.kube.meta import controller_of, name_of, namespace_of
from pullet.kube.scheme import DEPLOYMENTS, PODDISRUPTIONBUDGETS, PODS, REPLICASETS, STATEFULSETS, Resource
from pullet.kube.selector import label_selector_from
from pullet.kubeclient.client import ApiClient
from pullet.kubeclient.object_cache import Change, Key
from pullet.kubeclient.reflector import Reflector
from pullet.policy.disruption import budget_status, budgets_of

_SCALED: dict[str, Resource] = {"ReplicaSet": REPLICASETS, "StatefulSet": STATEFULSETS, "Deployment": DEPLOYMENTS}


class DisruptionController:
    """Runs until cancelled; writes the status of budgets."""

    def __init__(self, *, client: ApiClient, informers: Informers, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._budgets = informers.of(PODDISRUPTIONBUDGETS)
        self._pods = informers.of(PODS)
        self._owners: dict[str, Reflector] = {kind: informers.of(resource) for kind, resource in _SCALED.items()}
        self._reconciler = Reconciler(
            name="disruption",
            clock=clock,
            reconcile=self.reconcile,
            sources=(
                Source(self._budgets, same_key),
                Source(self._pods, self._keys_of_pod),
                *(Source(owner, self._keys_of_owner) for owner in self._owners.values()),
            ),
        )

    async def run(self) -> None:
        """Reconcile until cancelled."""
        await self._reconciler.run()

    def _keys_of_pod(self, change: Change) -> Iterable[Key]:
        budgets = self._budgets.list(namespace_of(change.object))
        seen = [change.object] if change.old is None else [change.object, change.old]
        return {(namespace_of(one), name_of(one)) for pod in seen for one in budgets_of(pod, budgets)}

    def _keys_of_owner(self, change: Change) -> Iterable[Key]:
        return [(namespace_of(budget), name_of(budget)) for budget in self._budgets.list(namespace_of(change.object))]

    async def reconcile(self, key: Key) -> float | None:
        """One pass over one budget."""
        budget = self._budgets.get(*key)
        if budget is None:
            return None
        selector = label_selector_from((budget.get("spec") or {}).get("selector"))
        pods = [
            pod
            for pod in self._pods.list(key[0])
            if is_active(pod) and selector.matches(pod["metadata"].get("labels") or {})
        ]
        counted = budget_status(budget, pods, self._wanted(pods), self._clock.now())
        if counted.status != (budget.get("status") or {}):
            written = await self._client.update(
                PODDISRUPTIONBUDGETS, key[0], budget | {"status": counted.status}, subresource="status"
            )
            self._budgets.observe(written)
        return counted.again_in

    def _wanted(self, pods: Iterable[JsonObject]) -> int:
        """How many pods the controllers of these pods want together; a pod without one counts for itself."""
        owners: dict[str, int] = {}
        alone = 0
        for pod in pods:
            top = self._top_owner(pod)
            if top is None:
                alone += 1
            else:
                replicas = (top.get("spec") or {}).get("replicas")
                owners[top["metadata"]["uid"]] = 1 if replicas is None else int(replicas)
        return sum(owners.values()) + alone

    def _top_owner(self, pod: Mapping[str, Any]) -> JsonObject | None:
        found: JsonObject | None = None
        reference = controller_of(pod)
        while reference is not None and reference.get("kind") in self._owners:
            owner = self._owners[reference["kind"]].get(namespace_of(pod), reference["name"])
            if owner is None or owner["metadata"]["uid"] != reference["uid"]:
                break
            found, reference = owner, controller_of(owner)
        return found
