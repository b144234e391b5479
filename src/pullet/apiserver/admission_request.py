"""One write as admission sees it."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from pullet.apiserver.request_context import RequestContext
from pullet.base.jsonvalue import JsonObject
from pullet.base.values import Value
from pullet.kube.meta import name_of, namespace_of
from pullet.kube.scheme import Resource


class Operation(StrEnum):
    """What is being done, in admission's words."""

    CREATE = "CREATE"
    UPDATE = "UPDATE"
    DELETE = "DELETE"
    CONNECT = "CONNECT"


class AdmissionRequest(Value):
    """One write; `obj` is None for a delete, `old` for a create. `target` is (namespace, name) where `obj` has none."""

    operation: Operation
    resource: Resource
    obj: JsonObject | None
    old: JsonObject | None
    context: RequestContext
    subresource: str = ""
    options: JsonObject | None = None  # of a delete; those of other writes follow from the context
    target: tuple[str, str] | None = None

    def with_object(self, obj: JsonObject) -> AdmissionRequest:
        """The same request with the object as it stands now."""
        return msgspec.structs.replace(self, obj=obj)

    @property
    def name(self) -> str:
        """The object's name."""
        return self.target[1] if self.target else name_of(self.obj or self.old or {})

    @property
    def namespace(self) -> str:
        """The object's namespace."""
        return self.target[0] if self.target else namespace_of(self.obj or self.old or {})
