"""URL and method → what is asked: resource, verb, namespace, name, subresource.

Source: apiserver pkg/endpoints/request/requestinfo.go.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from urllib.parse import parse_qsl, unquote

import msgspec

from pullet.base.values import Value
from pullet.kube.scheme import Resource, Subresource, resource_at
from pullet.kube.selector import SelectorError, parse_field_selector
from pullet.kube.status import MethodNotAllowedError, NotFoundError


class Query:
    """Query parameters; the first value counts, as in Go."""

    def __init__(self, raw: str) -> None:
        self.pairs = parse_qsl(raw, keep_blank_values=True)
        self._first: dict[str, str] = {}
        for name, value in self.pairs:
            self._first.setdefault(name, value)

    def get(self, name: str) -> str:
        """The first value, empty if absent."""
        return self._first.get(name, "")

    def all(self, name: str) -> list[str]:
        """Every value of `name`, in order."""
        return [value for key, value in self.pairs if key == name]

    def flag(self, name: str) -> bool:
        """A boolean as Go's ParseBool reads it; anything else is false."""
        return self.get(name) in ("1", "t", "T", "true", "TRUE", "True")


class RequestInfo(Value, kw_only=True):
    """A request to a resource, understood."""

    verb: str
    resource: Resource
    namespace: str = ""
    name: str = ""
    subresource: Subresource | None = None
    query: Query = msgspec.field(default_factory=lambda: Query(""))

    @property
    def subresource_name(self) -> str:
        """The subresource's name, empty for the object itself."""
        return self.subresource.name if self.subresource else ""

    def selected(self, label: str) -> str:
        """The value that the field selector of a list or watch asks of `label`, empty if it asks none."""
        if self.verb not in ("list", "watch", "deletecollection"):
            return ""
        with suppress(SelectorError):  # a selector that cannot be read is refused with its own words later
            return parse_field_selector(self.query.get("fieldSelector")).equal(label) or ""
        return ""


_OBJECT_VERBS = {"GET": "get", "HEAD": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete", "POST": "create"}
_COLLECTION_VERBS = {"GET": "list", "HEAD": "list", "POST": "create", "DELETE": "deletecollection"}


Lookup = Callable[[str, str, str], Resource | None]  # group, version, plural


def parse_request(method: str, path: str, raw_query: str, find: Lookup = resource_at) -> RequestInfo:
    """Understand a path below /api/v1 or /apis/GROUP/VERSION, of the resources that `find` knows.

    Raises:
        NotFoundError: nothing is served there.
        MethodNotAllowedError: the resource is there, not with this method.
    """
    parts = [unquote(part) for part in path.strip("/").split("/")]
    if parts[0] == "api" and len(parts) > 2:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) > 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        raise NotFoundError.path()
    is_watch = rest[0] == "watch"  # the old form: /api/v1/watch/…
    if is_watch:
        rest = rest[1:]
    namespace = ""
    if len(rest) > 2 and rest[0] == "namespaces":
        inner = find(group, version, rest[2])
        if inner is not None and inner.namespaced:
            namespace, rest = rest[1], rest[2:]
    resource = find(group, version, rest[0]) if rest else None
    if resource is None or len(rest) > 3:
        raise NotFoundError.path()
    name = rest[1] if len(rest) > 1 else ""
    if name and resource.namespaced and not namespace:
        raise NotFoundError.path()
    return _understood(method, resource, namespace, name, rest[2] if len(rest) > 2 else "", is_watch, Query(raw_query))


def _understood(
    method: str, resource: Resource, namespace: str, name: str, subresource_name: str, is_watch: bool, query: Query
) -> RequestInfo:
    subresource = None
    if subresource_name:
        subresource = resource.subresource(subresource_name)
        if subresource is None:
            raise NotFoundError.path()
    verb = (_OBJECT_VERBS if name else _COLLECTION_VERBS).get(method, "")
    if verb == "list" and (is_watch or query.flag("watch")):
        verb = "watch"
    if verb == "get" and not subresource and (is_watch or query.flag("watch")):
        verb = "watch"
    served = subresource.verbs if subresource else resource.verbs
    needs_namespace = resource.namespaced and not namespace and verb in ("create", "deletecollection")
    if verb not in served or needs_namespace or (verb == "create" and name and not subresource):
        if resource.custom and verb == "create" and verb not in served:
            raise MethodNotAllowedError("create not allowed while custom resource definition is terminating")
        raise MethodNotAllowedError("the server does not allow this method on the requested resource")
    return RequestInfo(
        verb=verb, resource=resource, namespace=namespace, name=name, subresource=subresource, query=query
    )
