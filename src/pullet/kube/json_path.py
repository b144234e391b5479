"""The part of JSONPath that definitions use: names, quoted names, indexes, slices, wildcards, filters by equality.

    .spec.replicas    .metadata.annotations['a.b/c']    .spec.items[0].name    .spec.items[-1:]    .spec.items[*].name
    .status.conditions[?(@.type=="Ready")].status
Source: client-go util/jsonpath.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, TypeAlias

from pullet.base.errors import PulletError
from pullet.base.values import Value

Step: TypeAlias = Callable[[Any], Iterable[Any]]
_NAME = re.compile(r"\.((?:[^.\[\]\\]|\\.)+)")
_QUOTED = re.compile(r"""\[(['"])((?:(?!\1).)*)\1\]""")
_INDEX = re.compile(r"\[(-?\d+)\]")
_SLICE = re.compile(r"\[(-?\d*):(-?\d*)\]")
_WILD = re.compile(r"\[\*\]|\.\*")
_FILTER = re.compile(r"""\[\?\(\s*@((?:\.[\w-]+)+)\s*(==|!=)\s*("[^"]*"|'[^']*'|[^\s)]+)\s*\)\]""")
_EQUAL_OTHER_TYPES = {"true": True, "false": False}


class JsonPathError(PulletError):
    """A path that is not read here."""

    reason = "JsonPath"


class JsonPath(Value):
    """A path, ready to be followed."""

    text: str
    steps: tuple[Step, ...]

    def find(self, value: Any) -> list[Any]:
        """Every value the path leads to."""
        found = [value]
        for step in self.steps:
            found = [item for each in found for item in step(each)]
        return found


@lru_cache(maxsize=1_000)
def parse_json_path(text: str) -> JsonPath:
    """Read a path.

    Raises:
        JsonPathError: it is none, or uses what is not read here.
    """
    return JsonPath(text, tuple(_steps(text.strip().removeprefix("$"))))


def _steps(text: str) -> Iterator[Step]:
    at = 0
    while at < len(text) and text[at:] != ".":
        for pattern, make in _FORMS:
            match = pattern.match(text, at)
            if match:
                yield make(match)
                at = match.end()
                break
        else:
            raise JsonPathError(f"unrecognized JSONPath at {text[at:]!r}")


def _member(name: str) -> Step:
    return lambda value: (value[name],) if isinstance(value, Mapping) and name in value else ()


def _at(index: int) -> Step:
    return lambda value: value[index : index + 1 or None] if isinstance(value, list) else ()


def _slice(start: str, end: str) -> Step:
    bounds = slice(int(start) if start else None, int(end) if end else None)
    return lambda value: value[bounds] if isinstance(value, list) else ()


def _each(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, list) else ()


def _filter(path: str, operator: str, literal: str) -> Step:
    inner = parse_json_path(path)
    wanted: Any = literal[1:-1] if literal[:1] in "\"'" else _EQUAL_OTHER_TYPES.get(literal, literal)

    def matches(item: Any) -> bool:
        found = inner.find(item)
        is_equal = bool(found) and (found[0] == wanted or (not isinstance(wanted, bool) and str(found[0]) == wanted))
        return bool(found) and is_equal == (operator == "==")

    return lambda value: [item for item in _each(value) if matches(item)]


_FORMS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], Step]], ...] = (
    (_WILD, lambda match: _each),
    (_NAME, lambda match: _member(re.sub(r"\\(.)", r"\1", match[1]))),
    (_QUOTED, lambda match: _member(match[2])),
    (_SLICE, lambda match: _slice(match[1], match[2])),
    (_INDEX, lambda match: _at(int(match[1]))),
    (_FILTER, lambda match: _filter(match[1], match[2], match[3])),
)


def shown(value: Any) -> str:
    """A found value as kubectl prints it: strings bare, containers as JSON."""
    match value:
        case None:
            return "<nil>"
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case _:
            return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
