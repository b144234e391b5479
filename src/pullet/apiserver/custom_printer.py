"""Tables of custom resources: the columns of their definition, name and age where it has none.

Source: apiextensions-apiserver pkg/registry/customresource/tableconvertor/tableconvertor.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pullet.apiserver.printing import Column, since
from pullet.base.jsonvalue import JsonObject
from pullet.kube.json_path import JsonPathError, parse_json_path, shown
from pullet.kube.meta import name_of, parse_time
from pullet.kube.scheme import Resource

_NAME = Column(
    "Name",
    format="name",
    description="Name must be unique within a namespace. Is required when creating resources, although some resources "
    "may allow a client to request the generation of an appropriate name automatically. Name is primarily intended for "
    "creation idempotence and configuration definition. Cannot be updated. More info: "
    "https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names",
)
_AGE: Mapping[str, Any] = {
    "name": "Age",
    "type": "date",
    "description": "CreationTimestamp is a timestamp representing the server time when this object was created. It is "
    "not guaranteed to be set in happens-before order across separate operations. Clients may not set this value. It "
    "is represented in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata",
    "jsonPath": ".metadata.creationTimestamp",
}


class CustomPrinter:
    """Columns and cells of one custom kind."""

    def __init__(self, resource: Resource) -> None:
        assert resource.custom is not None
        self._given = resource.custom.columns or (_AGE,)
        self.columns = [_NAME, *(_column(each) for each in self._given)]

    def cells(self, obj: JsonObject, now: datetime) -> list[Any]:
        """A row."""
        return [name_of(obj), *(_cell(column, obj, now) for column in self._given)]


def _column(given: Mapping[str, Any]) -> Column:
    description = (
        given.get("description") or f"Custom resource definition column (in JSONPath format): {given['jsonPath']}"
    )
    return Column(
        given["name"],
        type=given["type"],
        format=given.get("format") or "",
        description=description,
        priority=given.get("priority") or 0,
    )


def _cell(column: Mapping[str, Any], obj: JsonObject, now: datetime) -> Any:
    try:
        found = parse_json_path(column["jsonPath"]).find(obj)
    except JsonPathError:
        return None  # who made the definition was warned of it
    value = found[0] if found else None
    if value is None:
        return None
    match column["type"]:
        case "string":
            return shown(value)
        case "date" if isinstance(value, str):
            return since(value, now) if parse_time(value) else "<invalid>"
        case "boolean" if isinstance(value, bool):
            return value
        case "integer" if isinstance(value, int | float) and not isinstance(value, bool):
            return int(value)
        case "number" if isinstance(value, int | float) and not isinstance(value, bool):
            return value
        case _:
            return None
