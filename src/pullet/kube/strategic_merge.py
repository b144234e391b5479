"""Strategic merge patch: lists of objects merge by their key instead of being replaced.

Which lists do, and by which key, the schema says (`x-kubernetes-patch-strategy`, `x-kubernetes-patch-merge-key`).
Directives: `$patch: replace|delete|merge`, `$retainKeys`, `$deleteFromPrimitiveList/F`, `$setElementOrder/F`.
Inputs are left alone. Source: apimachinery pkg/util/strategicpatch/patch.go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pullet.kube.patch import PatchError

Schema = Mapping[str, Any]
Resolve = Callable[[Schema], Schema]

_DIRECTIVE = "$patch"
_RETAIN = "$retainKeys"
_DELETE_PRIMITIVES = "$deleteFromPrimitiveList/"
_ORDER = "$setElementOrder/"
_ANY: Schema = {}


def strategic_merge(original: Any, patch: Any, schema: Schema, resolve: Resolve) -> Any:
    """`original` with `patch` merged in. `resolve` follows a schema's reference.

    Raises:
        PatchError: a directive or a list that cannot be merged.
    """
    if not isinstance(patch, dict) or not isinstance(original, dict):
        raise PatchError("a strategic merge patch is an object")
    return _Merger(resolve).objects(original, patch, resolve(schema))


class _Merger:
    def __init__(self, resolve: Resolve) -> None:
        self._resolve = resolve

    def objects(self, original: Mapping[str, Any], patch: Mapping[str, Any], schema: Schema) -> dict[str, Any]:
        match patch.get(_DIRECTIVE):
            case "replace":
                return {key: value for key, value in patch.items() if key != _DIRECTIVE}
            case "delete":
                return {}
            case None | "merge":
                pass
            case other:
                raise PatchError(f"unknown patch type found: {other}")
        result = dict(original)
        retained = patch.get(_RETAIN)
        if retained is not None:
            if not isinstance(retained, list):
                raise PatchError(f"{_RETAIN} must be a list")
            result = {key: value for key, value in result.items() if key in retained}
        for key, value in patch.items():
            if key in (_DIRECTIVE, _RETAIN) or key.startswith((_DELETE_PRIMITIVES, _ORDER)):
                continue
            if value is None:
                result.pop(key, None)
            else:
                result[key] = self._field(key, result.get(key), value, patch, schema)
        self._drop_primitives(result, patch)
        self._order_untouched(result, patch, schema)
        return result

    def _property(self, schema: Schema, key: str) -> Schema:
        properties = schema.get("properties")
        found = schema.get("additionalProperties", _ANY) if properties is None else properties.get(key, _ANY)
        return found if isinstance(found, Mapping) else _ANY

    def _field(self, key: str, mine: Any, theirs: Any, patch: Mapping[str, Any], schema: Schema) -> Any:
        field = self._property(schema, key)
        strategies = str(field.get("x-kubernetes-patch-strategy") or "").split(",")
        if isinstance(theirs, dict):
            if "replace" in strategies and _DIRECTIVE not in theirs:
                return self.objects({}, theirs, self._resolve(field))
            base = mine if isinstance(mine, dict) else {}
            return self.objects(base, theirs, self._resolve(field))
        if isinstance(theirs, list) and "merge" in strategies:
            items_before: list[Any] = mine if isinstance(mine, list) else []
            merge_key = field.get("x-kubernetes-patch-merge-key")
            order = patch.get(_ORDER + key)
            if merge_key is None:
                return _ordered_primitives(
                    [*items_before, *(item for item in theirs if item not in items_before)], order
                )
            items = self._resolve(field.get("items", _ANY))
            return self._lists(items_before, theirs, str(merge_key), items, order)
        if isinstance(theirs, list):
            return [item for item in theirs if not (isinstance(item, dict) and _DIRECTIVE in item)]
        return theirs

    def _lists(
        self, mine: Sequence[Any], theirs: Sequence[Any], merge_key: str, schema: Schema, order: Any
    ) -> list[Any]:
        if any(
            isinstance(item, dict) and item.get(_DIRECTIVE) == "replace" and merge_key not in item for item in theirs
        ):
            return [item for item in theirs if not (isinstance(item, dict) and _DIRECTIVE in item)]
        result = list(mine)
        for item in theirs:
            if not isinstance(item, dict) or merge_key not in item:
                raise PatchError(f"map: {item} does not contain declared merge key: {merge_key}")
            at = next(
                (
                    index
                    for index, each in enumerate(result)
                    if isinstance(each, dict) and each.get(merge_key) == item[merge_key]
                ),
                None,
            )
            directive = item.get(_DIRECTIVE)
            if directive == "delete":
                result = [
                    each for each in result if not (isinstance(each, dict) and each.get(merge_key) == item[merge_key])
                ]
            elif at is None:
                result.append(
                    self.objects({}, {key: value for key, value in item.items() if key != _DIRECTIVE}, schema)
                )
            else:
                result[at] = self.objects(result[at], item, schema)
        if order is not None:
            return _ordered(result, [entry.get(merge_key) for entry in order if isinstance(entry, dict)], merge_key)
        return result

    def _drop_primitives(self, result: dict[str, Any], patch: Mapping[str, Any]) -> None:
        for key, value in patch.items():
            if key.startswith(_DELETE_PRIMITIVES):
                name = key.removeprefix(_DELETE_PRIMITIVES)
                if isinstance(result.get(name), list) and isinstance(value, list):
                    result[name] = [item for item in result[name] if item not in value]

    def _order_untouched(self, result: dict[str, Any], patch: Mapping[str, Any], schema: Schema) -> None:
        """Lists that the patch only orders."""
        for key, order in patch.items():
            name = key.removeprefix(_ORDER)
            if name == key or name in patch or not isinstance(result.get(name), list) or not isinstance(order, list):
                continue
            merge_key = self._property(schema, name).get("x-kubernetes-patch-merge-key")
            if merge_key is None:
                result[name] = _ordered_primitives(result[name], order)
            else:
                keys = [entry.get(merge_key) for entry in order if isinstance(entry, dict)]
                result[name] = _ordered(result[name], keys, str(merge_key))


def _ordered(items: list[Any], keys: list[Any], merge_key: str) -> list[Any]:
    """Items in the order of `keys`; those not named stay behind the one they followed."""
    place = {key: index for index, key in reversed(list(enumerate(keys)))}
    result: list[tuple[int, int, Any]] = []
    last = -1
    for index, item in enumerate(items):
        key = item.get(merge_key) if isinstance(item, dict) else None
        if key in place:
            result.append((place[key], 0, item))
            last = place[key]
        else:
            result.append((last, index + 1, item))
    return [item for _, _, item in sorted(result, key=lambda each: each[:2])]


def _ordered_primitives(items: list[Any], order: Any) -> list[Any]:
    if not isinstance(order, list):
        return items
    return [item for item in order if item in items] + [item for item in items if item not in order]
