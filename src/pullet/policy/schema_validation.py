"""Whether a value is as its OpenAPI schema says, in the words of the API server's validator.

What is unchanged by an update is not held against it (`old`): a stricter schema stops nobody from writing the rest.
Rules in CEL (x-kubernetes-validations) are not evaluated.
Source: kube-openapi pkg/validation/{validate,errors}, apiextensions-apiserver pkg/apiserver/validation,
pkg/apiserver/schema/{listtype,objectmeta}.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pullet.base.jsonvalue import JsonObject
from pullet.base.values import State
from pullet.kube.custom_kind import Schema
from pullet.kube.field_error import (
    FieldError,
    duplicate,
    invalid,
    not_supported,
    quote,
    required,
    too_long,
    too_many,
    type_invalid,
)
from pullet.kube.structural import INT_OR_STRING, OBJECT_FIELDS, at_embedded, member_schema
from pullet.policy.go_pattern import go_pattern
from pullet.policy.schema_formats import INTEGER_BOUNDS, has_format

NOWHERE = "<nil>"  # where the API server's errors on alternatives stand
_UNSET: Any = object()
_EPSILON = 1e-9


def validate_object(obj: JsonObject, schema: Schema, old: JsonObject | None = None) -> list[FieldError]:
    """Rules on a whole object; its metadata has rules of its own elsewhere."""
    bare = {name: value for name, value in obj.items() if name != "metadata"}
    before = _UNSET if old is None else {name: value for name, value in old.items() if name != "metadata"}
    without = {**schema, "required": [name for name in schema.get("required") or () if name != "metadata"]}
    errors = validate_value(bare, without, before)
    at_embedded(obj, schema, lambda inner, path: _check_embedded(inner, path, errors))
    return errors


def validate_value(value: Any, schema: Schema, old: Any = _UNSET, path: str = "") -> list[FieldError]:
    """What is wrong with one value."""
    return [*_check(value, schema, path, old).errors, *_list_errors(value, schema, path, old)]


class _Outcome(State):
    """The errors of a value, and how many checks were made: of failed alternatives the closest one is told."""

    errors: list[FieldError]
    checks: int = 1

    def merge(self, other: _Outcome) -> None:
        self.errors += other.errors
        self.checks += other.checks


def _check(value: Any, schema: Schema, path: str, old: Any = _UNSET) -> _Outcome:
    outcome = _Outcome([])
    if old is not _UNSET and value == old and type(value) is type(old):
        return outcome
    wrong_type = _type_error(value, schema, path)
    if wrong_type is not None:
        outcome.errors.append(wrong_type)
    if value is not None:
        _check_alternatives(value, schema, path, outcome)
        match value:
            case str() if wrong_type is None:
                outcome.errors += _string_errors(value, schema, path)
            case bool():
                pass
            case int() | float() if wrong_type is None:
                outcome.errors += _number_errors(value, schema, path)
            case list():
                _check_list(value, schema, path, old, outcome)
            case Mapping():
                _check_map(value, schema, path, old, outcome)
            case _:
                pass
    allowed = schema.get("enum")
    if allowed and not any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in allowed):
        names = [one if isinstance(one, str) else json.dumps(one, separators=(",", ":")) for one in allowed]
        outcome.errors.append(not_supported(_field(path), value, names))
    return outcome


def _field(path: str) -> str:
    return path.removeprefix(".") or NOWHERE


def _json_type(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case str():
            return "string"
        case int():
            return "integer"
        case float():
            return "number"
        case list():
            return "array"
        case _:
            return "object"


def _type_error(value: Any, schema: Schema, path: str) -> FieldError | None:
    wanted = ["integer", "string"] if schema.get(INT_OR_STRING) else [schema["type"]] if schema.get("type") else []
    have = _json_type(value)
    if not wanted or have in wanted or (value is None and schema.get("nullable")):
        return None
    if "integer" in wanted and isinstance(value, float) and value.is_integer():
        return None
    if wanted == ["number"] and have == "integer":
        return None
    return _mistyped(path, ",".join(wanted), have)


def _mistyped(path: str, wanted: str, shown: str) -> FieldError:
    return type_invalid(_field(path), shown, f"{path} in body must be of type {wanted}: {quote(shown)}")


def _string_errors(value: str, schema: Schema, path: str) -> Iterator[FieldError]:
    field = _field(path)
    longest, shortest, pattern = schema.get("maxLength"), schema.get("minLength"), schema.get("pattern")
    if longest is not None and len(value) > longest:
        yield too_long(field, longest)
    if shortest is not None and len(value) < shortest:
        yield invalid(field, value, f"{path} in body should be at least {shortest} chars long")
    if pattern and not go_pattern(pattern).search(value):
        yield invalid(field, value, f"{path} in body should match '{pattern}'")
    if schema.get("format") and not has_format(value, schema["format"]):
        yield _mistyped(path, schema["format"], value)


def _number_errors(value: float, schema: Schema, path: str) -> Iterator[FieldError]:
    field, form = _field(path), schema.get("format")
    bounds = INTEGER_BOUNDS.get(form or "") if schema.get("type") == "integer" else None
    if bounds is not None and not bounds[0] <= value <= bounds[1]:
        text = f"Checked value must be of type integer with format {form} in {path}"
        yield FieldError(NOWHERE, "FieldValueInvalid", f'Invalid value: "": {text}')
    step = schema.get("multipleOf")
    if step and not _is_whole(value / step):
        yield invalid(field, value, f"{path} in body should be a multiple of {_number(step)}")
    most, least = schema.get("maximum"), schema.get("minimum")
    if most is not None and (value >= most if schema.get("exclusiveMaximum") else value > most):
        words = "less than" if schema.get("exclusiveMaximum") else "less than or equal to"
        yield invalid(field, value, f"{path} in body should be {words} {_number(most)}")
    if least is not None and (value <= least if schema.get("exclusiveMinimum") else value < least):
        words = "greater than" if schema.get("exclusiveMinimum") else "greater than or equal to"
        yield invalid(field, value, f"{path} in body should be {words} {_number(least)}")


def _is_whole(value: float) -> bool:
    """Whether a quotient is an integer, as far as floating point can tell."""
    return abs(value - round(value)) <= abs(value) * _EPSILON


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else str(value)


def _check_list(value: list[Any], schema: Schema, path: str, old: Any, outcome: _Outcome) -> None:
    most, least, items = schema.get("maxItems"), schema.get("minItems"), schema.get("items")
    if isinstance(items, Mapping):
        before = _items_by_key(old, schema)
        for at, item in enumerate(value):
            known = before.get(_item_key(item, schema), _UNSET) if before else _UNSET
            outcome.merge(_check(item, items, f"{path}[{at}]", known))
    if least is not None and len(value) < least:
        text = f"{path} in body should have at least {least} items"
        outcome.errors.append(invalid(_field(path), len(value), text))
    if most is not None and len(value) > most:
        outcome.errors.append(too_many(_field(path), len(value), most))


def _check_map(value: Mapping[str, Any], schema: Schema, path: str, old: Any, outcome: _Outcome) -> None:
    most, least = schema.get("maxProperties"), schema.get("minProperties")
    if least is not None and len(value) < least:
        text = f"{path} in body should have at least {least} properties"
        outcome.errors.append(invalid(_field(path), len(value), text))
    if most is not None and len(value) > most:
        outcome.errors.append(too_many(_field(path), len(value), most))
    before = old if isinstance(old, Mapping) else {}
    for name, item in value.items():
        inner = member_schema(schema, name)
        if inner is not None:
            outcome.merge(_check(item, inner, f"{path}.{name}" if path else name, before.get(name, _UNSET)))
    outcome.errors += [required(_field(f"{path}.{name}")) for name in schema.get("required") or () if name not in value]


def _check_alternatives(value: Any, schema: Schema, path: str, outcome: _Outcome) -> None:
    """Junctors see the whole value: what of it an update left alone may decide which alternative holds."""
    name = quote(path)
    if schema.get("anyOf"):
        results = [_check(value, each, path) for each in schema["anyOf"]]
        if all(result.errors for result in results):
            outcome.errors.append(_alternative(f"{name} must validate at least one schema (anyOf)"))
            outcome.merge(max(results, key=lambda result: result.checks))
    if schema.get("oneOf"):
        results = [_check(value, each, path) for each in schema["oneOf"]]
        valid = sum(not result.errors for result in results)
        if valid != 1:
            found = f"Found {valid} valid alternatives" if valid else "Found none valid"
            outcome.errors.append(_alternative(f"{name} must validate one and only one schema (oneOf). {found}"))
        if not valid:
            outcome.merge(max(results, key=lambda result: result.checks))
    if schema.get("allOf"):
        results = [_check(value, each, path) for each in schema["allOf"]]
        for result in results:
            outcome.merge(result)
        valid = sum(not result.errors for result in results)
        if valid != len(results):
            more = "" if valid else ". None validated"
            outcome.errors.append(_alternative(f"{name} must validate all the schemas (allOf){more}"))
    if schema.get("not") is not None and not _check(value, schema["not"], path).errors:
        outcome.errors.append(_alternative(f"{name} must not validate the schema (not)"))


def _alternative(text: str) -> FieldError:
    return FieldError(NOWHERE, "FieldValueInvalid", f'Invalid value: "": {text}')


# lists that are sets or maps ------------------------------------------------------------------------------------------


def _item_key(item: Any, schema: Schema) -> str:
    if schema.get("x-kubernetes-list-type") == "map" and isinstance(item, Mapping):
        keys: Sequence[str] = schema.get("x-kubernetes-list-map-keys") or ()
        item = {key: item[key] for key in keys if key in item}
    return json.dumps(item, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _items_by_key(old: Any, schema: Schema) -> dict[str, Any]:
    is_map = schema.get("x-kubernetes-list-type") == "map" and isinstance(old, list)
    return {_item_key(item, schema): item for item in old} if is_map else {}


def _list_errors(value: Any, schema: Schema, path: str, old: Any) -> list[FieldError]:
    """Items that a set or map has twice, here and below."""
    if old is not _UNSET and value == old:
        return []
    errors: list[FieldError] = []
    if isinstance(value, list):
        if schema.get("x-kubernetes-list-type") in ("map", "set"):
            seen: set[str] = set()
            for at, item in enumerate(value):
                key = _item_key(item, schema)
                if key in seen:
                    errors.append(duplicate(_field(f"{path}[{at}]"), json.loads(key)))
                seen.add(key)
        items = schema.get("items")
        if isinstance(items, Mapping):
            for at, item in enumerate(value):
                errors += _list_errors(item, items, f"{path}[{at}]", _UNSET)
    elif isinstance(value, Mapping):
        before = old if isinstance(old, Mapping) else {}
        for name, item in value.items():
            inner = member_schema(schema, name)
            if inner is not None:
                here = f"{path}.{name}" if path else name
                errors += _list_errors(item, inner, here, before.get(name, _UNSET))
    return errors


def _check_embedded(obj: JsonObject, path: str, errors: list[FieldError]) -> JsonObject:
    errors += [
        required(f"{path}.{name}", "must not be empty")
        for name in OBJECT_FIELDS
        if name != "metadata" and not obj.get(name)
    ]
    return obj
