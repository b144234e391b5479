"""Rollout arithmetic: single steps by table, whole rollouts by simulation with hypothesis."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pullet.base.jsonvalue import JsonObject
from pullet.controllers.rollout import (
    DESIRED_REPLICAS,
    MAX_REPLICAS,
    REVISION,
    Scale,
    history_to_delete,
    is_scaling_event,
    max_surge,
    max_unavailable,
    scale_in_proportion,
    scale_new,
    scale_old_rolling,
    scale_to_zero,
    wanted,
)


def deployment(
    replicas: int, surge: int | str | None = None, unavailable: int | str | None = None, **spec: Any
) -> JsonObject:
    rolling = {"maxSurge": surge, "maxUnavailable": unavailable}
    strategy = {
        "type": "RollingUpdate",
        "rollingUpdate": {key: value for key, value in rolling.items() if value is not None},
    }
    return {"metadata": {"name": "web"}, "spec": {"replicas": replicas, "strategy": strategy} | spec}


def replica_set(
    name: str, replicas: int, available: int | None = None, *, age: int = 0, annotations: dict[str, str] | None = None
) -> JsonObject:
    status = {"availableReplicas": replicas if available is None else available, "replicas": replicas}
    meta = {"name": name, "creationTimestamp": f"2026-01-01T00:00:{age:02d}Z", "annotations": annotations or {}}
    return {"metadata": meta, "spec": {"replicas": replicas}, "status": status}


def sizes(scales: list[Scale]) -> dict[str, int]:
    return {scale.replica_set["metadata"]["name"]: scale.replicas for scale in scales}


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable", "expected"),
    [
        (2, None, None, (1, 0)),  # 25 % of each: surge rounds up, unavailable down
        (10, None, None, (3, 2)),
        (4, "50%", "25%", (2, 1)),
        (1, 0, 0, (0, 1)),  # both zero would never move
        (3, "0%", "10%", (0, 1)),
        (0, "25%", "25%", (0, 0)),
        (2, 0, 5, (0, 2)),
    ],
)
def test_fence_posts(replicas: int, surge: Any, unavailable: Any, expected: tuple[int, int]) -> None:
    spec = deployment(replicas, surge, unavailable)
    assert (max_surge(spec), max_unavailable(spec)) == expected


def test_the_new_one_grows_into_the_surge_then_the_old_gives_way() -> None:
    web = deployment(2)
    old, new = replica_set("old", 2), replica_set("new", 0)
    assert scale_new(web, new, [old]) == Scale(new, 1)
    new = replica_set("new", 1, available=0)
    assert scale_new(web, new, [old]) is None
    assert scale_old_rolling(web, new, [old]) == []  # the minimum of 2 is all there is
    new = replica_set("new", 1)
    assert sizes(scale_old_rolling(web, new, [old])) == {"old": 1}


def test_unhealthy_old_pods_go_first_and_at_once() -> None:
    web = deployment(4, 1, 1)
    broken, healthy = replica_set("broken", 2, available=0, age=1), replica_set("healthy", 3, age=0)
    assert sizes(scale_old_rolling(web, replica_set("new", 0), [healthy, broken])) == {"broken": 0}


def test_a_stuck_new_one_keeps_the_old_pods() -> None:
    web, old = deployment(2), replica_set("old", 2)
    assert scale_old_rolling(web, replica_set("new", 1, available=0), [old]) == []


def test_too_many_new_replicas_shrink() -> None:
    new = replica_set("new", 5)
    assert scale_new(deployment(3), new, []) == Scale(new, 3)


def test_recreate_turns_everything_off_first() -> None:
    assert sizes(scale_to_zero([replica_set("a", 2), replica_set("b", 0)])) == {"a": 0}


@st.composite
def rollouts(draw: st.DrawFn) -> tuple[JsonObject, list[JsonObject], JsonObject]:
    replicas = draw(st.integers(1, 12))
    amounts = st.one_of(st.integers(0, 4), st.sampled_from(["0%", "10%", "25%", "50%", "100%"]))
    web = deployment(replicas, draw(amounts), draw(amounts))
    first = draw(st.integers(0, replicas))
    old = [replica_set("a", first, age=0), replica_set("b", replicas - first, age=1)]
    return web, old, replica_set("new", 0, age=2)


@given(rollouts(), st.data())
def test_a_rollout_ends_and_stays_within_its_bounds(
    rollout: tuple[JsonObject, list[JsonObject], JsonObject], data: st.DataObject
) -> None:
    web, old, new = rollout
    everything = [*old, new]
    for _ in range(400):
        step = scale_new(web, new, old)
        scales = [step] if step else scale_old_rolling(web, new, old)
        for scale in scales:
            scale.replica_set["spec"]["replicas"] = scale.replicas
        total = sum(wanted(item) for item in everything)
        assert total <= wanted(web) + max_surge(web)
        # pods that are given up vanish; some of the missing ones become available
        for item in everything:
            available = min(item["status"]["availableReplicas"], wanted(item))
            item["status"]["availableReplicas"] = available + data.draw(
                st.integers(0, min(1, wanted(item) - available))
            )
        assert sum(item["status"]["availableReplicas"] for item in everything) >= wanted(web) - max_unavailable(web)
        if wanted(new) == wanted(web) and not any(wanted(item) for item in old):
            return
        if not scales:  # nothing to do but wait: then something has to become available
            for item in everything:
                item["status"]["availableReplicas"] = wanted(item)
    raise AssertionError("the rollout does not end")


def test_a_paused_deployment_grows_in_proportion() -> None:
    web = deployment(15, 5, 2, paused=True)  # was 10 with a surge of 3
    before = {DESIRED_REPLICAS: "10", MAX_REPLICAS: "13"}
    old, new = replica_set("old", 8, age=0, annotations=before), replica_set("new", 5, age=1, annotations=before)
    grown = sizes(scale_in_proportion(web, new, [old]))
    assert sum(grown.values()) == 20
    assert grown == {"old": 12, "new": 8}


def test_scaling_to_zero_takes_all() -> None:
    old, new = replica_set("old", 3, age=0), replica_set("new", 2, age=1)
    assert sizes(scale_in_proportion(deployment(0), new, [old])) == {"old": 0, "new": 0}


def test_one_active_replica_set_simply_takes_the_size() -> None:
    assert sizes(scale_in_proportion(deployment(7), replica_set("new", 2), [replica_set("old", 0)])) == {"new": 7}
    assert scale_in_proportion(deployment(2), replica_set("new", 2), []) == []


def test_a_saturated_new_one_ends_the_old() -> None:
    new = replica_set("new", 2, age=1, annotations={DESIRED_REPLICAS: "2", MAX_REPLICAS: "3"})
    assert sizes(scale_in_proportion(deployment(2), new, [replica_set("old", 1)])) == {"old": 0}


@given(st.integers(0, 20), st.lists(st.integers(1, 9), min_size=1, max_size=5))
def test_proportions_add_up_to_the_allowed_size(replicas: int, parts: list[int]) -> None:
    total = sum(parts)
    sets = [
        replica_set(
            f"rs{number}",
            size,
            available=0,
            age=number,
            annotations={MAX_REPLICAS: str(total), DESIRED_REPLICAS: str(total)},
        )
        for number, size in enumerate(parts)
    ]
    web = deployment(replicas, 2, 0)
    after = {item["metadata"]["name"]: wanted(item) for item in sets} | sizes(
        scale_in_proportion(web, sets[-1], sets[:-1])
    )
    assert all(size >= 0 for size in after.values())
    allowed = (replicas + 2 if replicas else 0) if len(parts) > 1 else replicas
    assert sum(after.values()) == allowed


def test_a_change_of_size_is_noticed_by_annotation() -> None:
    sized = replica_set("a", 2, annotations={DESIRED_REPLICAS: "2"})
    assert not is_scaling_event(deployment(2), [sized])
    assert is_scaling_event(deployment(3), [sized])
    assert not is_scaling_event(deployment(3), [replica_set("empty", 0, annotations={DESIRED_REPLICAS: "2"})])


def test_history_keeps_the_latest_empty_ones() -> None:
    old = [replica_set(f"rs{n}", 0, age=9 - n, annotations={REVISION: str(n)}) for n in (4, 2, 3, 1)]
    web = deployment(1, revisionHistoryLimit=2)
    assert [item["metadata"]["name"] for item in history_to_delete(web, old)] == ["rs1", "rs2"]
    busy = replica_set("rs1", 1, annotations={REVISION: "1"})
    assert history_to_delete(deployment(1, revisionHistoryLimit=0), [busy]) == []
    assert history_to_delete(deployment(1), old) == []
