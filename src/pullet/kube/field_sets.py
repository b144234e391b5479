"""Sets of fields of an object, as managedFields tells who set what: collect, compare, merge, remove.

A field is a path of elements spelled as in FieldsV1: `f:NAME` a field or map key, `k:{JSON}` the item of a keyed list,
`v:JSON` a member of a set. A path to a keyed item ends in the item itself; its own fields are longer paths.
What is one field and what has parts the schema says: `x-kubernetes-list-type` (map, set, else atomic),
`x-kubernetes-list-map-keys`, `x-kubernetes-map-type: atomic`.
Source: sigs.k8s.io/structured-merge-diff (fieldpath, typed, merge), apimachinery pkg/util/managedfields.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from pullet.base.errors import PulletError
from pullet.base.values import State

Schema: TypeAlias = Mapping[str, Any]
Resolve: TypeAlias = Callable[[Schema], Schema]
FieldPath: TypeAlias = tuple[str, ...]
FieldSet: TypeAlias = frozenset[FieldPath]

_ANY: Schema = {}
_KEY_DEFAULTS = {"protocol": "TCP"}  # the only list keys that built-in kinds default


def from_fields_v1(tree: Mapping[str, Any]) -> FieldSet:
    """A FieldsV1 tree as a set of paths.

    Raises:
        ValueError: an element that is none.
    """
    found: set[FieldPath] = set()

    def walk(node: Mapping[str, Any], path: FieldPath) -> None:
        if path and (not node or "." in node):
            found.add(path)
        for element, inner in node.items():
            if element != "." and isinstance(inner, Mapping):
                _check_element(element)
                walk(inner, (*path, element))

    walk(tree, ())
    return frozenset(found)


def to_fields_v1(fields: Iterable[FieldPath]) -> dict[str, Any]:
    """A set of paths as a FieldsV1 tree."""
    tree: dict[str, Any] = {}
    members = sorted(fields)
    for path in members:
        node = tree
        for element in path:
            node = node.setdefault(element, {})
    for path in members:
        node = tree
        for element in path:
            node = node[element]
        if node:
            node["."] = {}
    return tree


def _check_element(element: str) -> None:
    kind, colon, rest = element.partition(":")
    match kind:
        case "f" if colon:
            return
        case "v" if colon:
            json.loads(rest)
        case "k" if isinstance(json.loads(rest), dict):
            return
        case "i" if rest.isdecimal():
            return
        case _:
            raise ValueError(f"no element of a field path: {element}")


def _element(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)


def _item_key(item: Any, keys: Sequence[str], schema: Schema) -> str | None:
    """`k:{…}` of an item of this schema, or None when it lacks its keys."""
    if not isinstance(item, Mapping):
        return None
    properties = schema.get("properties") or {}
    defaults = {key: (properties.get(key) or {}).get("default", _KEY_DEFAULTS.get(key)) for key in keys}
    found = {key: item.get(key, defaults[key]) for key in keys}
    if all(value is None for value in found.values()):
        return None
    return "k:" + _element({key: value for key, value in found.items() if value is not None})


class DuplicateItemError(PulletError):
    """A list of a configuration names an item twice."""

    reason = "DuplicateItem"


class _Several(list[Any]):
    """Items of one key in a list that exists: they stand for one field, changed and kept together."""


class Comparison(State):
    """What is different between two states."""

    changed: set[FieldPath] = msgspec.field(default_factory=set)  # new, or of another value
    removed: set[FieldPath] = msgspec.field(default_factory=set)


class FieldWalker:
    """The operations, for schemas whose references `resolve` follows."""

    def __init__(self, resolve: Resolve) -> None:
        self._resolve = resolve

    # schema ---------------------------------------------------------------------------------------------------------

    def _of(self, schema: Schema) -> Schema:
        """The schema with what stands beside its reference laid over it."""
        if "$ref" not in schema:
            return schema
        return {**self._resolve(schema), **{key: value for key, value in schema.items() if key != "$ref"}}

    @staticmethod
    def _child(schema: Schema, name: str) -> Schema:
        properties = schema.get("properties")
        found = schema.get("additionalProperties", _ANY) if properties is None else properties.get(name, _ANY)
        return found if isinstance(found, Mapping) else _ANY

    @staticmethod
    def _has_parts(value: Any, schema: Schema) -> bool:
        if isinstance(value, Mapping):
            return schema.get("x-kubernetes-map-type") != "atomic"
        is_list = isinstance(value, list) and not isinstance(value, _Several)
        return is_list and schema.get("x-kubernetes-list-type") in ("map", "set")

    def _items(self, values: Sequence[Any], schema: Schema) -> dict[str, Any]:
        """A list's items by element; an item that cannot be named stands under its place, equal ones together."""
        items: dict[str, Any] = {}
        is_set = schema.get("x-kubernetes-list-type") == "set"
        keys: Sequence[str] = schema.get("x-kubernetes-list-map-keys") or ()
        inner = self._of(schema.get("items", _ANY)) if keys else _ANY
        for index, item in enumerate(values):
            element = f"v:{_element(item)}" if is_set else _item_key(item, keys, inner) or f"i:{index}"
            if element not in items:
                items[element] = item
            elif isinstance(items[element], _Several):
                items[element].append(item)
            else:
                items[element] = _Several((items[element], item))
        return items

    @staticmethod
    def _listed(items: Iterable[Any]) -> list[Any]:
        """The list of items that `_items` had taken apart."""
        return [one for item in items for one in (item if isinstance(item, _Several) else (item,))]

    def _parts(self, value: Any, schema: Schema) -> dict[str, Any]:
        if isinstance(value, Mapping):
            return {f"f:{name}": inner for name, inner in value.items()}
        return self._items(value, schema)

    def _part_schema(self, schema: Schema, element: str) -> Schema:
        if element.startswith("f:"):
            return self._of(self._child(schema, element[2:]))
        return self._of(schema.get("items", _ANY))

    # collect and compare --------------------------------------------------------------------------------------------

    def collect(self, value: Any, schema: Schema) -> FieldSet:
        """Every field that `value` states."""
        found: set[FieldPath] = set()
        self._collect(value, self._of(schema), (), found)
        return frozenset(found)

    def _collect(
        self, value: Any, schema: Schema, path: FieldPath, found: set[FieldPath], *, with_containers: bool = False
    ) -> None:
        if path and (with_containers or path[-1].startswith("k:") or not value or not self._has_parts(value, schema)):
            found.add(path)
        if not self._has_parts(value, schema):
            return
        for element, inner in self._parts(value, schema).items():
            part = self._part_schema(schema, element)
            self._collect(inner, part, (*path, element), found, with_containers=with_containers)

    def compare(self, old: Any, new: Any, schema: Schema) -> Comparison:
        """How `new` differs from `old`."""
        result = Comparison()
        self._compare(old, new, self._of(schema), (), result)
        return result

    def _compare(self, old: Any, new: Any, schema: Schema, path: FieldPath, result: Comparison) -> None:
        if old == new and type(old) is type(new):
            return
        if not (self._has_parts(old, schema) and self._has_parts(new, schema)) or type(old) is not type(new):
            result.changed.add(path)
            return
        before, after = self._parts(old, schema), self._parts(new, schema)
        for element, inner in after.items():
            here, part = (*path, element), self._part_schema(schema, element)
            if element in before:
                self._compare(before[element], inner, part, here, result)
            else:
                self._collect(inner, part, here, result.changed, with_containers=True)
        for element, inner in before.items():
            if element not in after:
                part = self._part_schema(schema, element)
                self._collect(inner, part, (*path, element), result.removed, with_containers=True)

    # merge and remove -----------------------------------------------------------------------------------------------

    def merge(self, live: Any, config: Any, schema: Schema) -> Any:
        """`live` with everything `config` states; neither is changed."""
        return self._merge(live, config, self._of(schema))

    def _merge(self, live: Any, config: Any, schema: Schema) -> Any:
        if not self._has_parts(config, schema) or type(live) is not type(config):
            return config
        if isinstance(config, Mapping):
            result = dict(live)
            for name, inner in config.items():
                part = self._of(self._child(schema, name))
                result[name] = self._merge(live.get(name), inner, part)
            return result
        before, wanted = self._items(live, schema), self._items(config, schema)
        part = self._of(schema.get("items", _ANY))
        merged = []
        for element in _merged_order(list(before), list(wanted)):
            if element not in wanted:
                merged.append(before[element])
            elif element in before:
                merged.append(self._merge(before[element], wanted[element], part))
            else:
                merged.append(wanted[element])
        return self._listed(merged)

    def check_unique(self, config: Any, schema: Schema) -> None:
        """Refuse a configuration that names an item of a list twice.

        Raises:
            DuplicateItemError: it does.
        """
        self._check_unique(config, self._of(schema), ())

    def _check_unique(self, value: Any, schema: Schema, path: FieldPath) -> None:
        if not self._has_parts(value, schema):
            return
        for element, inner in self._parts(value, schema).items():
            if isinstance(inner, _Several):
                shown = path_text((element,))
                raise DuplicateItemError(f"{path_text(path)}: duplicate entries for key {shown}")
            self._check_unique(inner, self._part_schema(schema, element), (*path, element))

    def remove(self, value: Any, fields: FieldSet, kept: FieldSet, schema: Schema) -> Any:
        """`value` without `fields`, except where a longer path in `kept` still needs them; emptied parts go too."""
        doomed = {path for path in fields if not any(other[: len(path)] == path for other in kept)}
        tree: dict[str, Any] = {}
        for path in doomed:
            node = tree
            for element in path:
                node = node.setdefault(element, {})
            node[""] = {}
        return self._remove(value, tree, self._of(schema))

    def _remove(self, value: Any, tree: Mapping[str, Any], schema: Schema) -> Any:
        """None means nothing is left."""
        if "" in tree:
            return None
        if not tree or not self._has_parts(value, schema):
            return value
        kept: dict[str, Any] = {}
        for element, inner in self._parts(value, schema).items():
            if element in tree:
                inner = self._remove(inner, tree[element], self._part_schema(schema, element))
                if inner is None:
                    continue
            kept[element] = inner
        if not kept:
            return None
        if isinstance(value, Mapping):
            return {element[2:]: inner for element, inner in kept.items()}
        return self._listed(kept.values())


def _merged_order(live: Sequence[str], config: Sequence[str]) -> list[str]:
    """The order of a list after a merge: the configuration's items in its order, the others where they stood."""
    in_live, in_config = frozenset(live), frozenset(config)
    shared = [element for element in config if element in in_live]
    order: list[str] = []
    at = 0
    for element in config:
        while at < len(live) and live[at] != element:
            if live[at] not in in_config:
                order.append(live[at])
            elif shared and live[at] == shared[0]:
                break  # its turn comes: what the configuration puts before it goes before it
            at += 1
        order.append(element)
        if shared and element == shared[0]:
            del shared[0]
        if at < len(live) and live[at] == element:
            at += 1
    return order + [element for element in live[at:] if element not in in_config]


def path_text(path: FieldPath) -> str:
    """A path as conflict messages spell it: `.spec.containers[name="c"].image`."""
    text = ""
    for element in path:
        kind, _, rest = element.partition(":")
        match kind:
            case "f":
                text += f".{rest}"
            case "k":
                keys = json.loads(rest)
                text += "[" + ",".join(f"{key}={_element(value)}" for key, value in keys.items()) + "]"
            case "v":
                text += f"[={rest}]"
            case _:
                text += f"[{rest}]"
    return text
