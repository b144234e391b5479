"""Values shaped by a structural schema: fields it does not know are pruned, fields with a default are filled in.

Nothing is changed in place: what needs no change is handed back as it is, so that reading an object costs a walk.
The fields that every object has (apiVersion, kind, metadata) belong to no schema and are left alone, at the root and
wherever a whole object is embedded.
Source: apiextensions-apiserver pkg/apiserver/schema/pruning, pkg/apiserver/schema/defaulting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pullet.base.jsonvalue import JsonObject
from pullet.kube.custom_kind import Schema

OBJECT_FIELDS = ("apiVersion", "kind", "metadata")
EMBEDDED = "x-kubernetes-embedded-resource"
PRESERVE = "x-kubernetes-preserve-unknown-fields"
INT_OR_STRING = "x-kubernetes-int-or-string"
_JUNCTIONS = ("allOf", "anyOf", "oneOf")
_GONE = object()


def member_schema(schema: Schema, name: str) -> Schema | None:
    """The schema of an object's field or of a map's values; None: the schema does not know it."""
    found = (schema.get("properties") or {}).get(name)
    if found is None:
        found = schema.get("additionalProperties")
    return found if isinstance(found, Mapping) else None


def prune(obj: JsonObject, schema: Schema) -> tuple[JsonObject, list[str]]:
    """The object without the fields that its schema does not know, and the paths of those."""
    unknown: list[str] = []
    pruned: JsonObject = _prune(obj, schema, "", unknown, is_object=True)
    return pruned, unknown


def _prune(value: Any, schema: Schema, path: str, unknown: list[str], *, is_object: bool = False) -> Any:
    if isinstance(value, list):
        items = schema.get("items")
        if not isinstance(items, Mapping):
            return value
        return _kept_list(value, [_prune_inner(item, items, f"{path}[{at}]", unknown) for at, item in enumerate(value)])
    if not isinstance(value, Mapping):
        return value
    keeps_all = schema.get(PRESERVE) or schema.get("additionalProperties") is True
    result: dict[str, Any] = {}
    for name, item in value.items():
        here = f"{path}.{name}" if path else name
        inner = member_schema(schema, name)
        if is_object and name in OBJECT_FIELDS:
            result[name] = item
        elif inner is not None:
            result[name] = _prune_inner(item, inner, here, unknown)
        elif keeps_all:
            result[name] = item
        else:
            unknown.append(here)
    return _kept_map(value, result)


def _prune_inner(value: Any, schema: Schema, path: str, unknown: list[str]) -> Any:
    return _prune(value, schema, path, unknown, is_object=bool(schema.get(EMBEDDED)))


def with_defaults(obj: JsonObject, schema: Schema) -> JsonObject:
    """The object with every default that its schema gives; a null where none may be counts as absent."""
    filled: JsonObject = _default(obj, schema)
    return filled


def _default(value: Any, schema: Schema) -> Any:
    if isinstance(value, list):
        items = schema.get("items")
        if not isinstance(items, Mapping):
            return value
        made = [_default_of(item, items) for item in value]
        return _kept_list(value, [old if new is _GONE else new for old, new in zip(value, made, strict=True)])
    if not isinstance(value, Mapping):
        return value
    result: dict[str, Any] = {}
    for name, item in value.items():
        inner = member_schema(schema, name)
        new = item if inner is None else _default_of(item, inner)
        if new is not _GONE:
            result[name] = new
    for name, inner in (schema.get("properties") or {}).items():
        if name not in value and "default" in inner:
            result[name] = _default(_copy(inner["default"]), inner)
    return _kept_map(value, result)


def _default_of(value: Any, schema: Schema) -> Any:
    if value is None and not schema.get("nullable"):
        if "default" in schema:
            return _default(_copy(schema["default"]), schema)
        return value if schema.get(PRESERVE) and "type" not in schema else _GONE
    return _default(value, schema)


def subschemas(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    """The schema and all below it, each with its path as field errors spell it."""
    yield path, schema
    for name in ("properties", "patternProperties", "definitions"):
        for key, inner in (schema.get(name) or {}).items():
            yield from subschemas(inner, f"{path}.{name}[{key}]")
    for name in ("additionalProperties", "items", "not"):
        if isinstance(schema.get(name), Mapping):
            yield from subschemas(schema[name], f"{path}.{name}")
    for name in _JUNCTIONS:
        for at, inner in enumerate(schema.get(name) or ()):
            yield from subschemas(inner, f"{path}.{name}[{at}]")


def at_embedded(obj: JsonObject, schema: Schema, change: Callable[[JsonObject, str], JsonObject]) -> JsonObject:
    """The object with each object embedded in it replaced by what `change(it, its path)` makes of it."""
    made: JsonObject = _at_embedded(obj, schema, "", change)
    return made


def _at_embedded(value: Any, schema: Schema, path: str, change: Callable[[JsonObject, str], JsonObject]) -> Any:
    if isinstance(value, list):
        items = schema.get("items")
        if not isinstance(items, Mapping):
            return value
        return [_at_embedded(item, items, f"{path}[{at}]", change) for at, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    result: JsonObject = {}
    for name, item in value.items():
        inner = member_schema(schema, name)
        here = f"{path}.{name}" if path else name
        result[name] = item if inner is None else _at_embedded(item, inner, here, change)
    return change(result, path) if path and schema.get(EMBEDDED) else result


def _kept_list(old: list[Any], new: list[Any]) -> list[Any]:
    return old if all(one is other for one, other in zip(old, new, strict=True)) else new


def _kept_map(old: Mapping[str, Any], new: dict[str, Any]) -> Any:
    is_same = len(old) == len(new) and all(name in old and old[name] is item for name, item in new.items())
    return old if is_same else new


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value
