"""Pruning and defaults by structural schemas."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pullet.kube.structural import prune, subschemas, with_defaults

STRING: dict[str, Any] = {"type": "string"}
PRESERVE = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": STRING,
        "size": {"type": "integer", "default": 1},
        "maybe": {"type": "string", "nullable": True, "default": "x"},
        "list": {"type": "array", "items": {"type": "object", "properties": {"a": STRING, "b": {"default": 2}}}},
        "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"a": STRING}}},
        "open": {**PRESERVE, "properties": {"closed": {"type": "object", "properties": {"a": STRING}}}},
        "inner": {"type": "object", "default": {}, "properties": {"deep": {"type": "string", "default": "d"}}},
        "template": {**PRESERVE, "x-kubernetes-embedded-resource": True},
        "strict": {
            "type": "object",
            "x-kubernetes-embedded-resource": True,
            "properties": {"spec": {"type": "object"}},
        },
    },
}


@pytest.mark.parametrize(
    ("obj", "pruned", "unknown"),
    [
        ({"apiVersion": "a/v1", "kind": "K", "metadata": {"x": 1}}, None, []),
        ({"name": "n", "other": 1}, {"name": "n"}, ["other"]),
        ({"list": [{"a": "1", "c": 2}, {}]}, {"list": [{"a": "1"}, {}]}, ["list[0].c"]),
        ({"map": {"k": {"a": "1", "c": 2}}}, {"map": {"k": {"a": "1"}}}, ["map.k.c"]),
        ({"open": {"any": {"at": "all"}, "closed": {"a": "1", "c": 2}}},
         {"open": {"any": {"at": "all"}, "closed": {"a": "1"}}}, ["open.closed.c"]),
        ({"template": {"kind": "P", "metadata": {}, "spec": {"x": 1}}}, None, []),
        ({"strict": {"kind": "P", "metadata": {}, "spec": {"x": 1}, "y": 1}},
         {"strict": {"kind": "P", "metadata": {}, "spec": {}}}, ["strict.spec.x", "strict.y"]),
        ({"name": {"of": "the wrong type"}}, {"name": {}}, ["name.of"]),
    ],
)  # fmt: skip
def test_what_the_schema_does_not_know_is_pruned(obj: Any, pruned: Any, unknown: list[str]) -> None:
    before = copy.deepcopy(obj)
    found, names = prune(obj, SCHEMA)
    assert (found, names) == (before if pruned is None else pruned, unknown)
    assert obj == before
    assert pruned is not None or found is obj, "what needs no pruning is handed back as it is"


@pytest.mark.parametrize(
    ("obj", "filled"),
    [
        ({}, {"size": 1, "maybe": "x", "inner": {"deep": "d"}}),
        ({"size": None, "maybe": None, "inner": {}}, {"size": 1, "maybe": None, "inner": {"deep": "d"}}),
        ({"size": 0, "maybe": "", "inner": {"deep": ""}}, {"size": 0, "maybe": "", "inner": {"deep": ""}}),
        ({"name": None}, {"size": 1, "maybe": "x", "inner": {"deep": "d"}}),
        ({"list": [{"a": "1"}], "size": 1, "maybe": "", "inner": {"deep": ""}},
         {"list": [{"a": "1", "b": 2}], "size": 1, "maybe": "", "inner": {"deep": ""}}),
    ],
)  # fmt: skip
def test_defaults_fill_what_is_absent(obj: Any, filled: Any) -> None:
    before = copy.deepcopy(obj)
    assert with_defaults(obj, SCHEMA) == filled
    assert obj == before
    again = with_defaults(filled, SCHEMA)
    assert again is filled


def test_a_default_is_never_shared() -> None:
    first, second = with_defaults({}, SCHEMA), with_defaults({}, SCHEMA)
    first["inner"]["deep"] = "changed"
    assert second["inner"] == {"deep": "d"}
    assert SCHEMA["properties"]["inner"]["default"] == {}


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*SCHEMA["properties"], "a", "b"]), inner)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from([*SCHEMA["properties"], "metadata", "c"]), _json))
def test_shaping_twice_is_shaping_once_and_changes_nothing_in_place(obj: dict[str, Any]) -> None:
    before = copy.deepcopy(obj)
    pruned, unknown = prune(obj, SCHEMA)
    assert prune(pruned, SCHEMA) == (pruned, [])
    assert bool(unknown) == (pruned != obj)
    filled = with_defaults(pruned, SCHEMA)
    assert with_defaults(filled, SCHEMA) == filled
    assert prune(filled, SCHEMA)[1] == []
    assert obj == before


def test_every_schema_below_is_named_by_its_path() -> None:
    schema = {"properties": {"a": {"items": STRING}}, "anyOf": [{"required": ["a"]}], "not": {}}
    assert [path for path, _ in subschemas(schema)] == [
        "",
        ".properties[a]",
        ".properties[a].items",
        ".not",
        ".anyOf[0]",
    ]
