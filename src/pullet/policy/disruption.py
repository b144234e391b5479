"""PodDisruptionBudgets: how many pods may go, and whether one may go now. Pure.

Source: kubernetes pkg/controller/disruption/disruption.go, pkg/registry/core/pod/storage/eviction.go.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Any

from pullet.base.jsonvalue import JsonObject
from pullet.base.values import Value
from pullet.kube.field_error import FieldError, invalid, not_supported
from pullet.kube.meta import format_time, is_deleting, labels_of, name_of, parse_time
from pullet.kube.selector import SelectorError, label_selector_from

TOO_MANY_TEXT = "Cannot evict pod as it would violate the pod's disruption budget."
SEVERAL_TEXT = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
DELETION_TIMEOUT = timedelta(minutes=2)  # an evicted pod that is still there after this was not evicted after all
_MAX_DISRUPTED = 2000
ALWAYS_ALLOW = "AlwaysAllow"


def budgets_of(pod: Mapping[str, Any], budgets: Sequence[JsonObject]) -> list[JsonObject]:
    """The budgets of the pod's namespace that select it."""
    return [one for one in budgets if label_selector_from(_spec(one).get("selector")).matches(labels_of(pod))]


def needs_no_budget(pod: Mapping[str, Any]) -> bool:
    """Pods that are over, not begun or on their way out serve nobody."""
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed", "Pending") or is_deleting(pod)


def is_healthy(pod: Mapping[str, Any]) -> bool:
    """Whether the pod's Ready condition is True."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)


class Verdict(Enum):
    """May a pod be evicted under its budget?"""

    FREE = auto()  # it does not count: the budget stays as it is
    TAKE = auto()  # yes, and the budget shrinks by one
    NOT_YET_SEEN = auto()  # the budget's status is older than its spec
    NEGATIVE = auto()
    TOO_MANY_UNDER_WAY = auto()
    EXHAUSTED = auto()


def decide_eviction(pod: Mapping[str, Any], budget: Mapping[str, Any]) -> Verdict:
    """Whether `pod` may go under `budget` as its status stands."""
    status = budget.get("status") or {}
    desired = status.get("desiredHealthy") or 0
    if not is_healthy(pod):
        if _spec(budget).get("unhealthyPodEvictionPolicy") == ALWAYS_ALLOW:
            return Verdict.FREE
        if desired > 0 and (status.get("currentHealthy") or 0) >= desired:
            return Verdict.FREE
    if (status.get("observedGeneration") or 0) < (budget["metadata"].get("generation") or 0):
        return Verdict.NOT_YET_SEEN
    allowed = status.get("disruptionsAllowed") or 0
    if allowed < 0:
        return Verdict.NEGATIVE
    if len(status.get("disruptedPods") or {}) > _MAX_DISRUPTED:
        return Verdict.TOO_MANY_UNDER_WAY
    return Verdict.TAKE if allowed else Verdict.EXHAUSTED


def take_one(budget: JsonObject, pod_name: str, now: datetime) -> JsonObject:
    """The budget after one eviction; `budget` is changed."""
    status = budget.setdefault("status", {})
    status["disruptionsAllowed"] -= 1
    if not status["disruptionsAllowed"]:
        status["conditions"] = _conditions(status.get("conditions") or (), budget, is_allowed=False, now=now)
    status["disruptedPods"] = {**(status.get("disruptedPods") or {}), pod_name: format_time(now)}
    return budget


class Counted(Value):
    """A budget's new status, and the seconds after which it must be looked at again."""

    status: JsonObject
    again_in: float | None


def budget_status(
    budget: Mapping[str, Any], pods: Sequence[Mapping[str, Any]], wanted_by_owners: int, now: datetime
) -> Counted:
    """The status from the selected pods; `wanted_by_owners` is how many pods their controllers want together.

    Raises:
        ValueError: an amount that is neither number nor percentage.
    """
    spec = _spec(budget)
    expected, desired = _desired(spec, len(pods), wanted_by_owners)
    disrupted, again_in = _still_disrupted(budget, pods, now)
    current = sum(
        1 for pod in pods if is_healthy(pod) and not is_deleting(pod) and name_of(pod) not in disrupted
    )  # fmt: skip
    allowed = max(current - desired, 0) if expected > 0 else 0
    status: JsonObject = {
        "observedGeneration": int(budget["metadata"].get("generation") or 0),
        "disruptionsAllowed": allowed,
        "currentHealthy": current,
        "desiredHealthy": desired,
        "expectedPods": expected,
        "conditions": _conditions(
            (budget.get("status") or {}).get("conditions") or (), budget, is_allowed=allowed > 0, now=now
        ),
    }
    if disrupted:
        status["disruptedPods"] = disrupted
    return Counted(status, again_in)


