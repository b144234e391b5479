"""Go durations and kubectl's ages."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pullet.kube.duration import format_go_duration, format_go_nanoseconds, human_duration, parse_go_duration


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0s"),
        (15_434_915_091, "15.434915091s"),
        (234_000_000, "234ms"),
        (1_500_000, "1.5ms"),
        (2_000, "2µs"),
        (7, "7ns"),
        (90_500_000_000, "1m30.5s"),
        (7_230_250_000_000, "2h0m30.25s"),
        (-1_500_000_000, "-1.5s"),
    ],
)
def test_go_spelling(nanoseconds: int, text: str) -> None:
    assert format_go_nanoseconds(nanoseconds) == text


@given(st.integers(min_value=-(10**14), max_value=10**14))
def test_go_durations_survive_a_round_trip(microseconds: int) -> None:
    duration = timedelta(microseconds=microseconds)
    assert abs(parse_go_duration(format_go_duration(duration)) - duration) < timedelta(microseconds=2)


@pytest.mark.parametrize("text", ["", "5", "1h30", "s", "1 s", "1x"])
def test_what_is_no_go_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="invalid duration"):
        parse_go_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "<invalid>"),
        (-0.5, "0s"),
        (0, "0s"),
        (119.9, "119s"),
        (120, "2m"),
        (599, "9m59s"),
        (600, "10m"),
        (3 * 3600 - 1, "179m"),
        (3 * 3600, "3h"),
        (7 * 3600 + 120, "7h2m"),
        (47 * 3600, "47h"),
        (48 * 3600, "2d"),
        (50 * 3600, "2d2h"),
        (8 * 86400, "8d"),
        (729 * 86400, "729d"),
        (3 * 365 * 86400 + 86400, "3y1d"),
        (9 * 365 * 86400, "9y"),
    ],
)
def test_ages(seconds: float, text: str) -> None:
    assert human_duration(timedelta(seconds=seconds)) == text
