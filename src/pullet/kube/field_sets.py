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
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Schema: TypeAlias = Mapping[str, Any]
Resolve: TypeAlias = Callable[[Schema], Schema]
FieldPath: TypeAlias = tuple[str, ...]
FieldSet: TypeAlias = frozenset[FieldPath]

_ANY: Schema = {}
_KEY_DEFAULTS = {"protocol": "TCP"}  # the only list keys that the API defaults


def from_fields_v1(tree: Mapping[str, Any]) -> FieldSet:
    """A FieldsV1 tree as a set of paths."""
    found: set[FieldPath] = set()

    def walk(node: Mapping[str, Any], path: FieldPath) -> None:
        if path and (not node or "." in node):
            found.add(path)
        for element, inner in node.items():
            if element != "." and isinstance(inner, Mapping):
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


def _element(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)


def _item_key(item: Any, keys: Sequence[str]) -> str | None:
    """`k:{…}` of an item, or None when it lacks its keys."""
    if not isinstance(item, Mapping):
        return None
    found = {key: item.get(key, _KEY_DEFAULTS.get(key)) for key in keys}
    if all(value is None for value in found.values()):
        return None
    return "k:" + _element({key: value for key, value in found.items() if value is not None})


@dataclass(slots=True)
class Comparison:
    """What is different between two states."""

    changed: set[FieldPath] = field(default_factory=set)  # new, or of another value
    removed: set[FieldPath] = field(default_factory=set)


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
        return isinstance(value, list) and schema.get("x-kubernetes-list-type") in ("map", "set")

    def _items(self, values: Sequence[Any], schema: Schema) -> dict[str, Any]:
        """A list's items by element; an item that cannot be named stands under its place."""
        if schema.get("x-kubernetes-list-type") == "set":
            return {f"v:{_element(value)}": value for value in values}
        keys: Sequence[str] = schema.get("x-kubernetes-list-map-keys") or ()
        return {_item_key(item, keys) or f"i:{index}": item for index, item in enumerate(values)}

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
        items = self._items(live, schema)
        part = self._of(schema.get("items", _ANY))
        for element, inner in self._items(config, schema).items():
            items[element] = self._merge(items.get(element), inner, part) if element in items else inner
        return list(items.values())

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
        return list(kept.values())


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
