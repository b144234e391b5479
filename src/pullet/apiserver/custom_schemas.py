"""The OpenAPI definitions of custom kinds: their schemas with what every object has, for v3 whole, for v2 simplified.

v2 knows less, and kubectl believes it: a schema that it cannot tell fully is told as anything at all.
Source: apiextensions-apiserver pkg/controller/openapi/builder, pkg/controller/openapi/v2.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pullet.apiserver.schemas import OBJECT_META, Schema
from pullet.kube.scheme import Resource
from pullet.kube.structural import INT_OR_STRING, PRESERVE

_API_VERSION = (
    "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized "
    "schemas to the latest internal value, and may reject unrecognized values. More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources"
)
_KIND = (
    "Kind is a string value representing the REST resource this object represents. Servers may infer this from the "
    "endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds"
)
_METADATA = (
    "Standard object's metadata. More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata"
)
_LIST_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta"
_NOT_IN_V2 = frozenset({"nullable", "oneOf", "anyOf", "allOf", "not", "default", "example"})


def definition_name(row: Resource, kind: str) -> str:
    """The definition's name: `com.example.stable.v1.CronTab`."""
    return f"{'.'.join(reversed(row.group.split('.')))}.{row.version}.{kind}"


def definitions_of(rows: Iterable[Resource], *, is_v2: bool) -> dict[str, Schema]:
    """The definitions of custom rows and of their lists, by name."""
    found: dict[str, Schema] = {}
    for row in rows:
        if row.custom is None:
            continue
        schema = _v2(row.custom.schema) if is_v2 else dict(row.custom.schema)
        found[definition_name(row, row.kind)] = {
            **schema,
            "properties": {**(schema.get("properties") or {}), **_type_fields(), "metadata": _reference(OBJECT_META)},
            **_group_version_kind(row, row.kind),
        }
        item = {"$ref": definition_name(row, row.kind)}
        found[definition_name(row, row.list_kind)] = {
            "description": f"{row.list_kind} is a list of {row.kind}",
            "type": "object",
            "required": ["items"],
            "properties": {
                **_type_fields(),
                "items": {"type": "array", "description": f"List of {row.plural}.", "items": item},
                "metadata": _reference(_LIST_META),
            },
            **_group_version_kind(row, row.list_kind),
        }
    return found


def _type_fields() -> dict[str, Schema]:
    return {
        "apiVersion": {"type": "string", "description": _API_VERSION},
        "kind": {"type": "string", "description": _KIND},
    }


def _reference(name: str) -> Schema:
    return {"$ref": name, "description": _METADATA}


def _group_version_kind(row: Resource, kind: str) -> Schema:
    return {"x-kubernetes-group-version-kind": [{"group": row.group, "version": row.version, "kind": kind}]}


def _v2(schema: Mapping[str, Any]) -> Schema:
    if schema.get("nullable") or schema.get(PRESERVE) or schema.get(INT_OR_STRING):
        return {name: value for name, value in schema.items() if name == "description" or name.startswith("x-")}
    result: Schema = {}
    for name, value in schema.items():
        match name:
            case "properties":
                result[name] = {key: _v2(inner) for key, inner in value.items()}
            case "items" | "additionalProperties" if isinstance(value, Mapping):
                result[name] = _v2(value)
            case _ if name not in _NOT_IN_V2:
                result[name] = value
            case _:
                pass
    return result
