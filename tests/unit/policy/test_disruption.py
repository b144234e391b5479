"""PodDisruptionBudgets: the count, and the decision about one pod."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pullet.base.jsonvalue import JsonObject
from pullet.kube.meta import format_time
from pullet.policy.disruption import (
    Verdict,
    budget_status,
    budgets_of,
    decide_eviction,
    needs_no_budget,
    take_one,
    validate_budget,
)

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def pod(name: str, *, ready: bool = True, phase: str = "Running", deleted: bool = False) -> JsonObject:
    meta: JsonObject = {"name": name, "labels": {"app": "web"}}
    if deleted:
        meta["deletionTimestamp"] = format_time(NOW)
    condition = {"type": "Ready", "status": "True" if ready else "False"}
    return {"metadata": meta, "status": {"phase": phase, "conditions": [condition]}}


def budget(status: JsonObject | None = None, **spec: Any) -> JsonObject:
    selector = {"selector": {"matchLabels": {"app": "web"}}}
    return {"metadata": {"name": "b", "generation": 1}, "spec": selector | spec, "status": status or {}}


PODS = [pod("a"), pod("b"), pod("c", ready=False)]


@pytest.mark.parametrize(
    ("spec", "wanted", "expected"),
    [
        ({"minAvailable": 1}, 3, (1, 2, 1, 3)),
        ({"minAvailable": 2}, 3, (0, 2, 2, 3)),
        ({"minAvailable": 5}, 3, (0, 2, 5, 3)),
        ({"minAvailable": "50%"}, 3, (0, 2, 2, 3)),
        ({"minAvailable": "10%"}, 3, (1, 2, 1, 3)),
        ({"maxUnavailable": 1}, 3, (0, 2, 2, 3)),
        ({"maxUnavailable": "34%"}, 3, (1, 2, 1, 3)),
        ({"maxUnavailable": 9}, 4, (2, 2, 0, 4)),
        ({}, 3, (2, 2, 0, 3)),
    ],
    ids=str,
)
def test_the_count(spec: JsonObject, wanted: int, expected: tuple[int, int, int, int]) -> None:
    status = budget_status(budget(**spec), PODS, wanted, NOW).status
    fields = ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods")
    assert tuple(status[field] for field in fields) == expected
    (condition,) = status["conditions"]
    words = ("True", "SufficientPods") if expected[0] else ("False", "InsufficientPods")
    assert (condition["status"], condition["reason"]) == words


def test_nothing_to_disrupt_without_pods() -> None:
    assert budget_status(budget(maxUnavailable=1), [], 0, NOW).status["disruptionsAllowed"] == 0


def test_an_evicted_pod_counts_as_gone_until_it_is_seen_going_or_two_minutes_are_over() -> None:
    before = budget({"disruptionsAllowed": 1, "observedGeneration": 1}, minAvailable=1)
    taken = take_one(before, "a", NOW)
    assert taken["status"]["disruptionsAllowed"] == 0
    assert taken["status"]["conditions"][0]["reason"] == "InsufficientPods"
    soon = budget_status(taken, PODS, 3, NOW + timedelta(seconds=30))
    assert (soon.status["currentHealthy"], soon.again_in) == (1, 90.0)
    assert soon.status["disruptedPods"] == {"a": format_time(NOW)}
    going = budget_status(taken, [pod("a", deleted=True), pod("b")], 3, NOW + timedelta(seconds=30))
    assert (going.status["currentHealthy"], going.again_in) == (1, None)
    assert "disruptedPods" not in going.status
    late = budget_status(taken, PODS, 3, NOW + timedelta(seconds=121))
    assert (late.status["currentHealthy"], late.again_in) == (2, None)


def test_a_condition_keeps_its_time_while_it_stays() -> None:
    first = budget_status(budget(minAvailable=1), PODS, 3, NOW).status
    later = budget_status(budget(first, minAvailable=1), PODS, 3, NOW + timedelta(hours=1)).status
    assert later == first


SEEN: JsonObject = {"observedGeneration": 1, "currentHealthy": 2, "desiredHealthy": 1, "disruptionsAllowed": 1}


@pytest.mark.parametrize(
    ("subject", "given", "verdict"),
    [
        (pod("a"), budget(SEEN), Verdict.TAKE),
        (pod("a"), budget(SEEN | {"disruptionsAllowed": 0}), Verdict.EXHAUSTED),
        (pod("a"), budget(SEEN | {"disruptionsAllowed": -1}), Verdict.NEGATIVE),
        (pod("a"), budget(SEEN | {"observedGeneration": 0}), Verdict.NOT_YET_SEEN),
        (pod("a"), budget({}), Verdict.NOT_YET_SEEN),
        (pod("a"), budget(SEEN | {"disruptedPods": dict.fromkeys(map(str, range(2001)), "t")}),
         Verdict.TOO_MANY_UNDER_WAY),
        (pod("a", ready=False), budget(SEEN | {"disruptionsAllowed": 0}), Verdict.FREE),
        (pod("a", ready=False), budget(SEEN | {"disruptionsAllowed": 0, "currentHealthy": 0}), Verdict.EXHAUSTED),
        (pod("a", ready=False), budget({}, unhealthyPodEvictionPolicy="AlwaysAllow"), Verdict.FREE),
    ],
    ids=["take", "exhausted", "negative", "stale", "new", "many", "unready", "unready-low", "always"],
)  # fmt: skip
def test_the_decision(subject: JsonObject, given: JsonObject, verdict: Verdict) -> None:
    assert decide_eviction(subject, given) is verdict


def test_pods_that_serve_nobody_need_no_budget() -> None:
    assert not needs_no_budget(pod("a"))
    assert all(needs_no_budget(pod("a", phase=phase)) for phase in ("Pending", "Succeeded", "Failed"))
    assert needs_no_budget(pod("a", deleted=True))


def test_selectors() -> None:
    other = {"metadata": {"name": "o"}, "spec": {"selector": {"matchLabels": {"app": "x"}}}}
    every = {"metadata": {"name": "e"}, "spec": {"selector": {}}}
    none: JsonObject = {"metadata": {"name": "n"}, "spec": {}}
    assert [one["metadata"]["name"] for one in budgets_of(pod("a"), [budget(), other, every, none])] == ["b", "e"]


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"minAvailable": -1}, "spec.minAvailable: Invalid value: -1: must be greater than or equal to 0"),
        ({"maxUnavailable": "101%"}, 'spec.maxUnavailable: Invalid value: "101%": must not be greater than 100%'),
        ({"unhealthyPodEvictionPolicy": "x"},
         'spec.unhealthyPodEvictionPolicy: Unsupported value: "x": supported values: "AlwaysAllow", "IfHealthyBudget"'),
    ],
)  # fmt: skip
def test_rules(spec: JsonObject, text: str) -> None:
    assert [str(error) for error in validate_budget(budget(**spec))] == [text]
    assert validate_budget(budget(minAvailable="50%")) == []
    (both,) = validate_budget(budget(minAvailable=1, maxUnavailable=1))
    assert str(both).endswith("minAvailable and maxUnavailable cannot be both set")
