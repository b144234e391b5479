"""One client of the Kubernetes API: verbs over raw JSON objects.

Every method raises an ApiError of `pullet.kube.status` when the server refuses, and ApiUnreachableError when no
answer came. Nothing is retried here: who calls knows whether a repetition is safe.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias
from urllib.parse import quote

import httpx2
import msgspec

from pullet.base.decodable import decodable
from pullet.base.jsonvalue import JsonObject, JsonValue
from pullet.base.values import Value
from pullet.kit.worker_threads import WorkerThreads
from pullet.kube.scheme import Resource
from pullet.kube.status import error_from_status
from pullet.kubeclient.errors import ApiUnreachableError, check_response
from pullet.kubeclient.transport import load_kubeconfig, open_http

PatchKind: TypeAlias = Literal["merge", "strategic", "json", "apply"]
WatchEventType: TypeAlias = Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"]

_PATCH_CONTENT_TYPE: dict[PatchKind, str] = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json": "application/json-patch+json",
    "apply": "application/apply-patch+yaml",
}
_WATCH_GRACE_SECONDS = 30.0  # how long past the agreed end of a watch silence is still not a dead connection


class ObjectList(NamedTuple):
    """A consistent list: the objects and the version at which they were read."""

    items: list[JsonObject]
    resource_version: str


class WatchEvent(Value):
    """One change as the server sent it; a BOOKMARK carries only a newer resourceVersion."""

    type: WatchEventType
    object: JsonObject


class RawResponse(Value):
    """An answer taken as it is: status below 400, headers in lower case, body unread by us."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class _WatchFrame(msgspec.Struct):
    type: WatchEventType
    object: dict[str, Any]


_decode_frame = msgspec.json.Decoder(decodable(_WatchFrame)).decode
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode


