"""Thresholds of disk pressure."""

from __future__ import annotations

import pytest

from pullet.base.errors import UsageError
from pullet.policy.eviction import (
    DEFAULT_EVICTION_HARD,
    EvictionSignal,
    Observation,
    met_thresholds,
    parse_thresholds,
)

GIB = 1 << 30


def signals(values: dict[str, str], **observed: tuple[int, int]) -> set[str]:
    """The signals met when `observed` (nodefs_available=(available, capacity)) is seen."""
    observations = {
        EvictionSignal(name.replace("_inodes", ".inodesFree").replace("_available", ".available")): Observation(*each)
        for name, each in observed.items()
    }
    return {each.signal.value for each in met_thresholds(parse_thresholds(values), observations)}


@pytest.mark.parametrize(
    ("available", "met"), [(151, set()), (150, set()), (149, {"imagefs.available"}), (0, {"imagefs.available"})]
)
def test_the_defaults_want_fifteen_percent_for_images(available: int, met: set[str]) -> None:
    assert signals(DEFAULT_EVICTION_HARD, imagefs_available=(available, 1000), nodefs_available=(500, 1000)) == met


def test_the_defaults_want_ten_percent_for_pods_and_five_of_the_inodes() -> None:
    assert signals(
        DEFAULT_EVICTION_HARD, nodefs_available=(99, 1000), nodefs_inodes=(49, 1000), imagefs_inodes=(51, 1000)
    ) == {"nodefs.available", "nodefs.inodesFree"}


def test_a_quantity_is_absolute() -> None:
    values = {"nodefs.available": "1Gi"}
    assert signals(values, nodefs_available=(GIB, 100 * GIB)) == set()
    assert signals(values, nodefs_available=(GIB - 1, 100 * GIB)) == {"nodefs.available"}


def test_a_file_system_without_inodes_is_never_short_of_them() -> None:
    assert signals(DEFAULT_EVICTION_HARD, nodefs_inodes=(0, 0)) == set()


@pytest.mark.parametrize("value", ["0%", "0"])
def test_zero_switches_a_signal_off(value: str) -> None:
    assert parse_thresholds({"nodefs.available": value}) == ()


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"disk.available": "1%"}, "unknown signal 'disk.available'"),
        ({"nodefs.available": "lots"}, "neither a percentage"),
        ({"nodefs.available": "100%"}, "neither a percentage"),
        ({"nodefs.available": "-1Gi"}, "must be positive"),
    ],
)
def test_mistakes_are_named(values: dict[str, str], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        parse_thresholds(values)
