"""Finishes the deletion of namespaces: delete what is inside, tell what is left, take off the finalizer at the end.

Source: kubernetes pkg/controller/namespace/deletion/namespaced_resources_deleter.go.
"""

from __future__ import annotations

from collections.abc import Sequence

from pullet.base.jsonvalue import JsonObject
from pullet.controllers.informers import Informers
from pullet.controllers.reconciler import Reconciler, Source, same_key
from pullet.kit.clock import Clock
from pullet.kube.custom_rows import custom_rows
from pullet.kube.meta import format_time, is_deleting, name_of
from pullet.kube.scheme import CUSTOMRESOURCEDEFINITIONS, NAMESPACES, RESOURCES, Resource
from pullet.kubeclient.client import ApiClient
from pullet.kubeclient.object_cache import Key
from pullet.policy.namespace_conditions import termination_conditions

_FINALIZER = "kubernetes"
_RETRY_SECONDS = 0.2
_RETRY_LIMIT_SECONDS = 5.0
CONTENTS: tuple[Resource, ...] = tuple(
    row for row in RESOURCES if row.namespaced and "deletecollection" in row.verbs and not row.storage
)


class NamespacesController:
    """Runs until cancelled."""

    def __init__(self, *, client: ApiClient, informers: Informers, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._namespaces = informers.of(NAMESPACES)
        self._definitions = informers.of(CUSTOMRESOURCEDEFINITIONS)
        self._tries: dict[str, int] = {}
        self._reconciler = Reconciler(
            name="namespaces",
            clock=clock,
            reconcile=self.reconcile,
            sources=(Source(self._namespaces, same_key),),
            needs=(self._definitions,),
            workers=2,
        )

    async def run(self) -> None:
        """Reconcile until cancelled."""
        await self._reconciler.run()

    async def reconcile(self, key: Key) -> float | None:
        """One round over one namespace; comes back until nothing is left in it."""
        namespace = self._namespaces.get(*key)
        if namespace is None or not is_deleting(namespace):
            self._tries.pop(key[1], None)
            return None
        finalizers = (namespace.get("spec") or {}).get("finalizers") or []
        if _FINALIZER not in finalizers:
            return None
        left = await self._delete_contents(name_of(namespace))
        if left:
            await self._tell(namespace, left)
            tries = self._tries.get(key[1], 0)
            self._tries[key[1]] = tries + 1
            return min(_RETRY_SECONDS * (1 << min(tries, 8)), _RETRY_LIMIT_SECONDS)
        finalized: JsonObject = namespace | {
            "spec": {**(namespace.get("spec") or {}), "finalizers": [name for name in finalizers if name != _FINALIZER]}
        }
        await self._client.update(NAMESPACES, None, finalized, subresource="finalize")
        return None

    async def _delete_contents(self, namespace: str) -> dict[Resource, Sequence[JsonObject]]:
        """Ask for the deletion of everything; what is still there."""
        left: dict[Resource, Sequence[JsonObject]] = {}
        for resource in (*CONTENTS, *self._custom()):
            if (await self._client.list_page(resource, namespace, limit=1)).items:
                await self._client.delete_collection(resource, namespace)
                items = (await self._client.list(resource, namespace)).items
                if items:
                    left[resource] = items
        return left

    def _custom(self) -> list[Resource]:
        """One row of each custom kind that lives in namespaces."""
        rows = (row for definition in self._definitions.list() for row in custom_rows(definition))
        return [row for row in rows if row.namespaced and not row.storage]

    async def _tell(self, namespace: JsonObject, left: dict[Resource, Sequence[JsonObject]]) -> None:
        """Write what the namespace still waits for into its status."""
        before = (namespace.get("status") or {}).get("conditions") or []
        conditions = termination_conditions(left, before, format_time(self._clock.now()))
        if conditions != before:
            patch: JsonObject = {"status": {"conditions": conditions}}
            await self._client.patch(NAMESPACES, None, name_of(namespace), patch, subresource="status")
