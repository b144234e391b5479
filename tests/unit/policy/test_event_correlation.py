"""Counting, aggregation and the spam filter, as a real cluster showed them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from pullet.kube.event import ObjectReferenceView
from pullet.policy.event_correlation import (
    AGGREGATE_PREFIX,
    CreateEvent,
    Event,
    EventCorrelator,
    PatchEvent,
    event_name,
)

START = datetime(2026, 11, 20, 18, 30, tzinfo=UTC)


def happened(
    message: str = "m",
    *,
    at: float = 0.0,
    reason: str = "Failed",
    kind: str = "Warning",
    path: str = "p",
    uid: str = "u",
) -> Event:
    now = START + timedelta(seconds=at)
    return Event(
        name=event_name("pod", now),
        involved=ObjectReferenceView(
            kind="Pod", namespace="ns", name="pod", uid=uid, api_version="v1", field_path=path
        ),
        type=kind,
        reason=reason,
        message=message,
        component="kubelet",
        host="n",
        first_at=now,
        last_at=now,
    )


def test_names_carry_the_time_in_hex() -> None:
    moment = datetime(2026, 11, 20, 18, 30, 9, 500000, tzinfo=UTC)
    nanoseconds = int(event_name("nginx", moment).removeprefix("nginx."), 16)
    assert nanoseconds == int(moment.timestamp()) * 1_000_000_000 + 500_000_000


def test_the_same_event_again_is_a_patch_of_the_first() -> None:
    correlator = EventCorrelator()
    first = correlator.correlate(happened())
    again = correlator.correlate(happened(at=12))
    assert isinstance(first, CreateEvent)
    assert isinstance(again, PatchEvent)
    assert again.event.name == first.event.name
    assert again.event.count == 2
    assert again.event.first_at == START
    assert again.event.last_at == START + timedelta(seconds=12)


def test_field_path_and_message_tell_events_apart() -> None:
    correlator = EventCorrelator()
    for event in (happened(), happened(path="q"), happened("n"), happened(reason="BackOff"), happened(uid="v")):
        assert isinstance(correlator.correlate(event), CreateEvent)


def test_the_tenth_different_message_is_combined() -> None:
    correlator = EventCorrelator()
    for number in range(9):
        assert isinstance(correlator.correlate(happened(f"m{number}", at=number)), CreateEvent)
    tenth = correlator.correlate(happened("m9", at=9))
    assert isinstance(tenth, CreateEvent)
    assert tenth.event.message == AGGREGATE_PREFIX + "m9"
    eleventh = correlator.correlate(happened("m10", at=10))
    assert isinstance(eleventh, PatchEvent)
    assert (eleventh.event.name, eleventh.event.count) == (tenth.event.name, 2)
    assert eleventh.event.message == AGGREGATE_PREFIX + "m10"


def test_ten_quiet_minutes_end_the_combining() -> None:
    correlator = EventCorrelator()
    for number in range(10):
        correlator.correlate(happened(f"m{number}", at=number))
    later = correlator.correlate(happened("new", at=9 + 600.5))
    assert isinstance(later, CreateEvent)
    assert later.event.message == "new"


def test_twenty_five_at_once_then_one_in_five_minutes() -> None:
    correlator = EventCorrelator()
    written = [correlator.correlate(happened(at=second)) for second in range(30)]
    assert [each is not None for each in written] == [True] * 25 + [False] * 5
    later = correlator.correlate(happened(at=301))
    assert isinstance(later, PatchEvent)
    assert later.event.count == 31  # the five dropped ones were counted


def test_half_a_token_is_none_and_exactly_ten_minutes_are_not_quiet_enough() -> None:
    correlator = EventCorrelator()
    for _ in range(25):
        correlator.correlate(happened())
    assert correlator.correlate(happened(at=299)) is None
    assert correlator.correlate(happened(at=300)) is not None
    busy = EventCorrelator()
    for number in range(9):
        busy.correlate(happened(f"m{number}"))
    result = busy.correlate(happened("m9", at=600))
    assert result is not None
    assert result.event.message.startswith(AGGREGATE_PREFIX)


def test_types_have_budgets_of_their_own() -> None:
    def dropped(correlator: EventCorrelator) -> bool:
        for second in range(25):
            correlator.correlate(happened(at=second))
        return correlator.correlate(happened(at=26, kind="Normal", reason="BackOff")) is None

    assert not dropped(EventCorrelator())
    assert dropped(EventCorrelator(spam_by_type=False))


def test_a_pull_that_fails_for_minutes_saturates_as_recorded() -> None:
    """Six attempts and a back-off every 13 s: warnings stop at 25, as counts x5, x5, x15 (+jumps) did."""
    correlator = EventCorrelator()
    attempts = [1.2, 14.3, 43.3, 86.3, 172.3, 345.3]
    stored: dict[str, int] = {}
    emitted = {"Failed to pull": 0, "ErrImagePull": 0, "ImagePullBackOff": 0}

    def emit(message: str, at: float) -> None:
        emitted[message] += 1
        result = correlator.correlate(happened(message, at=at))
        if result is not None:
            stored[message] = result.event.count

    moment = 1.2
    while moment < 400:
        if attempts and moment >= attempts[0]:
            attempts.pop(0)
            emit("Failed to pull", moment)
            emit("ErrImagePull", moment)
        else:
            emit("ImagePullBackOff", moment)
        moment += 14.2
    assert emitted["Failed to pull"] == 6
    assert stored["Failed to pull"] == stored["ErrImagePull"] == 5
    assert 15 < stored["ImagePullBackOff"] < emitted["ImagePullBackOff"]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 60)), max_size=60))
def test_counts_tell_how_often_it_happened(steps: list[tuple[str, float]]) -> None:
    correlator, seen, now = EventCorrelator(), dict.fromkeys("abc", 0), 0.0
    names: dict[str, str] = {}
    for message, pause in steps:
        now += pause
        seen[message] += 1
        result = correlator.correlate(happened(message, at=now))
        if result is not None:
            assert result.event.count == seen[message]
            assert isinstance(result, CreateEvent) is (seen[message] == 1)
            assert names.setdefault(message, result.event.name) == result.event.name
