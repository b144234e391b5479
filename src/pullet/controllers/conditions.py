"""Conditions in a status, and amounts written as number or percentage. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from pullet.base.jsonvalue import JsonObject
from pullet.kube.meta import format_time


def find_condition(conditions: Iterable[Mapping[str, Any]], kind: str) -> Mapping[str, Any] | None:
    """The condition of a type."""
    return next((condition for condition in conditions if condition.get("type") == kind), None)


def set_condition(
    conditions: Iterable[Mapping[str, Any]],
    kind: str,
    status: str,
    reason: str,
    message: str,
    now: datetime,
    *,
    with_update_time: bool = False,
    keep_if_same: bool = True,
) -> list[JsonObject]:
    """The conditions with one replaced in its place, or added at the end.

    The transition time moves only when `status` does. With `keep_if_same`, equal status and reason change nothing.
    """  # fmt: skip
    old = find_condition(conditions, kind)
    if old is not None and keep_if_same and old.get("status") == status and old.get("reason") == reason:
        return [dict(condition) for condition in conditions]
    stamp = format_time(now)
    fresh: JsonObject = {"type": kind, "status": status}
    if with_update_time:
        fresh["lastUpdateTime"] = stamp
    same = old is not None and old.get("status") == status
    fresh["lastTransitionTime"] = (old or {}).get("lastTransitionTime") or stamp if same else stamp
    fresh |= {"reason": reason, "message": message}
    if old is None:
        return [*(dict(condition) for condition in conditions), fresh]
    return [fresh if condition.get("type") == kind else dict(condition) for condition in conditions]


def drop_condition(conditions: Iterable[Mapping[str, Any]], kind: str) -> list[JsonObject]:
    """The conditions without one type."""
    return [dict(condition) for condition in conditions if condition.get("type") != kind]


def scaled_value(value: int | str | None, total: int, *, default: int | str, round_up: bool) -> int:
    """An IntOrString as a number: percentages are of `total`.

    Raises:
        ValueError: a string that is no percentage.
    """
    chosen = default if value is None else value
    if isinstance(chosen, int):
        return chosen
    if not chosen.endswith("%"):
        raise ValueError(f"{chosen!r} is neither a number nor a percentage")
    share = int(chosen[:-1]) * total / 100
    return math.ceil(share) if round_up else math.floor(share)
