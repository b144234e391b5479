"""Finishes the deletion of namespaces: delete what is inside, wait until it is gone, take off the finalizer.

Source: kubernetes pkg/controller/namespace/deletion/namespaced_resources_deleter.go.
"""

from __future__ import annotations

from pullet.base.jsonvalue import JsonObject
from pullet.controllers.informers import Informers
from pullet.controllers.reconciler import Reconciler, Source, same_key
from pullet.kit.clock import Clock
from pullet.kube.meta import is_deleting, name_of
from pullet.kube.scheme import NAMESPACES, RESOURCES, Resource
from pullet.kubeclient.client import ApiClient
from pullet.kubeclient.object_cache import Key

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
        self._namespaces = informers.of(NAMESPACES)
        self._tries: dict[str, int] = {}
        self._reconciler = Reconciler(
            name="namespaces",
            clock=clock,
            reconcile=self.reconcile,
            sources=(Source(self._namespaces, same_key),),
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
        if await self._delete_contents(name_of(namespace)):
            tries = self._tries.get(key[1], 0)
            self._tries[key[1]] = tries + 1
            return min(_RETRY_SECONDS * (1 << min(tries, 8)), _RETRY_LIMIT_SECONDS)
        finalized: JsonObject = namespace | {
            "spec": {**(namespace.get("spec") or {}), "finalizers": [name for name in finalizers if name != _FINALIZER]}
        }
        await self._client.update(NAMESPACES, None, finalized, subresource="finalize")
        return None

    async def _delete_contents(self, namespace: str) -> bool:
        """Ask for the deletion of everything; whether something is still there."""
        is_left = False
        for resource in CONTENTS:
            if await self._has_any(resource, namespace):
                await self._client.delete_collection(resource, namespace)
                is_left = await self._has_any(resource, namespace) or is_left
        return is_left

    async def _has_any(self, resource: Resource, namespace: str) -> bool:
        return bool((await self._client.list_page(resource, namespace, limit=1)).items)
