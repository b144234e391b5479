"""Values against OpenAPI schemas, in the API server's words."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pullet.policy.schema_formats import FORMATS, has_format
from pullet.policy.schema_validation import validate_object, validate_value

STRING, INTEGER = {"type": "string"}, {"type": "integer"}


def texts(value: Any, schema: dict[str, Any]) -> list[str]:
    """The errors of `{"x": value}` where x has the schema."""
    return [str(error) for error in validate_value({"x": value}, {"type": "object", "properties": {"x": schema}})]


@pytest.mark.parametrize(
    ("value", "schema", "wrong"),
    [
        ("a", INTEGER, 'x: Invalid value: "string": x in body must be of type integer: "string"'),
        (True, INTEGER, 'x: Invalid value: "boolean": x in body must be of type integer: "boolean"'),
        (1.5, INTEGER, 'x: Invalid value: "number": x in body must be of type integer: "number"'),
        (None, STRING, 'x: Invalid value: "null": x in body must be of type string: "null"'),
        ([], {"type": "object"}, 'x: Invalid value: "array": x in body must be of type object: "array"'),
        ("c", {"enum": ["a", "b"]}, 'x: Unsupported value: "c": supported values: "a", "b"'),
        (True, {"enum": [1]}, 'x: Unsupported value: true: supported values: "1"'),
        ("ab", {"type": "string", "maxLength": 1}, "x: Too long: may not be more than 1 bytes"),
        ("a", {"type": "string", "minLength": 2}, 'x: Invalid value: "a": x in body should be at least 2 chars long'),
        ("a", {"type": "string", "pattern": "^b"}, "x: Invalid value: \"a\": x in body should match '^b'"),
        ("a", {"type": "string", "format": "ipv4"}, 'x: Invalid value: "a": x in body must be of type ipv4: "a"'),
        (3, {"type": "integer", "maximum": 2}, "x: Invalid value: 3: x in body should be less than or equal to 2"),
        (2, {"type": "integer", "maximum": 2, "exclusiveMaximum": True},
         "x: Invalid value: 2: x in body should be less than 2"),
        (0, {"type": "number", "minimum": 0.5},
         "x: Invalid value: 0: x in body should be greater than or equal to 0.5"),
        (0, {"type": "integer", "minimum": 0, "exclusiveMinimum": True},
         "x: Invalid value: 0: x in body should be greater than 0"),
        (3, {"type": "integer", "multipleOf": 2}, "x: Invalid value: 3: x in body should be a multiple of 2"),
        (2**31, {"type": "integer", "format": "int32"},
         '<nil>: Invalid value: "": Checked value must be of type integer with format int32 in x'),
        ([1, 2], {"type": "array", "maxItems": 1}, "x: Too many: 2: must have at most 1 items"),
        ([], {"type": "array", "minItems": 1}, "x: Invalid value: 0: x in body should have at least 1 items"),
        (["a"], {"type": "array", "items": INTEGER},
         'x[0]: Invalid value: "string": x[0] in body must be of type integer: "string"'),
        ({}, {"type": "object", "minProperties": 1},
         "x: Invalid value: 0: x in body should have at least 1 properties"),
        ({"a": 1, "b": 2}, {"type": "object", "maxProperties": 1}, "x: Too many: 2: must have at most 1 items"),
        ({}, {"type": "object", "required": ["a"]}, "x.a: Required value"),
        ({"k": 1}, {"type": "object", "additionalProperties": STRING},
         'x.k: Invalid value: "integer": x.k in body must be of type string: "integer"'),
        (True, {"x-kubernetes-int-or-string": True},
         'x: Invalid value: "boolean": x in body must be of type integer,string: "boolean"'),
        ({}, {"type": "object", "not": {"properties": {}}},
         '<nil>: Invalid value: "": "x" must not validate the schema (not)'),
        (["a", "a"], {"type": "array", "x-kubernetes-list-type": "set", "items": STRING}, 'x[1]: Duplicate value: "a"'),
    ],
)  # fmt: skip
def test_one_thing_wrong(value: Any, schema: dict[str, Any], wrong: str) -> None:
    assert texts(value, schema) == [wrong]


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        (1.0, INTEGER),
        (1, {"type": "number"}),
        (None, {"type": "string", "nullable": True}),
        ("héé", {"type": "string", "maxLength": 3}),
        ("80%", {"x-kubernetes-int-or-string": True}),
        (80, {"x-kubernetes-int-or-string": True, "anyOf": [INTEGER, STRING]}),
        ("anything", {"type": "string", "format": "moon"}),
        (0.3, {"type": "number", "multipleOf": 0.1}),
    ],
)
def test_nothing_wrong(value: Any, schema: dict[str, Any]) -> None:
    assert texts(value, schema) == []


def test_alternatives_tell_what_failed_and_the_closest_of_them() -> None:
    one_of = {"type": "object", "oneOf": [{"required": ["a"]}, {"required": ["b"]}]}
    assert texts({}, one_of) == [
        '<nil>: Invalid value: "": "x" must validate one and only one schema (oneOf). Found none valid',
        "x.a: Required value",
    ]
    assert texts({"a": 1, "b": 1}, one_of) == [
        '<nil>: Invalid value: "": "x" must validate one and only one schema (oneOf). Found 2 valid alternatives'
    ]
    assert texts({"a": 1}, one_of) == []
    any_of = {"type": "object", "anyOf": one_of["oneOf"]}
    assert texts({}, any_of)[0] == '<nil>: Invalid value: "": "x" must validate at least one schema (anyOf)'
    assert texts({"a": 1, "b": 1}, any_of) == []
    all_of = {"type": "object", "allOf": one_of["oneOf"]}
    assert texts({"a": 1}, all_of) == [
        "x.b: Required value", '<nil>: Invalid value: "": "x" must validate all the schemas (allOf)'
    ]  # fmt: skip
    assert texts({}, all_of)[-1].endswith("(allOf). None validated")


def test_what_an_update_leaves_alone_is_not_held_against_it() -> None:
    items = {"type": "object", "properties": {"k": STRING, "n": {"type": "integer", "maximum": 1}}}
    schema = {"type": "object", "properties": {
        "a": {"type": "integer", "maximum": 1}, "b": STRING,
        "l": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "items": items},
    }}  # fmt: skip
    old: dict[str, Any] = {"a": 5, "b": "x", "l": [{"k": "1", "n": 5}, {"k": "2", "n": 0}]}
    assert validate_object({**old, "b": "y"}, schema, old) == []
    assert validate_object({**old, "l": [{"k": "0", "n": 0}, *old["l"]]}, schema, old) == []
    assert [error.field for error in validate_object({**old, "a": 6}, schema, old)] == ["a"]
    assert [error.field for error in validate_object({**old, "l": [{"k": "1", "n": 6}]}, schema, old)] == ["l[0].n"]
    assert [error.field for error in validate_object(old, schema)] == ["a", "l[0].n"]


def test_an_unchanged_part_does_not_make_another_alternative_hold() -> None:
    schema = {"type": "object", "properties": {"a": INTEGER, "b": INTEGER},
              "oneOf": [{"properties": {"a": {"minimum": 1}}}, {"properties": {"a": {"maximum": 0}}}]}  # fmt: skip
    assert validate_value({"a": 1, "b": 2}, schema, {"a": 1, "b": 1}) == []


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("byte", "aGk=", "aGk"), ("cidr", "10.0.0.0/8", "10.0.0.0"), ("date", "2026-01-02", "2026-13-02"),
        ("date-time", "2026-01-02T03:04:05Z", "2026-01-02"), ("duration", "1h30m", "soon"),
        ("email", "a@b.example", "a.b"), ("hostname", "a.example", "-a"), ("ipv4", "10.0.0.1", "10.0.0.256"),
        ("ipv6", "::1", "10.0.0.1"), ("mac", "00:11:22:33:44:55", "00:11"), ("uri", "https://a.example/b", "a b"),
        ("uuid", "123e4567-e89b-12d3-a456-426614174000", "123e"), ("uuid4", "123e4567-e89b-42d3-a456-426614174000",
        "123e4567-e89b-12d3-a456-426614174000"), ("hexcolor", "#abc", "#ab"), ("k8s-short-name", "a-b", "a.b"),
        ("k8s-long-name", "a.b", "A"), ("isbn", "0-306-40615-2", "1"), ("rgbcolor", "rgb(1,2,3)", "rgb"),
    ],
)  # fmt: skip
def test_formats(name: str, good: str, bad: str) -> None:
    assert has_format(good, name)
    assert not has_format(bad, name)


@given(st.sampled_from(sorted(FORMATS)), st.text())
def test_no_text_is_too_odd_to_be_looked_at(name: str, text: str) -> None:
    assert has_format(text, name) in (True, False)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
_leaves = st.fixed_dictionaries(
    {"type": st.sampled_from(["string", "integer", "number", "boolean"])},
    optional={
        "nullable": st.booleans(), "enum": st.lists(_json, min_size=1, max_size=2), "minimum": st.integers(-3, 3),
        "maximum": st.floats(-3, 3), "multipleOf": st.integers(1, 3), "maxLength": st.integers(0, 2),
        "format": st.sampled_from(["int32", "ipv4", "date-time"]), "pattern": st.sampled_from(["^a$", "[[:digit:]]"]),
    },
)  # fmt: skip
_schemas = st.recursive(
    _leaves,
    lambda inner: (
        st.builds(lambda items, kind: {"type": "array", "items": items, "x-kubernetes-list-type": kind}, inner,
                  st.sampled_from(["atomic", "set"]))
        | st.builds(lambda below, needed: {"type": "object", "properties": below, "required": needed},
                    st.dictionaries(st.sampled_from("abc"), inner), st.lists(st.sampled_from("abc")))
        | st.builds(lambda some, how: {"type": "object", how: some}, st.lists(inner, min_size=1, max_size=2),
                    st.sampled_from(["anyOf", "oneOf", "allOf"]))
    ),
    max_leaves=6,
)  # fmt: skip


@given(_schemas, _json, _json)
def test_any_value_meets_any_schema(schema: dict[str, Any], value: Any, old: Any) -> None:
    wrong = [str(error) for error in validate_value(value, schema)]
    assert validate_value(value, schema, value) == [], "what an update leaves alone is never wrong"
    changed = [str(error) for error in validate_value(value, schema, old)]
    if not wrong:
        assert changed == [], "what is right is right whatever it was before"
