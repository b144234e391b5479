"""Who owns what after updates and applies, case by case as structured-merge-diff decides them.

Source: structured-merge-diff merge/{set,nested,duplicates,multiple_appliers,leaf,conflict}_test.go.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from pullet.kube.field_sets import DuplicateItemError, FieldWalker, path_text
from pullet.kube.ownership import ApplyConflictError, Writer, apply_configuration, managers_of, track_update

SCHEMA: dict[str, Any] = {
    "properties": {
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "list": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
            "items": {"properties": {"name": {"type": "string"}, "value": {"type": "integer"}, "x": {}}},
        },
        "atoms": {"type": "array", "items": {"type": "string"}},
        "map": {"type": "object", "additionalProperties": {"type": "string"}},
        "one": {"type": "object", "x-kubernetes-map-type": "atomic", "additionalProperties": {"type": "string"}},
        "leaf": {"type": "string"},
        "struct": {"properties": {"a": {"type": "string"}, "b": {"type": "string"}}},
        "metadata": {"properties": {}},
    }
}
WALKER = FieldWalker(lambda schema: schema)


@dataclass
class Cluster:
    """One object that managers write."""

    live: dict[str, Any] = field(default_factory=lambda: {"metadata": {}})

    def update(self, manager: str, **parts: Any) -> None:
        """Write the whole object."""
        new = {"metadata": {**self.live["metadata"]}, **parts}
        track_update(self.live, new, Writer(manager, "v1", "", "t"), SCHEMA, WALKER)
        self.live = new

    def apply(self, manager: str, *, force: bool = False, **parts: Any) -> None:
        """Apply a configuration."""
        config = {"metadata": {}, **parts}
        self.live = apply_configuration(self.live, config, Writer(manager, "v1", "", "t"), SCHEMA, WALKER, force=force)

    def conflicts(self, manager: str, **parts: Any) -> list[tuple[str, str]]:
        """Whom an apply would disturb, and where."""
        with pytest.raises(ApplyConflictError) as raised:
            self.apply(manager, **parts)
        return [(manager.split('"')[1], path) for manager, path in raised.value.facts]

    @property
    def state(self) -> dict[str, Any]:
        """The object without its metadata."""
        return {key: value for key, value in self.live.items() if key != "metadata"}

    @property
    def owners(self) -> dict[str, set[str]]:
        """Paths by manager."""
        return {each.name: {path_text(path) for path in each.fields} for each in managers_of(self.live)}


@pytest.mark.parametrize(
    ("live", "config", "merged"),
    [
        ("ac", "abcd", "abcd"),
        ("abcd", "adcb", "adcb"),
        ("abcd", "ab", "abcd"),
        ("abcd", "ba", "bcda"),
        ("abcd", "axcy", "abxcdy"),
        ("abc", "ca", "bca"),
        ("abc", "xyz", "abcxyz"),
        ("", "ba", "ba"),
        ("abc", "", "abc"),
        ("abcde", "edcba", "edcba"),
    ],
)
def test_a_merged_list_has_the_order_of_the_configuration(live: str, config: str, merged: str) -> None:
    sets = WALKER.merge({"set": list(live)}, {"set": list(config)}, SCHEMA)
    assert "".join(sets["set"]) == merged
    items = WALKER.merge(
        {"list": [{"name": name, "value": 1} for name in live]}, {"list": [{"name": name} for name in config]}, SCHEMA
    )
    assert "".join(item["name"] for item in items["list"]) == merged
    assert all(item.get("value") == 1 for item in items["list"] if item["name"] in live), "shared items keep the rest"


def test_updaters_and_appliers_share_a_set() -> None:
    one = Cluster()
    one.apply("default", set=["a", "c"])
    one.update("controller", set=["a", "b", "c", "d"])
    one.apply("default", set=["a", "b", "c"])
    assert one.state == {"set": ["a", "b", "c", "d"]}
    assert one.owners == {
        "default": {'.set[="a"]', '.set[="b"]', '.set[="c"]'},
        "controller": {'.set[="b"]', '.set[="d"]'},
    }
    one.apply("default", set=["a"])
    assert one.state == {"set": ["a", "d"]}, "what an updater owns too does not stay when its applier drops it"


def test_a_field_dropped_by_one_applier_stays_for_another() -> None:
    one = Cluster()
    one.apply("first", map={"a": "1", "b": "2"}, list=[{"name": "x", "value": 1}])
    one.apply("second", map={"b": "2"}, list=[{"name": "x"}])
    one.apply("first", leaf="z")
    assert one.state == {"map": {"b": "2"}, "list": [{"name": "x"}], "leaf": "z"}
    one.apply("second")
    assert one.state == {"leaf": "z"}
    assert one.owners == {"first": {".leaf"}}


def test_an_item_that_its_applier_drops_takes_along_what_updaters_put_there() -> None:
    one = Cluster()
    one.apply("applier", list=[{"name": "a", "value": 1}])
    one.update("updater", list=[{"name": "a", "value": 1, "x": "y"}])
    one.apply("applier", leaf="z")
    assert one.state == {"leaf": "z"}
    assert one.owners == {"applier": {".leaf"}}


def test_an_item_stays_while_another_applier_owns_a_part_of_it() -> None:
    one = Cluster()
    one.apply("first", list=[{"name": "a", "value": 1}])
    one.apply("second", list=[{"name": "a", "x": "y"}])
    one.apply("first")
    assert one.state == {"list": [{"name": "a", "x": "y"}]}
    assert one.owners == {"second": {'.list[name="a"]', '.list[name="a"].name', '.list[name="a"].x'}}


def test_atomic_values_have_one_owner() -> None:
    one = Cluster()
    one.apply("first", atoms=["a"], one={"a": "1"})
    assert one.conflicts("second", atoms=["b"], one={"b": "1"}) == [("first", ".atoms"), ("first", ".one")]
    one.apply("second", force=True, atoms=["b"], one={"b": "1"})
    assert one.state == {"atoms": ["b"], "one": {"b": "1"}}
    assert one.owners == {"second": {".atoms", ".one"}}


def test_an_update_takes_ownership_and_an_apply_must_force_it_back() -> None:
    one = Cluster()
    one.apply("applier", leaf="a", struct={"a": "1"})
    one.update("updater", leaf="b", struct={"a": "1", "b": "2"})
    assert one.owners == {"applier": {".struct.a"}, "updater": {".leaf", ".struct.b"}}
    assert one.conflicts("applier", leaf="a") == [("updater", ".leaf")]
    one.apply("applier", leaf="b")
    assert one.owners == {"applier": {".leaf"}, "updater": {".leaf", ".struct.b"}}
    assert one.state == {"leaf": "b", "struct": {"b": "2"}}


def test_what_is_removed_has_no_owner() -> None:
    one = Cluster()
    one.apply("applier", map={"a": "1", "b": "2"})
    one.update("updater", map={"b": "2"})
    assert one.owners == {"applier": {".map.b"}}
    one.apply("applier", map={"a": "1", "b": "2"})
    assert one.state == {"map": {"a": "1", "b": "2"}}


def test_items_given_twice_in_an_object_are_one_field() -> None:
    twins = [{"name": "a", "value": 1}, {"name": "a", "value": 2}, {"name": "b", "value": 3}]
    one = Cluster()
    one.update("updater", list=twins, set=["1", "1", "3"])
    assert one.owners["updater"] == {
        ".list", '.list[name="a"]', '.list[name="b"]', '.list[name="b"].name', '.list[name="b"].value',
        ".set", '.set[="1"]', '.set[="3"]',
    }  # fmt: skip
    one.apply("applier", leaf="z", set=["5"])
    assert one.state == {"list": twins, "set": ["1", "1", "3", "5"], "leaf": "z"}, "what is not applied stays as it is"
    assert one.conflicts("applier", list=[{"name": "a", "value": 2}]) == [("updater", '.list[name="a"]')]
    one.apply("applier", force=True, list=[{"name": "a", "value": 3}])
    assert one.state["list"] == [{"name": "a", "value": 3}, {"name": "b", "value": 3}]
    assert one.owners["applier"] == {'.list[name="a"]', '.list[name="a"].name', '.list[name="a"].value'}


def test_a_configuration_names_each_item_once() -> None:
    with pytest.raises(DuplicateItemError, match=r'\.list: duplicate entries for key \[name="a"\]'):
        Cluster().apply("applier", list=[{"name": "a"}, {"name": "a"}])


def test_one_managers_apply_and_update_are_two() -> None:
    one = Cluster()
    one.apply("same", leaf="a")
    one.update("same", leaf="b")
    assert [(each.name, each.operation) for each in managers_of(one.live)] == [("same", "Update")]
    assert one.conflicts("same", leaf="c") == [("same", ".leaf")]
