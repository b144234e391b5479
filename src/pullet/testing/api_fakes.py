"""An API server in memory, behind the ApiClient's own methods: objects, versions, watches, graceful deletion.

It knows nothing of kinds: no defaulting, no validation, no admission. What a test wants defaulted, it writes.
"""

from __future__ import annotations

import asyncio
import copy
import itertools
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from pullet.base.jsonvalue import JsonObject, JsonValue
from pullet.kit.clock import Clock
from pullet.kube.meta import format_time
from pullet.kube.scheme import PODS, SERVICEACCOUNTS, Resource
from pullet.kube.status import AlreadyExistsError, ApiError, ConflictError, NotFoundError
from pullet.kubeclient.client import ApiClient, ObjectList, PatchKind, WatchEvent


class FakeApi(ApiClient):
    """An ApiClient whose server is a dict. `fail_next` makes calls of a verb fail."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._objects: dict[str, dict[tuple[str, str], JsonObject]] = {}
        self._versions = itertools.count(1)
        self._watchers: list[tuple[str, str, str, asyncio.Queue[WatchEvent]]] = []
        self._failures: dict[str, list[ApiError]] = {}
        self.history: list[tuple[datetime, str, str, JsonObject]] = []  # time, event type, plural, object
        self.calls: list[str] = []

    def fail_next(self, verb: str, error: ApiError, *, times: int = 1) -> None:
        """The next calls of `verb` raise `error`."""
        self._failures.setdefault(verb, []).extend([error] * times)

    def objects(self, resource: Resource) -> list[JsonObject]:
        """Everything stored of a resource."""
        return list(self._objects.get(resource.plural, {}).values())

    async def aclose(self) -> None:
        """Nothing to close."""

    async def get(
        self, resource: Resource, namespace: str | None, name: str, *, subresource: str | None = None
    ) -> JsonObject:
        self._note("get", resource, name)
        return copy.deepcopy(self._stored(resource, namespace, name))

    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 0,
        resource_version: str = "",
    ) -> ObjectList:
        self._note("list", resource, "")
        found = [copy.deepcopy(obj) for obj in self.objects(resource) if _matches(obj, namespace or "", field_selector)]
        return ObjectList(found, str(next(self._versions)))

    async def watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        resource_version: str = "",
        label_selector: str = "",
        field_selector: str = "",
        timeout_seconds: int = 300,
        bookmarks: bool = True,
    ) -> AsyncGenerator[WatchEvent, None]:
        queue: asyncio.Queue[WatchEvent] = asyncio.Queue()
        since = int(resource_version or 0)
        for _, kind, plural, obj in self.history:
            is_newer = int(obj["metadata"]["resourceVersion"]) > since
            if plural == resource.plural and is_newer and _matches(obj, namespace or "", field_selector):
                queue.put_nowait(WatchEvent(kind, copy.deepcopy(obj)))  # type: ignore[arg-type]  # only those three
        watcher = (resource.plural, namespace or "", field_selector, queue)
        self._watchers.append(watcher)
        try:
            while True:
                yield await queue.get()
        finally:
            self._watchers.remove(watcher)

    async def create(
        self,
        resource: Resource,
        namespace: str | None,
        obj: JsonObject,
        *,
        subresource: str | None = None,
        name: str | None = None,
    ) -> JsonObject:
        self._note("create", resource, name or obj["metadata"]["name"])
        if subresource == "token" and resource is SERVICEACCOUNTS:
            expires = self._clock.now() + timedelta(seconds=obj["spec"]["expirationSeconds"])
            number = next(self._versions)
            return {**obj, "status": {"token": f"token-{number}", "expirationTimestamp": format_time(expires)}}
        new = copy.deepcopy(obj)
        key = (namespace or "", new["metadata"]["name"])
        table = self._objects.setdefault(resource.plural, {})
        if key in table:
            raise AlreadyExistsError(f'{resource} "{key[1]}" already exists')
        meta = new["metadata"]
        number = next(self._versions)
        meta.setdefault("uid", f"00000000-0000-4000-8000-{number:012d}")
        if namespace:
            meta["namespace"] = namespace
        meta["creationTimestamp"] = format_time(self._clock.now())
        new.setdefault("apiVersion", resource.group_version)
        new.setdefault("kind", resource.kind)
        if resource is PODS:
            meta.setdefault("generation", 1)
        return self._store(resource, key, new, "ADDED")

    async def update(
        self, resource: Resource, namespace: str | None, obj: JsonObject, *, subresource: str | None = None
    ) -> JsonObject:
        name = obj["metadata"]["name"]
        self._note("update", resource, name)
        self._stored(resource, namespace, name)
        return self._store(resource, (namespace or "", name), copy.deepcopy(obj), "MODIFIED")

    async def patch(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        patch: JsonValue,
        *,
        kind: PatchKind = "merge",
        subresource: str | None = None,
        force: bool = False,
    ) -> JsonObject:
        self._note("patch", resource, name)
        old = self._stored(resource, namespace, name)
        assert isinstance(patch, dict)
        uid = (patch.get("metadata") or {}).get("uid")
        if uid is not None and uid != old["metadata"]["uid"]:
            raise ConflictError(f"the UID in the precondition ({uid}) does not match: {old['metadata']['uid']}")
        new = _merge(copy.deepcopy(old), copy.deepcopy(patch))
        if new == old:
            return copy.deepcopy(old)
        return self._store(resource, (namespace or "", name), new, "MODIFIED")

    async def delete(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        *,
        grace_period_seconds: int | None = None,
        propagation_policy: Literal["Background", "Foreground", "Orphan"] | None = None,
        uid: str | None = None,
        resource_version: str | None = None,
    ) -> JsonObject:
        self._note("delete", resource, name)
        obj = self._stored(resource, namespace, name)
        if uid is not None and uid != obj["metadata"]["uid"]:
            raise ConflictError("the UID in the precondition does not match")
        grace = grace_period_seconds
        if resource is PODS and grace is None:
            grace = obj["spec"].get("terminationGracePeriodSeconds", 30)
        key = (namespace or "", name)
        if resource is PODS and grace and obj["spec"].get("nodeName"):
            new = copy.deepcopy(obj)
            new["metadata"]["deletionTimestamp"] = format_time(self._clock.now() + timedelta(seconds=grace))
            new["metadata"]["deletionGracePeriodSeconds"] = grace
            return self._store(resource, key, new, "MODIFIED")
        gone = copy.deepcopy(obj)
        self._store(resource, key, gone, "DELETED")
        del self._objects[resource.plural][key]
        return gone

    def _note(self, verb: str, resource: Resource, name: str) -> None:
        self.calls.append(f"{verb} {resource.plural} {name}".strip())
        if self._failures.get(verb):
            raise self._failures[verb].pop(0)

    def _stored(self, resource: Resource, namespace: str | None, name: str) -> JsonObject:
        found = self._objects.get(resource.plural, {}).get((namespace or "", name))
        if found is None:
            raise NotFoundError(f'{resource} "{name}" not found')
        return found

    def _store(
        self, resource: Resource, key: tuple[str, str], obj: JsonObject, kind: Literal["ADDED", "MODIFIED", "DELETED"]
    ) -> JsonObject:
        obj["metadata"]["resourceVersion"] = str(next(self._versions))
        self._objects.setdefault(resource.plural, {})[key] = obj
        self.history.append((self._clock.now().astimezone(UTC), kind, resource.plural, copy.deepcopy(obj)))
        for plural, namespace, field_selector, queue in self._watchers:
            if plural == resource.plural and _matches(obj, namespace, field_selector):
                queue.put_nowait(WatchEvent(kind, copy.deepcopy(obj)))
        return copy.deepcopy(obj)


def _matches(obj: JsonObject, namespace: str, field_selector: str) -> bool:
    if namespace and obj["metadata"].get("namespace") != namespace:
        return False
    for requirement in filter(None, field_selector.split(",")):
        path, _, wanted = requirement.partition("=")
        value: Any = obj
        for part in path.split("."):
            value = (value or {}).get(part)
        if str(value or "") != wanted:
            return False
    return True


def _merge(target: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merge(merged.get(name), value)
    return merged
