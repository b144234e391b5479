"""Follows ownerReferences: deletes what lost its owners, and finishes foreground and orphaning deletions.

Custom kinds come and go with their definitions, and so do the copies of them.

Ownership is read from copies of the metadata of every kind; before anything is deleted, the absence of its owners is
asked of the API server. Source: kubernetes pkg/controller/garbagecollector/garbagecollector.go.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress

from pullet.base.jsonvalue import JsonObject
from pullet.controllers.informers import BY_OWNER, Informers
from pullet.controllers.ownership import (
    FOREGROUND,
    ORPHAN,
    Delete,
    Disown,
    OwnerState,
    blocking_dependents,
    decide_fate,
    finalizers_of,
    is_orphaning,
    is_waiting_for_dependents,
)
from pullet.controllers.reconciler import Reconciler, Source
from pullet.kit.clock import Clock
from pullet.kit.tasks import spawn
from pullet.kube.custom_rows import custom_rows
from pullet.kube.meta import metadata, name_of, namespace_of, resource_version_of, uid_of
from pullet.kube.scheme import CUSTOMRESOURCEDEFINITIONS, EVENTS, RESOURCES, Resource, resource_of
from pullet.kube.status import NotFoundError
from pullet.kubeclient.client import ApiClient
from pullet.kubeclient.object_cache import Change, Key
from pullet.kubeclient.reflector import Reflector

log = logging.getLogger(__name__)

# Events own nothing and are owned by nobody; a second view of a kind shows the same objects.
COLLECTED: tuple[Resource, ...] = tuple(
    row for row in RESOURCES if "watch" in row.verbs and row is not EVENTS and not row.storage
)


class GarbageCollector:
    """Runs until cancelled. Its keys are (apiVersion|kind|namespace, name): objects of many kinds."""

    def __init__(self, *, client: ApiClient, informers: Informers, clock: Clock) -> None:
        self._client = client
        self._informers = informers
        self._definitions = informers.of(CUSTOMRESOURCEDEFINITIONS)
        self._custom: dict[str, tuple[Resource, asyncio.Task[None]]] = {}  # by definition, the copy's task
        self._copies: dict[Resource, Reflector] = {row: informers.metadata_of(row) for row in COLLECTED}
        self._by_uid: dict[str, tuple[Resource, Key]] = {}
        self._reconciler = Reconciler(
            name="garbage-collector",
            clock=clock,
            reconcile=self.reconcile,
            sources=[Source(copy, self._keys(row)) for row, copy in self._copies.items()],
            workers=4,
        )

    async def run(self) -> None:
        """Collect until cancelled."""
        for row, _ in self._custom.values():  # of a run before this one
            del self._copies[row]
        self._custom.clear()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._reconciler.run(), name="garbage-collector/reconciler")
            changes = self._definitions.changes()
            try:
                async for change in changes:
                    rows = [] if change.type == "DELETED" else custom_rows(change.object)
                    await self._keep(name_of(change.object), rows[0] if rows else None, group)
            finally:
                changes.close()

    async def _keep(self, definition: str, row: Resource | None, group: asyncio.TaskGroup) -> None:
        """Have a copy of what a definition defines now, and of nothing else."""
        known = self._custom.get(definition)
        if known is not None and (row is None or known[0].path() != row.path()):
            del self._custom[definition], self._copies[known[0]]
            self._by_uid = {uid: owner for uid, owner in self._by_uid.items() if owner[0] != known[0]}
            known[1].cancel()
            known = None
        if row is not None and known is None:
            self._copies[row] = self._informers.own_metadata_of(row)
            copying = self._copy(row, self._copies[row])
            self._custom[definition] = row, spawn(group, copying, name=f"garbage-collector/{row}")

    async def _copy(self, row: Resource, copy: Reflector) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(copy.run(), name=f"reflector/{row}")
            await self._reconciler.follow(Source(copy, self._keys(row)))

    def _row_of(self, api_version: str, kind: str) -> Resource | None:
        found = resource_of(api_version, kind)
        if found is not None:
            return found
        group = api_version.rpartition("/")[0]
        return next((row for row, _ in self._custom.values() if (row.group, row.kind) == (group, kind)), None)

    def _keys(self, resource: Resource) -> Callable[[Change], Iterable[Key]]:
        def keys(change: Change) -> Iterable[Key]:
            obj = change.object
            found = [_key(resource, obj)]
            if change.type == "DELETED":
                self._by_uid.pop(uid_of(obj), None)
                found += [_key(row, item) for row, item in self._dependents(uid_of(obj))]
                found += self._owner_keys(obj)
            else:
                self._by_uid[uid_of(obj)] = (resource, change.key)
                if is_waiting_for_dependents(obj) or is_orphaning(obj):
                    found += [_key(row, item) for row, item in self._dependents(uid_of(obj))]
                if metadata(change.old or {}).get("ownerReferences") != metadata(obj).get("ownerReferences"):
                    found += self._owner_keys(change.old or {})
            return found

        return keys

    def _owner_keys(self, obj: JsonObject) -> list[Key]:
        owners = [self._by_uid.get(ref["uid"]) for ref in metadata(obj).get("ownerReferences") or ()]
        return [(f"{row.group_version}|{row.kind}|{key[0]}", key[1]) for row, key in filter(None, owners)]

    def _dependents(self, uid: str) -> list[tuple[Resource, JsonObject]]:
        return [(row, item) for row, copy in self._copies.items() for item in copy.by_index(BY_OWNER, uid)]

    async def reconcile(self, key: Key) -> float | None:
        """Look at one object: as an owner on its way out, and as somebody's dependent."""
        api_version, kind, namespace = key[0].split("|")
        resource = self._row_of(api_version, kind)
        if resource is None:
            return None
        obj = self._copies[resource].get(namespace, key[1])
        if obj is None:
            return None
        dependents = self._dependents(uid_of(obj))
        if is_orphaning(obj):
            for row, item in dependents:
                await self._disown(row, item, uid_of(obj))
            await self._remove_finalizer(resource, obj, ORPHAN)
            return None
        if is_waiting_for_dependents(obj) and not blocking_dependents(obj, [item for _, item in dependents]):
            await self._remove_finalizer(resource, obj, FOREGROUND)
            return None
        if metadata(obj).get("ownerReferences"):
            await self._decide(resource, obj, has_dependents=bool(dependents))
        return None

    async def _decide(self, resource: Resource, obj: JsonObject, *, has_dependents: bool) -> None:
        owners = {ref["uid"]: await self._owner_state(ref, obj) for ref in metadata(obj)["ownerReferences"]}
        with suppress(NotFoundError):
            match decide_fate(obj, owners, has_dependents=has_dependents):
                case Delete(propagation):
                    log.debug("collecting", extra={"resource": str(resource), "object": name_of(obj)})
                    await self._client.delete(
                        resource,
                        namespace_of(obj) or None,
                        name_of(obj),
                        uid=uid_of(obj),
                        resource_version=resource_version_of(obj),
                        propagation_policy=propagation,
                    )
                case Disown(references):
                    await self._patch_metadata(resource, obj, {"ownerReferences": references})
                case _:
                    pass

    async def _owner_state(self, reference: JsonObject, dependent: JsonObject) -> OwnerState:
        resource = self._row_of(reference["apiVersion"], reference["kind"])
        if resource is None or resource not in self._copies:
            return "present"  # a kind nobody serves here: never delete on a guess
        namespace = namespace_of(dependent) if resource.namespaced else ""
        known = self._copies[resource].get(namespace, reference["name"])
        if known is None or uid_of(known) != reference["uid"]:
            try:
                known = await self._client.get(resource, namespace or None, reference["name"])
            except NotFoundError:
                return "absent"
            if uid_of(known) != reference["uid"]:
                return "absent"
        if is_waiting_for_dependents(known) and reference.get("blockOwnerDeletion"):
            return "waiting"
        return "present"

    async def _disown(self, resource: Resource, obj: JsonObject, owner_uid: str) -> None:
        kept = [ref for ref in metadata(obj).get("ownerReferences") or () if ref["uid"] != owner_uid]
        with suppress(NotFoundError):
            await self._patch_metadata(resource, obj, {"ownerReferences": kept or None})

    async def _remove_finalizer(self, resource: Resource, obj: JsonObject, finalizer: str) -> None:
        left = [name for name in finalizers_of(obj) if name != finalizer]
        with suppress(NotFoundError):
            await self._patch_metadata(resource, obj, {"finalizers": left or None})

    async def _patch_metadata(self, resource: Resource, obj: JsonObject, meta: JsonObject) -> None:
        patch: JsonObject = {"metadata": meta | {"uid": uid_of(obj), "resourceVersion": resource_version_of(obj)}}
        await self._client.patch(resource, namespace_of(obj) or None, name_of(obj), patch)


def _key(resource: Resource, obj: JsonObject) -> Key:
    return f"{resource.group_version}|{resource.kind}|{namespace_of(obj)}", name_of(obj)
