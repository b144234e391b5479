"""Rules on where a pod may be placed: affinity, spreading. In the API server's words.

Source: kubernetes pkg/apis/core/validation/validation.go (validateAffinity, ValidateNodeSelector,
validateTopologySpreadConstraints).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pullet.kube.field_error import FieldError, duplicate, forbidden, invalid, not_supported, required
from pullet.kube.meta import qualified_name_problems
from pullet.kube.selector import SelectorError, label_selector_from

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_UNSATISFIABLE = ("DoNotSchedule", "ScheduleAnyway")


def validate_placement(spec: Mapping[str, Any], path: str) -> list[FieldError]:
    """Rules on `affinity` and `topologySpreadConstraints` of a PodSpec."""
    affinity: Mapping[str, Any] = spec.get("affinity") or {}
    errors = _node_affinity(affinity.get("nodeAffinity") or {}, f"{path}.affinity.nodeAffinity")
    for field in ("podAffinity", "podAntiAffinity"):
        errors += _pod_affinity(affinity.get(field) or {}, f"{path}.affinity.{field}")
    seen: set[tuple[str, str]] = set()
    for index, constraint in enumerate(spec.get("topologySpreadConstraints") or ()):
        here = f"{path}.topologySpreadConstraints[{index}]"
        errors += _spread(constraint, here)
        pair = (constraint.get("topologyKey") or "", constraint.get("whenUnsatisfiable") or "")
        if pair in seen:
            errors.append(duplicate(f"{here}.{{topologyKey, whenUnsatisfiable}}", f"{{{pair[0]}, {pair[1]}}}"))
        seen.add(pair)
    return errors


def _node_affinity(affinity: Mapping[str, Any], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    needed = affinity.get(_REQUIRED)
    if needed is not None:
        here = f"{path}.{_REQUIRED}.nodeSelectorTerms"
        terms = needed.get("nodeSelectorTerms") or ()
        if not terms:
            errors.append(required(here, "must have at least one node selector term"))
        for index, term in enumerate(terms):
            errors += _node_term(term, f"{here}[{index}]")
    for index, wish in enumerate(affinity.get(_PREFERRED) or ()):
        here = f"{path}.{_PREFERRED}[{index}]"
        errors += _weight(wish, here)
        errors += _node_term(wish.get("preference") or {}, f"{here}.preference")
    return errors


def _weight(wish: Mapping[str, Any], path: str) -> list[FieldError]:
    weight = wish.get("weight") or 0
    return [] if 1 <= weight <= 100 else [invalid(f"{path}.weight", weight, "must be in the range 1-100")]


def _node_term(term: Mapping[str, Any], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, expression in enumerate(term.get("matchExpressions") or ()):
        errors += _expression(expression, f"{path}.matchExpressions[{index}]")
    for index, expression in enumerate(term.get("matchFields") or ()):
        errors += _field(expression, f"{path}.matchFields[{index}]")
    return errors


def _expression(expression: Mapping[str, Any], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    operator, values = expression.get("operator") or "", expression.get("values") or ()
    match operator:
        case "In" | "NotIn" if not values:
            errors.append(required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
        case "Exists" | "DoesNotExist" if values:
            text = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            errors.append(forbidden(f"{path}.values", text))
        case "Gt" | "Lt" if len(values) != 1:
            errors.append(required(f"{path}.values", "must be specified single value when `operator` is 'Lt' or 'Gt'"))
        case "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt":
            pass
        case _:
            errors.append(invalid(f"{path}.operator", operator, "not a valid selector operator"))
    return errors + _label_name(expression.get("key") or "", f"{path}.key")


def _field(expression: Mapping[str, Any], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    operator, values = expression.get("operator") or "", expression.get("values") or ()
    if operator not in ("In", "NotIn"):
        errors.append(invalid(f"{path}.operator", operator, "not a valid selector operator"))
    elif len(values) != 1:
        text = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
        errors.append(required(f"{path}.values", text))
    key = expression.get("key") or ""
    if key != "metadata.name":
        errors.append(invalid(f"{path}.key", key, "not a valid field selector key"))
    return errors


def _label_name(key: str, path: str) -> list[FieldError]:
    return [invalid(path, key, text) for text in qualified_name_problems(key)]


def _pod_affinity(affinity: Mapping[str, Any], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, term in enumerate(affinity.get(_REQUIRED) or ()):
        errors += _pod_term(term, f"{path}.{_REQUIRED}[{index}]")
    for index, wish in enumerate(affinity.get(_PREFERRED) or ()):
        here = f"{path}.{_PREFERRED}[{index}]"
        errors += _weight(wish, here)
        errors += _pod_term(wish.get("podAffinityTerm") or {}, f"{here}.podAffinityTerm")
    return errors


def _pod_term(term: Mapping[str, Any], path: str) -> list[FieldError]:
    errors = [
        error
        for field in ("labelSelector", "namespaceSelector")
        for error in _selector(term.get(field), f"{path}.{field}")
    ]
    key = term.get("topologyKey") or ""
    if not key:
        return [*errors, required(f"{path}.topologyKey", "can not be empty")]
    return errors + _label_name(key, f"{path}.topologyKey")


def _selector(selector: Mapping[str, Any] | None, path: str) -> list[FieldError]:
    try:
        _ = label_selector_from(selector)
    except (SelectorError, KeyError) as error:
        return [invalid(path, selector, f"invalid label selector: {error}")]
    return []


def _spread(constraint: Mapping[str, Any], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    skew = constraint.get("maxSkew") or 0
    if skew <= 0:
        errors.append(invalid(f"{path}.maxSkew", skew, "must be greater than zero"))
    key = constraint.get("topologyKey") or ""
    errors += _label_name(key, f"{path}.topologyKey") if key else [required(f"{path}.topologyKey", "can not be empty")]
    otherwise = constraint.get("whenUnsatisfiable") or ""
    if otherwise not in _UNSATISFIABLE:
        errors.append(not_supported(f"{path}.whenUnsatisfiable", otherwise, _UNSATISFIABLE))
    domains = constraint.get("minDomains")
    if domains is not None:
        if domains <= 0:
            errors.append(invalid(f"{path}.minDomains", domains, "must be greater than 0"))
        if otherwise != "DoNotSchedule":
            text = f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {otherwise}"
            errors.append(invalid(f"{path}.minDomains", domains, text))
    return errors + _selector(constraint.get("labelSelector"), f"{path}.labelSelector")
