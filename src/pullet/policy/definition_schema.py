"""Rules on the schemas of custom resources: structural, with defaults that fit, lists whose keys are there.

Source: apiextensions-apiserver pkg/apiserver/schema/{validation,complete}.go, pkg/apiserver/schema/defaulting,
pkg/apis/apiextensions/validation/validation.go.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pullet.kube.custom_kind import Schema
from pullet.kube.field_error import FieldError, forbidden, invalid, not_supported, required
from pullet.kube.structural import EMBEDDED, INT_OR_STRING, PRESERVE, prune
from pullet.policy.go_pattern import go_pattern
from pullet.policy.schema_validation import validate_value

_JUNCTIONS = ("allOf", "anyOf", "oneOf")
_INT_OR_STRING = [{"type": "integer"}, {"type": "string"}]
_UNSUPPORTED = ("id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref")
_TYPES = ("array", "boolean", "integer", "number", "object", "string")
# what belongs to the structure and not to a junctor's conditions: name → why
_NOT_IN_JUNCTIONS = {
    "type": "must be empty", "additionalProperties": "must be undefined", "default": "must be undefined",
    "title": "must be empty", "description": "must be empty", "nullable": "must be false",
    PRESERVE: "must be false", EMBEDDED: "must be false", INT_OR_STRING: "must be false",
    "x-kubernetes-list-map-keys": "must be empty", "x-kubernetes-list-type": "must be undefined",
    "x-kubernetes-map-type": "must be undefined", "x-kubernetes-validations": "must be empty",
}  # fmt: skip
_ROOT, _ITEM, _FIELD = "at the root", "for specified array items", "for specified object fields"


def validate_schema(schema: Schema, path: str) -> list[FieldError]:
    """Everything about one openAPIV3Schema."""
    structural = [*_structural_errors(schema, path, _ROOT), *_completeness_errors(schema, schema, path)]
    errors = [*_general_errors(schema, path), *sorted(structural, key=str)]
    return errors or [*_default_errors(schema, path)]


def _general_errors(schema: Schema, path: str) -> Iterator[FieldError]:
    for name in _UNSUPPORTED:
        if schema.get(name):
            yield forbidden(f"{path}.{name}", f"{name} is not supported")
    kind = schema.get("type")
    if kind == "null":
        yield forbidden(f"{path}.type", "type cannot be set to null, use nullable as an alternative")
    elif kind and kind not in _TYPES:
        yield not_supported(f"{path}.type", kind, _TYPES)
    if isinstance(schema.get("items"), list):
        yield forbidden(f"{path}.items", "items must be a schema object and not an array")
    if schema.get("uniqueItems"):
        text = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        yield forbidden(f"{path}.uniqueItems", text)
    additional = schema.get("additionalProperties")
    if schema.get("properties") and additional is not None and additional is not True:
        text = "additionalProperties and properties are mutual exclusive"
        yield forbidden(f"{path}.additionalProperties", text)
    if schema.get(PRESERVE) is False:
        yield invalid(f"{path}.{PRESERVE}", False, "must be true or undefined")
    yield from _list_errors(schema, path)
    map_type = schema.get("x-kubernetes-map-type")
    if map_type and kind != "object":
        text = "must be object if x-kubernetes-map-type is specified"
        yield invalid(f"{path}.type", kind, text) if kind else required(f"{path}.type", text)
    if map_type and map_type not in ("atomic", "granular"):
        yield not_supported(f"{path}.x-kubernetes-map-type", map_type, ("atomic", "granular"))
    for at, rule in enumerate(schema.get("x-kubernetes-validations") or ()):
        if not (rule.get("rule") or "").strip():
            yield required(f"{path}.x-kubernetes-validations[{at}].rule", "rule is not specified")
    for where, inner in _below(schema, path):
        yield from _general_errors(inner, where)


def _below(schema: Schema, path: str) -> Iterator[tuple[str, Schema]]:
    for name, inner in (schema.get("properties") or {}).items():
        yield f"{path}.properties[{name}]", inner
    for name in ("additionalProperties", "items", "not"):
        if isinstance(schema.get(name), Mapping):
            yield f"{path}.{name}", schema[name]
    for name in _JUNCTIONS:
        for at, inner in enumerate(schema.get(name) or ()):
            yield f"{path}.{name}[{at}]", inner


def _list_errors(schema: Schema, path: str) -> Iterator[FieldError]:
    list_type, keys = schema.get("x-kubernetes-list-type"), schema.get("x-kubernetes-list-map-keys") or ()
    items = schema.get("items") if isinstance(schema.get("items"), Mapping) else {}
    assert isinstance(items, Mapping)
    if list_type and schema.get("type") != "array":
        text = "must be array if x-kubernetes-list-type is specified"
        kind = schema.get("type")
        yield invalid(f"{path}.type", kind, text) if kind else required(f"{path}.type", text)
    if list_type and list_type not in ("atomic", "set", "map"):
        yield not_supported(f"{path}.x-kubernetes-list-type", list_type, ("atomic", "set", "map"))
    if keys and list_type != "map":
        field, text = f"{path}.x-kubernetes-list-type", "must be map if x-kubernetes-list-map-keys is non-empty"
        yield invalid(field, list_type, text) if list_type else required(field, text)
    if list_type in ("set", "map") and items.get("nullable"):
        text = f"cannot be nullable when x-kubernetes-list-type is {list_type}"
        yield forbidden(f"{path}.items.nullable", text)
    if list_type == "set" and items.get("type") == "object" and items.get("x-kubernetes-map-type") != "atomic":
        text = "must be atomic as item of a list with x-kubernetes-list-type=set"
        yield invalid(f"{path}.items.x-kubernetes-map-type", items.get("x-kubernetes-map-type"), text)
    if list_type != "map":
        return
    if not keys:
        text = "must not be empty if x-kubernetes-list-type is map"
        yield required(f"{path}.x-kubernetes-list-map-keys", text)
    if items and items.get("type") != "object":
        text = "must be object if parent array's x-kubernetes-list-type is map"
        yield invalid(f"{path}.items.type", items.get("type") or "", text)
        return
    for key in keys:
        inner = (items.get("properties") or {}).get(key)
        if inner is None:
            field = f"{path}.x-kubernetes-list-map-keys"
            yield invalid(field, keys, "entries must all be names of item properties")
            continue
        where = f"{path}.items.properties[{key}]"
        if inner.get("type") in ("array", "object"):
            text = "must be a scalar type if parent array's x-kubernetes-list-type is map"
            yield invalid(f"{where}.type", inner["type"], text)
        if key not in (items.get("required") or ()) and "default" not in inner:
            text = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
            yield required(f"{where}.default", text)
        if inner.get("nullable"):
            text = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable"
            yield forbidden(f"{where}.nullable", text)


# structure ------------------------------------------------------------------------------------------------------------


def _structural_errors(schema: Schema, path: str, level: str) -> Iterator[FieldError]:
    if schema.get("type") == "array" and not schema.get("items"):
        yield required(f"{path}.items", "must be specified")
    if schema.get(INT_OR_STRING):
        for name in (PRESERVE, EMBEDDED):
            if schema.get(name):
                yield invalid(f"{path}.{name}", True, f"must be false if {INT_OR_STRING} is true")
    yield from _type_errors(schema, path, level)
    if schema.get(EMBEDDED):
        yield from _embedding_errors(schema, path)
    if level == _ROOT or schema.get(EMBEDDED):
        yield from _object_field_errors(schema, path, level)
    yield from _condition_errors(schema, path, is_junction=False)
    for name, inner in (schema.get("properties") or {}).items():
        is_metadata = name == "metadata" and level == _ROOT
        if not is_metadata:
            yield from _structural_errors(inner, f"{path}.properties[{name}]", _FIELD)
    for name, inner_level in (("items", _ITEM), ("additionalProperties", _FIELD)):
        if isinstance(schema.get(name), Mapping):
            yield from _structural_errors(schema[name], f"{path}.{name}", inner_level)


def _type_errors(schema: Schema, path: str, level: str) -> Iterator[FieldError]:
    kind = schema.get("type")
    if level == _ROOT and schema.get("additionalProperties") is not None:
        yield forbidden(f"{path}.additionalProperties", "must not be used at the root")
    if schema.get(EMBEDDED) and kind != "object":
        text = f"must be object if {EMBEDDED} is true"
        yield invalid(f"{path}.type", kind, text) if kind else required(f"{path}.type", text)
    elif not kind and not schema.get(INT_OR_STRING) and not schema.get(PRESERVE):
        yield required(f"{path}.type", f"must not be empty {level}")
    if level == _ROOT and kind and kind != "object":
        yield invalid(f"{path}.type", kind, "must be object at the root")


def _embedding_errors(schema: Schema, path: str) -> Iterator[FieldError]:
    if schema.get("additionalProperties") is not None:
        yield forbidden(f"{path}.additionalProperties", f"must not be used if {EMBEDDED} is set")
    if not schema.get(PRESERVE) and not schema.get("properties"):
        yield required(f"{path}.properties", f"must not be empty if {EMBEDDED} is true without {PRESERVE}")


def _object_field_errors(schema: Schema, path: str, level: str) -> Iterator[FieldError]:
    properties: Mapping[str, Schema] = schema.get("properties") or {}
    for name in ("kind", "apiVersion"):
        if name in properties and properties[name].get("type") != "string":
            yield invalid(f"{path}.properties[{name}].type", properties[name].get("type") or "", "must be string")
    meta = properties.get("metadata")
    if meta is None:
        return
    where = f"{path}.properties[metadata]"
    if meta.get("type") != "object":
        yield invalid(f"{where}.type", meta.get("type") or "", "must be object")
    extra = {*meta} - {"type", "properties", "description"} or {*(meta.get("properties") or {})} - {
        "name", "generateName"}  # fmt: skip
    if level == _ROOT and extra:
        text = "must not specify anything other than name and generateName, but metadata is implicitly specified"
        yield forbidden(where, text)


def _condition_errors(schema: Schema, path: str, *, is_junction: bool) -> Iterator[FieldError]:
    """The conditions of a schema, and all there is inside a junctor."""
    is_either = bool(schema.get(INT_OR_STRING))
    for name in _JUNCTIONS:
        for at, inner in enumerate(schema.get(name) or ()):
            if is_either and name == "anyOf" and schema[name] == _INT_OR_STRING:
                continue
            if is_either and name == "allOf" and at == 0 and inner.get("anyOf") == _INT_OR_STRING:
                continue
            yield from _junction_errors(inner, f"{path}.{name}[{at}]")
    if isinstance(schema.get("not"), Mapping):
        yield from _junction_errors(schema["not"], f"{path}.not")
    if schema.get("pattern"):
        try:
            go_pattern(schema["pattern"])
        except re.error as error:
            text = f"must be a valid regular expression, but isn't: {error}"
            yield invalid(f"{path}.pattern", schema["pattern"], text)
    if is_junction:
        for name, inner in (schema.get("properties") or {}).items():
            if name == "metadata":
                yield forbidden(f"{path}.properties[metadata]", "must not be specified in a nested context")
            yield from _junction_errors(inner, f"{path}.properties[{name}]")
        if isinstance(schema.get("items"), Mapping):
            yield from _junction_errors(schema["items"], f"{path}.items")


def _junction_errors(schema: Schema, path: str) -> Iterator[FieldError]:
    for name, why in _NOT_IN_JUNCTIONS.items():
        if schema.get(name) or (name in ("default", "additionalProperties") and schema.get(name) is not None):
            yield forbidden(f"{path}.{name}", f"{why} to be structural")
    yield from _condition_errors(schema, path, is_junction=True)


def _completeness_errors(schema: Schema, structure: Schema, path: str) -> Iterator[FieldError]:
    """Fields and items that conditions speak of must stand in the structure too."""
    for name in _JUNCTIONS:
        for at, inner in enumerate(schema.get(name) or ()):
            yield from _incomplete(inner, structure, f"{path}.{name}[{at}]", path)
    if isinstance(schema.get("not"), Mapping):
        yield from _incomplete(schema["not"], structure, f"{path}.not", path)
    for name, inner in (schema.get("properties") or {}).items():
        yield from _completeness_errors(inner, inner, f"{path}.properties[{name}]")
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), Mapping):
            yield from _completeness_errors(schema[name], schema[name], f"{path}.{name}")


def _incomplete(condition: Schema, structure: Schema, path: str, where: str) -> Iterator[FieldError]:
    properties: Mapping[str, Any] = structure.get("properties") or {}
    for name, inner in (condition.get("properties") or {}).items():
        here = f"{where}.properties[{name}]"
        if name in properties:
            yield from _incomplete(inner, properties[name], f"{path}.properties[{name}]", here)
        else:
            yield required(here, f"because it is defined in {path}.properties[{name}]")
    if isinstance(condition.get("items"), Mapping):
        if isinstance(structure.get("items"), Mapping):
            yield from _incomplete(condition["items"], structure["items"], f"{path}.items", f"{where}.items")
        else:
            yield required(f"{where}.items", f"because it is defined in {path}.items")
    for name in _JUNCTIONS:
        for at, inner in enumerate(condition.get(name) or ()):
            yield from _incomplete(inner, structure, f"{path}.{name}[{at}]", where)
    if isinstance(condition.get("not"), Mapping):
        yield from _incomplete(condition["not"], structure, f"{path}.not", where)


def _default_errors(schema: Schema, path: str) -> Iterator[FieldError]:
    if schema.get("default") is not None:
        yield from _one_default(schema, f"{path}.default")
    for name, inner in (schema.get("properties") or {}).items():
        yield from _default_errors(inner, f"{path}.properties[{name}]")
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), Mapping):
            yield from _default_errors(schema[name], f"{path}.{name}")


def _one_default(schema: Schema, field: str) -> Iterator[FieldError]:
    value = schema["default"]
    for error in validate_value(value, schema):
        inner = "" if error.field.startswith("<") else f".{error.field}"
        yield FieldError(f"{field}{inner}", error.reason, error.body)
    if isinstance(value, dict) and prune(value, schema)[1]:
        yield invalid(field, value, "must be pruned, i.e. must not have unknown fields")
