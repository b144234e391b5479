"""Label and field selectors: parse the query strings, match objects.

Source: apimachinery pkg/labels/selector.go, pkg/fields/selector.go, metav1.LabelSelector.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pullet.base.values import Value
from pullet.kube.field_error import quote

Operator = Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]


class SelectorError(ValueError):
    """The selector cannot be read; the text is the API's."""


class LabelRequirement(Value):
    """One term of a label selector."""

    key: str
    operator: Operator
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether labels satisfy the term; a missing key satisfies NotIn and DoesNotExist."""
        value = labels.get(self.key)
        match self.operator:
            case "In":
                return value in self.values
            case "NotIn":
                return value is None or value not in self.values
            case "Exists":
                return value is not None
            case "DoesNotExist":
                return value is None
            case "Gt" | "Lt":
                try:
                    have, want = int(value or ""), int(next(iter(self.values)))
                except ValueError:
                    return False
                return have > want if self.operator == "Gt" else have < want


class LabelSelector(Value):
    """All terms must match; no terms match everything."""

    requirements: tuple[LabelRequirement, ...] = ()
    matches_nothing: bool = False

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether the labels satisfy every term."""
        return not self.matches_nothing and all(term.matches(labels) for term in self.requirements)

    def __bool__(self) -> bool:
        return self.matches_nothing or bool(self.requirements)


EVERYTHING = LabelSelector()

_KEY = r"[A-Za-z0-9][-A-Za-z0-9_./]*"
_SET_TERM = re.compile(rf"\s*({_KEY})\s+(in|notin)\s*\(([^()]*)\)\s*(,|$)")
_EQUAL_TERM = re.compile(rf"\s*({_KEY})\s*(==|=|!=)\s*([-A-Za-z0-9_.]*)\s*(,|$)")
_ORDER_TERM = re.compile(rf"\s*({_KEY})\s*([<>])\s*(-?\d+)\s*(,|$)")
_EXISTS_TERM = re.compile(rf"\s*(!?)\s*({_KEY})\s*(,|$)")


def parse_label_selector(text: str) -> LabelSelector:
    """`app=web,tier in (a, b),!canary` as terms.

    Raises:
        SelectorError: not a selector.
    """
    terms: list[LabelRequirement] = []
    position = 0
    while position < len(text) or text[position - 1 : position] == ",":
        term = _parse_term(text, position)
        if term is None:
            raise SelectorError(_complaint(text, position))
        terms.append(term[0])
        position = term[1]
    return LabelSelector(tuple(terms))


def _parse_term(text: str, position: int) -> tuple[LabelRequirement, int] | None:
    if match := _SET_TERM.match(text, position):
        values = frozenset(value.strip() for value in match[3].split(","))
        return LabelRequirement(match[1], "In" if match[2] == "in" else "NotIn", values), match.end()
    if match := _EQUAL_TERM.match(text, position):
        return LabelRequirement(match[1], "NotIn" if match[2] == "!=" else "In", frozenset({match[3]})), match.end()
    if match := _ORDER_TERM.match(text, position):
        return LabelRequirement(match[1], "Gt" if match[2] == ">" else "Lt", frozenset({match[3]})), match.end()
    if match := _EXISTS_TERM.match(text, position):
        return LabelRequirement(match[2], "DoesNotExist" if match[1] else "Exists"), match.end()
    return None


_TOKEN = re.compile(r"\s*(==|!=|[=!(),<>]|[^\s=!(),<>]+|$)")
_SYMBOLS = frozenset(["==", "!=", "=", "!", "(", ")", ",", "<", ">", ""])


def _complaint(text: str, position: int) -> str:
    """Why there is no term at `position`, as the API's parser says it."""
    tokens = [match[1] for match in _TOKEN.finditer(text, position)] + [""] * 4
    if tokens[0] == "!":
        tokens = tokens[1:]
    key, operator, third, *_ = tokens
    if key in _SYMBOLS:
        expected = "identifier after ','" if position else "!, identifier, or 'end of string'"
        return f"found '{key}', expected: {expected}"
    if operator not in ("in", "notin", "=", "==", "!=", "<", ">"):
        return f"unable to parse requirement: found '{operator}', expected: in, notin, =, ==, !=, gt, lt"
    expected = "'('" if operator in ("in", "notin") else "identifier"
    return f"unable to parse requirement: found '{third}', expected: {expected}"


_OPERATORS: tuple[Operator, ...] = ("In", "NotIn", "Exists", "DoesNotExist")


def label_selector_from(spec: Mapping[str, Any] | None) -> LabelSelector:
    """A metav1.LabelSelector object; None selects nothing, an empty one everything.

    Raises:
        SelectorError: an operator that does not exist.
    """
    if spec is None:
        return LabelSelector(matches_nothing=True)
    terms = [LabelRequirement(key, "In", frozenset({value})) for key, value in (spec.get("matchLabels") or {}).items()]
    for expression in spec.get("matchExpressions") or ():
        operator = expression.get("operator")
        if operator not in _OPERATORS:
            raise SelectorError(f"{quote(str(operator))} is not a valid label selector operator")
        terms.append(LabelRequirement(expression["key"], operator, frozenset(expression.get("values") or ())))
    return LabelSelector(tuple(terms))


class FieldTerm(Value):
    """`field=value` or `field!=value`."""

    field: str
    value: str
    is_equal: bool = True


class FieldSelector(Value):
    """All terms must match."""

    terms: tuple[FieldTerm, ...] = ()

    def matches(self, obj: Mapping[str, Any]) -> bool:
        """Whether the object's fields satisfy every term; an absent field reads as empty."""
        return all((field_value(obj, term.field) == term.value) == term.is_equal for term in self.terms)

    def equal(self, field: str) -> str | None:
        """The value `field` must have, if a term says so."""
        return next((term.value for term in self.terms if term.field == field and term.is_equal), None)

    def check(self, supported: Iterable[str]) -> None:
        """Refuse fields that the resource does not offer.

        Raises:
            SelectorError: `field label not supported: x`.
        """
        known = {"metadata.name", "metadata.namespace", *supported}
        for term in self.terms:
            if term.field not in known:
                raise SelectorError(f"field label not supported: {term.field}")

    def __bool__(self) -> bool:
        return bool(self.terms)


def parse_field_selector(text: str) -> FieldSelector:
    r"""`metadata.name=x,status.phase!=Failed`; `\,`, `\=` and `\\` escape.

    Raises:
        SelectorError: a term without operator, or a bad escape.
    """
    terms = []
    for part in re.findall(r"(?:\\.|[^,\\])+|\\$", text):
        match = re.fullmatch(r"((?:\\.|[^=!\\])*)(!=|==|=)((?:\\.|[^=\\])*)", part)
        if match is None:
            raise SelectorError(f"invalid selector: '{text}'; can't understand '{part}'")
        terms.append(FieldTerm(match[1], re.sub(r"\\(.)", r"\1", match[3]), match[2] != "!="))
    return FieldSelector(tuple(terms))


def field_value(obj: Mapping[str, Any], path: str) -> str:
    """The field as a selector compares it: a string, empty if absent; booleans as `true` and `false`."""
    value: Any = obj
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    match value:
        case None:
            return _ABSENT.get(path, "")
        case bool():
            return "true" if value else "false"
        case Mapping():  # the events' `source` selects by its component
            return str(value.get("component") or "")
        case _:
            return str(value)


_ABSENT = {"spec.unschedulable": "false", "spec.hostNetwork": "false", "status.replicas": "0", "status.successful": "0"}
