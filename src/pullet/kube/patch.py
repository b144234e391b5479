"""JSON patch (RFC 6902) and JSON merge patch (RFC 7386) over JSON values.

Both leave their input alone: containers on the changed path are copied, the rest is shared.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class PatchError(ValueError):
    """The patch cannot be applied; the text says which operation and why."""


def merge_patch(target: Any, patch: Any) -> Any:
    """`target` with `patch` merged in: null deletes, objects merge, all else replaces."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result


def json_patch(target: Any, operations: Any) -> Any:
    """`target` after all operations, in order; either all of them or an error.

    Raises:
        PatchError: an operation that is malformed or does not apply.
    """
    if not isinstance(operations, list):
        raise PatchError("a JSON patch is a list of operations")
    for operation in operations:
        if not isinstance(operation, dict) or not isinstance(operation.get("path"), str):
            raise PatchError("each operation is an object with op and path")
        target = _apply(target, operation)
    return target


def _apply(target: Any, operation: dict[str, Any]) -> Any:
    path = _tokens(operation["path"])
    match operation.get("op"):
        case "add":
            return _set(target, path, _value(operation), must_exist=False)
        case "replace":
            return _set(target, path, _value(operation), must_exist=True)
        case "remove":
            return _remove(target, path)
        case "test":
            if _get(target, path) != operation.get("value"):
                raise PatchError(f"testing value {operation['path']} failed: test failed")
            return target
        case "copy" | "move" as name:
            if not isinstance(operation.get("from"), str):
                raise PatchError(f"{name} needs a from path")
            source = _tokens(operation["from"])
            value = _get(target, source)
            if name == "move":
                if path[: len(source)] == source and len(path) > len(source):
                    raise PatchError("cannot move a value into itself")
                target = _remove(target, source)
            return _set(target, path, value, must_exist=False)
        case other:
            raise PatchError(f"Unexpected kind: {other}")


def _value(operation: dict[str, Any]) -> Any:
    if "value" not in operation:
        raise PatchError(f"{operation['op']} operation does not apply: value missing at {operation['path']}")
    return operation["value"]


def _tokens(path: str) -> list[str]:
    if not path:
        return []
    if not path.startswith("/"):
        raise PatchError(f"path {path!r} does not begin with /")
    return [token.replace("~1", "/").replace("~0", "~") for token in path[1:].split("/")]


def _missing(tokens: Sequence[str]) -> PatchError:
    return PatchError(f"doc is missing path: /{'/'.join(tokens)}")


def _index(token: str, size: int) -> int:
    if token.isdecimal() and len(token) < 10 and str(int(token)) == token and int(token) < size:
        return int(token)
    raise PatchError(f"Unable to access invalid index: {token}")


def _get(target: Any, tokens: Sequence[str]) -> Any:
    for token in tokens:
        if isinstance(target, dict) and token in target:
            target = target[token]
        elif isinstance(target, list):
            target = target[_index(token, len(target))]
        else:
            raise _missing(tokens)
    return target


def _set(target: Any, tokens: Sequence[str], value: Any, *, must_exist: bool) -> Any:
    if not tokens:
        return value
    part, rest = tokens[0], tokens[1:]
    if isinstance(target, dict):
        if (must_exist or rest) and part not in target:
            raise _missing(tokens)
        return {**target, part: _set(target.get(part), rest, value, must_exist=must_exist)}
    if isinstance(target, list):
        if rest or must_exist:
            at = _index(part, len(target))
            return [*target[:at], _set(target[at], rest, value, must_exist=must_exist), *target[at + 1 :]]
        at = len(target) if part == "-" else _index(part, len(target) + 1)
        return [*target[:at], value, *target[at:]]
    raise _missing(tokens)


def _remove(target: Any, tokens: Sequence[str]) -> Any:
    if not tokens:
        raise PatchError("cannot remove the whole document")
    part, rest = tokens[0], tokens[1:]
    if isinstance(target, dict) and part in target:
        if rest:
            return {**target, part: _remove(target[part], rest)}
        return {key: value for key, value in target.items() if key != part}
    if isinstance(target, list):
        at = _index(part, len(target))
        if rest:
            return [*target[:at], _remove(target[at], rest), *target[at + 1 :]]
        return [*target[:at], *target[at + 1 :]]
    raise _missing(tokens)
