"""The local copies that controllers read, one per collection, shared by all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from pullet.base.jsonvalue import JsonObject
from pullet.kit.clock import Clock
from pullet.kube.meta import controller_of, metadata
from pullet.kube.scheme import PODS, Resource
from pullet.kubeclient.client import ApiClient
from pullet.kubeclient.object_cache import Indexer
from pullet.kubeclient.reflector import Reflector

BY_CONTROLLER = "controller"  # uid of the controlling owner
BY_OWNER = "owner"  # uids of all owners
BY_NODE = "node"  # spec.nodeName of a pod


def _controller_uid(obj: JsonObject) -> Iterable[str]:
    controller = controller_of(obj)
    return (controller["uid"],) if controller is not None else ()


def _owner_uids(obj: JsonObject) -> Iterable[str]:
    return [owner["uid"] for owner in metadata(obj).get("ownerReferences") or ()]


def _node_name(obj: JsonObject) -> Iterable[str]:
    return ((obj.get("spec") or {}).get("nodeName") or "",)


_METADATA_KEPT = (
    "name", "namespace", "uid", "resourceVersion", "labels", "ownerReferences", "finalizers", "deletionTimestamp",
    "creationTimestamp", "generation",
)  # fmt: skip


def metadata_only(obj: JsonObject) -> JsonObject:
    """The object without its content, for readers that only follow who owns whom."""
    kept = {name: value for name, value in metadata(obj).items() if name in _METADATA_KEPT}
    return {"apiVersion": obj.get("apiVersion"), "kind": obj.get("kind"), "metadata": kept}


class Informers:
    """Reflectors by resource, made when first asked for. Ask before `run()`, full copies before those of metadata."""

    def __init__(self, *, client: ApiClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._reflectors: dict[tuple[str, str, str], Reflector] = {}
        self._is_running = False

    def of(self, resource: Resource, *, namespace: str = "", field_selector: str = "") -> Reflector:
        """A copy of a collection, or of the part of it that namespace and field selector leave."""
        return self._make(resource, namespace, field_selector, is_full=True)

    def metadata_of(self, resource: Resource) -> Reflector:
        """A copy for readers of metadata alone; the full one if somebody asked for that before."""
        return self._make(resource, "", "", is_full=False)

    def _make(self, resource: Resource, namespace: str, field_selector: str, *, is_full: bool) -> Reflector:
        key = (resource.storage_key, namespace, field_selector)
        known = self._reflectors.get(key)
        if known is not None:
            return known
        if self._is_running:
            raise RuntimeError(f"a reflector of {resource} was asked for after the start")
        made = self._reflectors[key] = self._reflector(resource, namespace, field_selector, is_full=is_full)
        return made

    def own_metadata_of(self, resource: Resource) -> Reflector:
        """A copy of metadata at any time, of a kind that may come and go; who asks for it runs it."""
        return self._reflector(resource, "", "", is_full=False)

    def _reflector(self, resource: Resource, namespace: str, field_selector: str, *, is_full: bool) -> Reflector:
        indexers: dict[str, Indexer] = {BY_CONTROLLER: _controller_uid, BY_OWNER: _owner_uids}
        if resource is PODS:
            indexers[BY_NODE] = _node_name
        return Reflector(
            client=self._client,
            resource=resource,
            clock=self._clock,
            namespace=namespace or None,
            field_selector=field_selector,
            indexers=indexers,
            transform=(lambda obj: obj) if is_full else metadata_only,
        )

    async def run(self) -> None:
        """Keep all copies until cancelled."""
        self._is_running = True
        async with asyncio.TaskGroup() as group:
            for reflector in self._reflectors.values():
                group.create_task(reflector.run(), name=f"reflector/{reflector.resource}")