def _desired(spec: Mapping[str, Any], pods: int, wanted: int) -> tuple[int, int]:
    """Pods expected, and how many of them must be healthy."""
    most_missing, least = spec.get("maxUnavailable"), spec.get("minAvailable")
    if most_missing is not None:
        return wanted, max(wanted - _scaled(most_missing, wanted), 0)
    if isinstance(least, int):
        return pods, least
    if least is not None:
        return wanted, _scaled(least, wanted)
    return pods, 0


def _scaled(value: int | str, total: int) -> int:
    if isinstance(value, int):
        return value
    if not value.endswith("%"):
        raise ValueError(f"{value!r} is neither a number nor a percentage")
    return math.ceil(int(value[:-1]) * total / 100)


def _still_disrupted(
    budget: Mapping[str, Any], pods: Sequence[Mapping[str, Any]], now: datetime
) -> tuple[dict[str, str], float | None]:
    """Evicted pods whose deletion has not been seen, and when the next of them stops to count as evicted."""
    noted: Mapping[str, str] = (budget.get("status") or {}).get("disruptedPods") or {}
    kept: dict[str, str] = {}
    soonest: float | None = None
    for pod in pods:
        text = noted.get(name_of(pod))
        since = parse_time(text)
        if text is None or since is None or is_deleting(pod):
            continue
        left = (since + DELETION_TIMEOUT - now).total_seconds()
        if left > 0:
            kept[name_of(pod)] = text
            soonest = left if soonest is None else min(soonest, left)
    return kept, soonest


def _conditions(
    old: Sequence[Mapping[str, Any]], budget: Mapping[str, Any], *, is_allowed: bool, now: datetime
) -> list[JsonObject]:
    """`DisruptionAllowed` beside what else is there."""
    fresh: JsonObject = {
        "type": "DisruptionAllowed",
        "status": "True" if is_allowed else "False",
        "observedGeneration": int(budget["metadata"].get("generation") or 0),
        "lastTransitionTime": format_time(now),
        "reason": "SufficientPods" if is_allowed else "InsufficientPods",
        "message": "",
    }
    kept: list[JsonObject] = []
    for condition in old:
        if condition.get("type") != fresh["type"]:
            kept.append(dict(condition))
        elif condition.get("status") == fresh["status"]:
            fresh["lastTransitionTime"] = condition.get("lastTransitionTime") or fresh["lastTransitionTime"]
    return [*kept, fresh]


def _spec(budget: Mapping[str, Any]) -> Mapping[str, Any]:
    spec: Mapping[str, Any] = budget.get("spec") or {}
    return spec


_PERCENT_TEXT = (
    "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for "
    "validation is '[0-9]+%')"
)


def validate_budget(budget: JsonObject) -> list[FieldError]:
    """One amount, not negative; a selector that can be read. Source: pkg/apis/policy/validation/validation.go."""
    spec = _spec(budget)
    errors: list[FieldError] = []
    if spec.get("minAvailable") is not None and spec.get("maxUnavailable") is not None:
        errors.append(invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set"))
    for field in ("minAvailable", "maxUnavailable"):
        value = spec.get(field)
        if isinstance(value, int) and value < 0:
            errors.append(invalid(f"spec.{field}", value, "must be greater than or equal to 0"))
        elif isinstance(value, str) and not (value.endswith("%") and value[:-1].isdecimal()):
            errors.append(invalid(f"spec.{field}", value, _PERCENT_TEXT))
        elif isinstance(value, str) and int(value[:-1]) > 100:
            errors.append(invalid(f"spec.{field}", value, "must not be greater than 100%"))
    policy = spec.get("unhealthyPodEvictionPolicy")
    if policy is not None and policy not in (ALWAYS_ALLOW, "IfHealthyBudget"):
        errors.append(not_supported("spec.unhealthyPodEvictionPolicy", policy, (ALWAYS_ALLOW, "IfHealthyBudget")))
    try:
        _ = label_selector_from(spec.get("selector"))
    except (SelectorError, KeyError) as error:
        errors.append(invalid("spec.selector", spec.get("selector"), f"invalid label selector: {error}"))
    return errors
