"""Which images go, in which order, and how much space is wanted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pullet.base.errors import UsageError
from pullet.policy.image_gc import (
    NEVER_USED,
    ImageGCPolicy,
    ImageOnDisk,
    ImageRecord,
    choose_aged,
    choose_for_space,
    compute_space_need,
    detect_images,
    removal_order,
)

POLICY = ImageGCPolicy()


def record(image_id: str, *, first: float = 0, used: float = NEVER_USED, pinned: bool = False) -> ImageRecord:
    return ImageRecord(id=image_id, first_detected=first, last_used=used, size_bytes=10, is_pinned=pinned)


def ids(records: list[ImageRecord]) -> list[str]:
    return [each.id for each in records]


def test_detection_dates_new_images_touches_used_ones_and_drops_vanished_ones() -> None:
    images = [ImageOnDisk(id="a", size_bytes=1), ImageOnDisk(id="b", size_bytes=2, is_pinned=True)]
    first = detect_images({"gone": record("gone")}, images, {"a"}, 100)
    assert set(first) == {"a", "b"}
    assert (first["a"].first_detected, first["a"].last_used) == (100, 100)
    assert (first["b"].last_used, first["b"].is_pinned) == (NEVER_USED, True)
    second = detect_images(first, images, set(), 200)
    assert (second["a"].first_detected, second["a"].last_used) == (100, 100)


def test_removal_order_is_least_recently_used_then_first_seen() -> None:
    records = {
        each.id: each
        for each in (
            record("new", first=9, used=50),
            record("old", first=1, used=20),
            record("never-late", first=8),
            record("never-early", first=2),
            record("pinned", pinned=True),
            record("used"),
        )
    }
    assert ids(removal_order(records, {"used"})) == ["never-early", "never-late", "old", "new"]


@pytest.mark.parametrize(
    ("now", "wanted"),
    [(100, []), (101, ["never"]), (151, ["never", "used"]), (150, ["never"])],
)
def test_age_is_strict_and_waits_for_its_own_length(now: float, wanted: list[str]) -> None:
    policy = ImageGCPolicy(max_age_seconds=100)
    candidates = [record("never", first=99), record("used", first=0, used=50)]
    assert ids(choose_aged(candidates, policy, began_at=0, now=now)) == wanted


def test_without_maximal_age_nothing_is_too_old() -> None:
    assert choose_aged([record("a")], POLICY, began_at=0, now=1e9) == []


def test_young_and_just_used_images_are_spared() -> None:
    candidates = [record("young", first=99), record("just", first=0, used=200), record("ok", first=80, used=150)]
    assert ids(choose_for_space(candidates, min_age_seconds=120, now=200)) == ["ok"]


@pytest.mark.parametrize(
    ("capacity", "available", "usage", "to_free"),
    [
        (100, 50, 50, 0),
        (100, 16, 84, 0),
        (100, 15, 85, 5),
        (100, 0, 100, 20),
        (100, 500, 0, 0),
        (1000, 149, 86, 51),
    ],
)
def test_space_need(capacity: int, available: int, usage: int, to_free: int) -> None:
    need = compute_space_need(POLICY, capacity_bytes=capacity, available_bytes=available)
    assert (need.usage_percent, need.to_free_bytes) == (usage, to_free)


@pytest.mark.parametrize(
    ("high", "low", "text"),
    [
        (101, 0, "invalid HighThresholdPercent 101, must be in range [0-100]"),
        (50, -1, "invalid LowThresholdPercent -1, must be in range [0-100]"),
        (50, 60, "LowThresholdPercent 60 can not be higher than HighThresholdPercent 50"),
    ],
)
def test_thresholds_that_cannot_be(high: int, low: int, text: str) -> None:
    with pytest.raises(UsageError) as caught:
        ImageGCPolicy(high_threshold_percent=high, low_threshold_percent=low)
    assert str(caught.value) == text


def test_equal_thresholds_are_fine_and_hundred_without_age_is_off() -> None:
    assert not ImageGCPolicy(high_threshold_percent=80, low_threshold_percent=80).is_off
    assert ImageGCPolicy(high_threshold_percent=100).is_off
    assert not ImageGCPolicy(high_threshold_percent=100, max_age_seconds=1).is_off


@given(
    st.integers(1, 10**15),
    st.integers(0, 10**15),
    st.tuples(st.integers(0, 100), st.integers(0, 100)),
)
def test_freeing_what_is_asked_brings_usage_to_the_low_threshold(
    capacity: int, available: int, thresholds: tuple[int, int]
) -> None:
    low, high = sorted(thresholds)
    policy = ImageGCPolicy(high_threshold_percent=high, low_threshold_percent=low)
    need = compute_space_need(policy, capacity_bytes=capacity, available_bytes=available)
    assert 0 <= need.usage_percent <= 100
    assert 0 <= need.to_free_bytes <= capacity
    if need.usage_percent >= high and need.to_free_bytes:
        after = min(available, capacity) + need.to_free_bytes
        assert after == capacity * (100 - low) // 100
