"""Sets of fields: the FieldsV1 spelling, and the laws of collect, compare, merge and remove."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pullet.kube.field_sets import FieldWalker, from_fields_v1, path_text, to_fields_v1

SCHEMA: dict[str, Any] = {
    "properties": {
        "a": {"type": "string"},
        "map": {"type": "object", "additionalProperties": {"type": "string"}},
        "one": {"type": "object", "x-kubernetes-map-type": "atomic", "additionalProperties": {"type": "string"}},
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "atoms": {"type": "array", "items": {"type": "string"}},
        "items": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
            "items": {"properties": {"name": {"type": "string"}, "v": {"type": "string"}}},
        },
    }
}
WALKER = FieldWalker(lambda schema: schema)


def _name(item: Any) -> str:
    return str(item["name"])


texts = st.text("abc", min_size=1, max_size=2)
objects = st.fixed_dictionaries(
    {},
    optional={
        "a": texts,
        "map": st.dictionaries(texts, texts, min_size=1, max_size=3),
        "one": st.dictionaries(texts, texts, min_size=1, max_size=2),
        "set": st.lists(texts, unique=True, min_size=1, max_size=3),
        "atoms": st.lists(texts, min_size=1, max_size=3),
        "items": st.lists(
            st.fixed_dictionaries({"name": texts}, optional={"v": texts}),
            min_size=1, max_size=3, unique_by=_name,
        ),
    },
)  # fmt: skip


@given(objects)
def test_fields_survive_their_spelling(value: dict[str, Any]) -> None:
    fields = WALKER.collect(value, SCHEMA)
    assert from_fields_v1(to_fields_v1(fields)) == fields


@given(objects, objects)
def test_a_merge_states_everything_the_configuration_does(live: dict[str, Any], config: dict[str, Any]) -> None:
    merged = WALKER.merge(live, config, SCHEMA)
    assert WALKER.collect(config, SCHEMA) <= WALKER.collect(merged, SCHEMA)
    assert WALKER.merge(merged, config, SCHEMA) == merged
    changed = WALKER.compare(live, merged, SCHEMA)
    assert not changed.removed


@given(objects, objects)
def test_a_comparison_tells_what_came_and_what_went(old: dict[str, Any], new: dict[str, Any]) -> None:
    comparison = WALKER.compare(old, new, SCHEMA)
    before, after = WALKER.collect(old, SCHEMA), WALKER.collect(new, SCHEMA)
    assert after - before <= comparison.changed
    assert before - after <= comparison.removed | {path for path in before if path in comparison.changed}
    assert WALKER.compare(new, new, SCHEMA).changed == set()


@given(objects, objects)
def test_removal_takes_its_fields_and_no_others(value: dict[str, Any], other: dict[str, Any]) -> None:
    fields, kept = WALKER.collect(value, SCHEMA), WALKER.collect(other, SCHEMA)
    merged = WALKER.merge(value, other, SCHEMA)
    left = WALKER.remove(merged, fields - kept, kept, SCHEMA) or {}
    assert WALKER.collect(left, SCHEMA) == kept


def test_paths_read_as_the_api_spells_them() -> None:
    assert path_text(("f:spec", 'k:{"name":"c"}', "f:image")) == '.spec[name="c"].image'
    assert path_text(("f:x", 'v:"y"')) == '.x[="y"]'
