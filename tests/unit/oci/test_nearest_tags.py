from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pullet.oci.nearest_tags import edit_distance, nearest_tags

TAGS = ["1.16", "1.17.1", "1.17.2", "1.17.10", "1.18", "2", "alpine", "latest", "stable", "stable-alpine"]


@pytest.mark.parametrize(
    ("wanted", "nearest"),
    [
        ("1.17.5", ["1.17.1", "1.17.2", "1.17.10"]),
        ("1.17", ["1.17.1", "1.17.10", "1.17.2"]),
        ("1.18.3", ["1.18", "1.17.1", "1.17.2"]),
        ("lastest", ["latest"]),
        ("stabel", ["stable"]),
        ("stable-alpin", ["stable-alpine", "stable"]),
        ("windows-ltsc2022", []),
        ("9", ["2"]),
    ],
)
def test_what_was_meant(wanted: str, nearest: list[str]) -> None:
    assert list(nearest_tags(wanted, TAGS)) == nearest


def test_no_tags() -> None:
    assert list(nearest_tags("latest", [])) == []


@pytest.mark.parametrize(
    ("one", "other", "distance"),
    [("", "", 0), ("a", "", 1), ("kitten", "sitting", 3), ("abc", "abc", 0), ("abc", "xyz", 3), ("abcdefgh", "x", 5)],
)
def test_distances(one: str, other: str, distance: int) -> None:
    assert edit_distance(one, other, 4) == distance


@given(st.text(max_size=8), st.text(max_size=8))
def test_distance_is_a_metric(one: str, other: str) -> None:
    distance = edit_distance(one, other, 20)
    assert distance == edit_distance(other, one, 20)
    assert (distance == 0) == (one == other)
    assert abs(len(one) - len(other)) <= distance <= max(len(one), len(other))
    assert edit_distance(one, other, 2) == min(distance, 3)
