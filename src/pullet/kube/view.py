"""What every typed view shares: how a raw API object becomes one, and how a bad one is named.

A view reads only the fields that pullet acts on; the raw object stays with its owner and keeps the unknown rest.
Kubernetes writes absent lists and times as `null`, so a null member reads as absent.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, ClassVar, TypeVar

import msgspec

from pullet.base.decodable import decodable
from pullet.base.errors import PulletError
from pullet.base.jsonvalue import JsonObject

V = TypeVar("V", bound="View")


class ViewInvalidError(PulletError):
    """An API object has a field of the wrong type, or lacks one that nothing works without.

    `what` names the object, `field` its member as Kubernetes writes paths (`spec.containers[0].image`).
    """

    reason: ClassVar[str] = "Invalid"

    def __init__(self, *, what: str, field: str, problem: str) -> None:
        super().__init__(f"{what}: {field}: {problem}" if field else f"{what}: {problem}")
        self.what, self.field, self.problem = what, field, problem


class View(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Base of the views: frozen, read by camelCase names, unknown fields ignored."""


class OwnerReferenceView(View, frozen=True, kw_only=True):
    """Who made the object."""

    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool = False


class ObjectMetaView(View, frozen=True, kw_only=True):
    """Identity of an object. Times are aware UTC."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    annotations: dict[str, str] = msgspec.field(default_factory=dict)
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    deletion_grace_period_seconds: int | None = None
    owner_references: tuple[OwnerReferenceView, ...] = ()


def parse_view(obj: JsonObject, view: type[V], *, kind: str) -> V:
    """The object as `view`. Strict about types: a number where a string belongs is refused.

    Raises:
        ViewInvalidError: names the object, the field and what was expected.
    """
    try:
        return msgspec.convert(_without_nulls(obj), decodable(view))
    except msgspec.ValidationError as error:
        problem, _, path = str(error).partition(" - at `")
        field = path.rstrip("`").removeprefix("$").removeprefix(".")
        raise ViewInvalidError(what=describe_object(obj, kind), field=field, problem=_lower_first(problem)) from None


def describe_object(obj: JsonObject, kind: str) -> str:
    """`Pod shop/web`, as far as the object tells its own name."""
    meta = obj.get("metadata")
    if not isinstance(meta, dict):
        return kind
    return f"{kind} {'/'.join(str(meta[key]) for key in ('namespace', 'name') if meta.get(key))}".strip()


def _lower_first(problem: str) -> str:
    plain = re.sub(r"`(\w+)`", lambda match: _JSON_NAMES.get(match[1], match[1]), problem)
    return plain[:1].lower() + plain[1:]


_JSON_NAMES = {
    "str": "string", "int": "integer", "bool": "boolean", "float": "number", "array": "array", "object": "object",
}  # fmt: skip


def _without_nulls(value: Any) -> Any:
    match value:
        case dict():
            return {key: _without_nulls(member) for key, member in value.items() if member is not None}
        case list() | tuple():
            return [_without_nulls(member) for member in value]
        case _:
            return value