class ApiClient:
    """Verbs of the API over one pool of connections. Safe for any number of tasks of one event loop.

    `field_manager` names the writer in managedFields. Close with `aclose()`.
    """

    def __init__(self, http: httpx2.AsyncClient, *, field_manager: str = "pullet") -> None:
        self._http = http
        self._field_manager = field_manager

    @classmethod
    def from_kubeconfig(
        cls, path: Path, *, context: str | None = None, user_agent: str = "pullet", field_manager: str = "pullet"
    ) -> ApiClient:
        """A client for the cluster a kubeconfig names. Blocking (reads certificates): not for the event loop.

        Raises:
            UsageError: the kubeconfig cannot be used.
        """
        return cls(open_http(load_kubeconfig(path, context), user_agent=user_agent), field_manager=field_manager)

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        threads: WorkerThreads,
        context: str | None = None,
        user_agent: str = "pullet",
        field_manager: str = "pullet",
    ) -> ApiClient:
        """As `from_kubeconfig`, on one of `threads`, so that the loop stays free."""
        return await threads.run(
            cls.from_kubeconfig, path, context=context, user_agent=user_agent, field_manager=field_manager
        )

    def as_manager(self, field_manager: str) -> ApiClient:
        """The same connections under another writer's name; close only the first."""
        return ApiClient(self._http, field_manager=field_manager)

    async def aclose(self) -> None:
        """Close every connection; watches under way end with ApiUnreachableError."""
        await self._http.aclose()

    async def get(
        self, resource: Resource, namespace: str | None, name: str, *, subresource: str | None = None
    ) -> JsonObject:
        """The object as stored."""
        return await self._call("GET", _object_path(resource, namespace, name, subresource))

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
        """Every matching object of one moment; `limit` is the size of a page, all pages are read.

        Raises:
            ExpiredError: pages were read too slowly for a consistent list.
        """
        items: list[JsonObject] = []
        token = ""
        while True:
            page = await self._call(
                "GET",
                resource.path(namespace),
                labelSelector=label_selector,
                fieldSelector=field_selector,
                limit=str(limit) if limit else "",
                resourceVersion="" if token else resource_version,
                **{"continue": token},
            )
            items += page.get("items") or []
            token = page["metadata"].get("continue") or ""
            if not token:
                return ObjectList(items, page["metadata"]["resourceVersion"])

    async def list_page(self, resource: Resource, namespace: str | None = None, *, limit: int) -> ObjectList:
        """The first `limit` objects, to see whether there are any."""
        page = await self._call("GET", resource.path(namespace), limit=str(limit))
        return ObjectList(page.get("items") or [], page["metadata"]["resourceVersion"])

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
        """Changes after `resource_version`, until the server ends the watch (after `timeout_seconds` at the latest).

        Leave early only inside `contextlib.aclosing`, which returns the connection at once.

        Raises:
            ExpiredError: `resource_version` is too old; list again.
            ApiUnreachableError: the connection broke, or stayed silent past its end.
        """
        params = _present(
            watch="true",
            resourceVersion=resource_version,
            labelSelector=label_selector,
            fieldSelector=field_selector,
            timeoutSeconds=str(timeout_seconds),
            allowWatchBookmarks="true" if bookmarks else "",
        )
        async with self.stream(
            "GET",
            resource.path(namespace),
            params=params,
            read_timeout_seconds=timeout_seconds + _WATCH_GRACE_SECONDS,
        ) as body:
            pending = b""
            async for chunk in body:
                *lines, pending = (pending + chunk).split(b"\n")
                for line in lines:
                    if not line.strip():
                        continue
                    try:
                        frame = _decode_frame(line)
                    except msgspec.DecodeError as error:
                        raise ApiUnreachableError(f"watch of {resource.plural}: unreadable event: {error}") from error
                    if frame.type == "ERROR":
                        raise error_from_status(frame.object)
                    yield WatchEvent(frame.type, frame.object)

    async def create(
        self,
        resource: Resource,
        namespace: str | None,
        obj: JsonObject,
        *,
        subresource: str | None = None,
        name: str | None = None,
    ) -> JsonObject:
        """POST to the collection, or to `subresource` of the object `name` (binding, token, eviction).

        Raises:
            AlreadyExistsError, InvalidError, ForbiddenError.
        """
        path = _object_path(resource, namespace, name or "", subresource) if subresource else resource.path(namespace)
        return await self._call("POST", path, obj, fieldManager=self._field_manager)

    async def update(
        self, resource: Resource, namespace: str | None, obj: JsonObject, *, subresource: str | None = None
    ) -> JsonObject:
        """PUT the object; its resourceVersion, when present, must still be the stored one.

        Raises:
            ConflictError: somebody else wrote in between; read again and decide anew.
        """
        path = _object_path(resource, namespace, obj["metadata"]["name"], subresource)
        return await self._call("PUT", path, obj, fieldManager=self._field_manager)

    async def patch(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        patch: JsonObject | Sequence[JsonObject],
        *,
        kind: PatchKind = "merge",
        subresource: str | None = None,
        force: bool = False,
    ) -> JsonObject:
        """PATCH in one of the four kinds; `force` takes over fields of others and exists for "apply" alone."""
        return await self._call(
            "PATCH",
            _object_path(resource, namespace, name, subresource),
            patch,
            content_type=_PATCH_CONTENT_TYPE[kind],
            fieldManager=self._field_manager,
            force="true" if force else "",
        )

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
        """DELETE; `uid` and `resource_version` are preconditions. Returns the object or a Status.

        Raises:
            NotFoundError: it is gone already.
            ConflictError: a precondition does not hold: it is another object by now.
        """
        options: JsonObject = {"kind": "DeleteOptions", "apiVersion": "v1"}
        if grace_period_seconds is not None:
            options["gracePeriodSeconds"] = grace_period_seconds
        if propagation_policy is not None:
            options["propagationPolicy"] = propagation_policy
        preconditions = _present(uid=uid, resourceVersion=resource_version)
        if preconditions:
            options["preconditions"] = preconditions
        return await self._call("DELETE", _object_path(resource, namespace, name), options)

    async def delete_collection(
        self,
        resource: Resource,
        namespace: str | None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        grace_period_seconds: int | None = None,
    ) -> None:
        """DELETE every matching object of a namespace, or of the cluster for cluster-scoped resources; what belongs to
        them follows.
        """
        options: JsonObject = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
        if grace_period_seconds is not None:
            options["gracePeriodSeconds"] = grace_period_seconds
        path = resource.path(namespace)
        await self._call("DELETE", path, options, labelSelector=label_selector, fieldSelector=field_selector)

    async def request_raw(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        content: bytes | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> RawResponse:
        """Any request below the server's root, the answer undecoded (logs, version, discovery)."""
        headers = {"Accept": accept} | ({"Content-Type": content_type} if content is not None else {})
        try:
            response = await self._http.request(method, path, params=params, content=content, headers=headers)
        except httpx2.HTTPError as error:
            raise ApiUnreachableError.of(method, path, error) from error
        check_response(response.status_code, response.content)
        return RawResponse(response.status_code, dict(response.headers), response.content)

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        accept: str = "application/json",
        read_timeout_seconds: float | None = None,
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """A request whose body is read as it comes (watches, followed logs); None waits for ever between bytes."""
        timeout = httpx2.Timeout(30.0, read=read_timeout_seconds)
        request = self._http.build_request(method, path, params=params, headers={"Accept": accept}, timeout=timeout)
        try:
            response = await self._http.send(request, stream=True)
        except httpx2.HTTPError as error:
            raise ApiUnreachableError.of(method, path, error) from error
        try:
            if response.status_code >= 400:
                check_response(response.status_code, await response.aread())
            yield _chunks(response, method, path)
        except httpx2.HTTPError as error:
            raise ApiUnreachableError.of(method, path, error) from error
        finally:
            await response.aclose()

    async def _call(
        self,
        method: str,
        path: str,
        body: JsonValue = None,
        *,
        content_type: str = "application/json",
        **params: str,
    ) -> JsonObject:
        content = None if body is None else msgspec.json.encode(body)
        response = await self.request_raw(
            method, path, params=_present(**params), content=content, content_type=content_type
        )
        try:
            return _decode_object(response.body)
        except msgspec.DecodeError as error:
            raise ApiUnreachableError(f"{method} {path}: the answer is not a JSON object: {error}") from error


async def _chunks(response: httpx2.Response, method: str, path: str) -> AsyncIterator[bytes]:
    try:
        async for chunk in response.aiter_raw():
            yield chunk
    except (httpx2.HTTPError, httpx2.StreamError) as error:
        raise ApiUnreachableError.of(method, path, error) from error


def _present(**params: str | None) -> dict[str, str]:
    return {name: value for name, value in params.items() if value}


def _object_path(resource: Resource, namespace: str | None, name: str, subresource: str | None = None) -> str:
    if resource.namespaced and not namespace:
        raise ValueError(f"{resource} are namespaced: {name!r} needs a namespace")
    if not name:
        raise ValueError(f"an object of {resource} needs a name")
    return resource.path(namespace, quote(name, safe=""), subresource)
