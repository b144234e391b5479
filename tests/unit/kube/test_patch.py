"""JSON patch, merge patch and strategic merge."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pullet.kube.patch import PatchError, json_patch, merge_patch
from pullet.kube.strategic_merge import strategic_merge

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [  # the table of RFC 7386, appendix A
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patch(target: Any, patch: Any, result: Any) -> None:
    assert merge_patch(target, patch) == result


@pytest.mark.parametrize(
    ("target", "operations", "result"),
    [
        ({"a": 1}, [{"op": "add", "path": "/b", "value": 2}], {"a": 1, "b": 2}),
        ({"a": [1, 3]}, [{"op": "add", "path": "/a/1", "value": 2}], {"a": [1, 2, 3]}),
        ({"a": [1]}, [{"op": "add", "path": "/a/-", "value": 2}], {"a": [1, 2]}),
        ({"a": 1}, [{"op": "remove", "path": "/a"}], {}),
        ({"a": {"b/c": 1}}, [{"op": "replace", "path": "/a/b~1c", "value": 2}], {"a": {"b/c": 2}}),
        ({"a": 1}, [{"op": "move", "from": "/a", "path": "/b"}], {"b": 1}),
        ({"a": [1]}, [{"op": "copy", "from": "/a/0", "path": "/b"}], {"a": [1], "b": 1}),
        ({"a": 1}, [{"op": "test", "path": "/a", "value": 1}], {"a": 1}),
    ],
)
def test_json_patch(target: Any, operations: Any, result: Any) -> None:
    before = copy.deepcopy(target)
    assert json_patch(target, operations) == result
    assert target == before, "the input is left alone"


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "remove", "path": "/missing"},
        {"op": "replace", "path": "/missing", "value": 1},
        {"op": "add", "path": "/missing/deeper", "value": 1},
        {"op": "test", "path": "/a", "value": 2},
        {"op": "add", "path": "/list/9", "value": 1},
        {"op": "add", "path": "/list/01", "value": 1},
        {"op": "add", "path": "a", "value": 1},
        {"op": "add", "path": "/a"},
        {"op": "spoil", "path": "/a"},
        {"op": "move", "path": "/object/inner", "from": "/object"},
        {"path": "/a"},
        "nonsense",
    ],
)
def test_a_json_patch_that_does_not_apply_is_refused(operation: Any) -> None:
    with pytest.raises(PatchError):
        json_patch({"a": 1, "list": [0], "object": {}}, [operation])


@given(JSON, JSON)
def test_a_merge_patch_twice_is_as_once(target: Any, patch: Any) -> None:
    once = merge_patch(target, patch)
    assert merge_patch(once, patch) == once


SCHEMA: dict[str, Any] = {
    "properties": {
        "containers": {
            "items": {"$ref": "container"},
            "x-kubernetes-patch-strategy": "merge",
            "x-kubernetes-patch-merge-key": "name",
        },
        "finalizers": {"items": {"type": "string"}, "x-kubernetes-patch-strategy": "merge"},
        "args": {"items": {"type": "string"}},
        "strategy": {"$ref": "strategy", "x-kubernetes-patch-strategy": "retainKeys"},
        "labels": {"additionalProperties": {"type": "string"}},
    }
}
DEFINITIONS: dict[str, Any] = {
    "container": {
        "properties": {
            "name": {},
            "image": {},
            "env": {
                "items": {"$ref": "env"},
                "x-kubernetes-patch-strategy": "merge",
                "x-kubernetes-patch-merge-key": "name",
            },
        }
    },
    "env": {"properties": {"name": {}, "value": {}}},
    "strategy": {"properties": {"type": {}, "rollingUpdate": {}}},
}


def merge(original: Any, patch: Any) -> Any:
    def resolve(schema: Mapping[str, Any]) -> Mapping[str, Any]:
        found: Mapping[str, Any] = DEFINITIONS[schema["$ref"]] if "$ref" in schema else schema
        return found

    return strategic_merge(original, patch, SCHEMA, resolve)


TWO = {"containers": [{"name": "a", "image": "1", "env": [{"name": "X", "value": "1"}]}, {"name": "b", "image": "2"}]}


def test_lists_merge_by_key_at_every_depth() -> None:
    patch = {"containers": [{"name": "a", "env": [{"name": "Y", "value": "2"}]}, {"name": "c", "image": "3"}]}
    merged = merge(TWO, patch)["containers"]
    assert [item["name"] for item in merged] == ["a", "b", "c"]
    assert merged[0] == {
        "name": "a",
        "image": "1",
        "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}],
    }


def test_items_are_deleted_and_lists_replaced_by_directive() -> None:
    assert [c["name"] for c in merge(TWO, {"containers": [{"name": "a", "$patch": "delete"}]})["containers"]] == ["b"]
    replaced = merge(TWO, {"containers": [{"$patch": "replace"}, {"name": "z"}]})
    assert replaced["containers"] == [{"name": "z"}]


def test_element_order_is_obeyed() -> None:
    patch = {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}], "containers": [{"name": "b", "image": "9"}]}
    assert [c["name"] for c in merge(TWO, patch)["containers"]] == ["b", "a"]
    assert [
        c["name"] for c in merge(TWO, {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]})["containers"]
    ] == [
        "b",
        "a",
    ]


def test_primitive_lists_unite_and_shrink() -> None:
    original = {"finalizers": ["x", "y"], "args": ["1"]}
    assert merge(original, {"finalizers": ["y", "z"]})["finalizers"] == ["x", "y", "z"]
    assert merge(original, {"$deleteFromPrimitiveList/finalizers": ["x"]})["finalizers"] == ["y"]
    assert merge(original, {"args": ["2"]})["args"] == ["2"]


def test_retained_keys_drop_the_rest() -> None:
    original = {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}
    assert merge(original, {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}) == {
        "strategy": {"type": "Recreate"}
    }


def test_null_deletes_and_maps_merge() -> None:
    assert merge({"labels": {"a": "1", "b": "2"}}, {"labels": {"a": None, "c": "3"}}) == {
        "labels": {"b": "2", "c": "3"}
    }


def test_an_item_without_its_key_and_an_unknown_directive_are_refused() -> None:
    with pytest.raises(PatchError, match="does not contain declared merge key: name"):
        merge(TWO, {"containers": [{"image": "x"}]})
    with pytest.raises(PatchError, match="unknown patch type found: spoil"):
        merge(TWO, {"$patch": "spoil"})
