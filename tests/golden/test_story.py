"""Stories: what repeats is told once with its number, attempts are never taken together, no clock cuts anything."""

from __future__ import annotations

import pytest
from tests.golden.generated_names import renamed
from tests.golden.observation import EventSeen, Observation
from tests.golden.story import compared, is_told, story_of, wrong_counts, wrong_times

CONTAINER = "spec.containers{c}"


def told(*reasons: str, where: str = CONTAINER) -> list[EventSeen]:
    """Events as the words say: `Failed!` is a failed pull, `Error` ends it, anything else is a reason."""
    rows = []
    for word in " ".join(reasons).split():
        reason = {"Failed!": "Failed", "Error": "Failed", "Waits": "Failed"}.get(word, word)
        message = {
            "Failed!": "Failed to pull image",
            "Error": "Error: ErrImagePull",
            "Waits": "Error: ImagePullBackOff",
        }
        rows.append(EventSeen(type="Normal", reason=reason, where=where, message=message.get(word, word), count=1))
    return rows


ATTEMPT, BACK_OFF = "Pulling Failed! Error", "BackOff Waits"


def lines(rows: list[EventSeen]) -> list[tuple[str, int]]:
    return [(one.line.rpartition("| ")[2], one.times) for one in story_of(rows)]


def test_back_offs_in_a_row_are_told_once() -> None:
    assert lines(told(ATTEMPT, BACK_OFF, BACK_OFF, ATTEMPT)) == [
        ("Pulling", 1),
        ("Failed to pull image", 1),
        ("Error: ErrImagePull", 1),
        ("BackOff", 2),
        ("Error: ImagePullBackOff", 2),
        ("Pulling", 1),
        ("Failed to pull image", 1),
        ("Error: ErrImagePull", 1),
    ]


def test_attempts_in_a_row_stay_two() -> None:
    """A pod that pulled again without a back-off would show it."""
    assert lines(told(ATTEMPT, ATTEMPT)) == lines(told(ATTEMPT)) * 2


def test_starts_in_a_row_stay_two() -> None:
    assert len(lines(told("Pulled Created Started", "Pulled Created Started"))) == 6


def test_looks_at_an_image_volume_are_told_once() -> None:
    looks = [*told("Pulling Pulled Pulling Pulled Pulling Pulled", where=""), *told("Created")]
    assert lines(looks) == [("Pulling", 3), ("Pulled", 3), ("Created", 1)]


def test_a_waiting_pod_is_compared_up_to_its_third_attempt() -> None:
    turn = f"{ATTEMPT} {BACK_OFF} "
    assert lines(told(turn * 3)) == lines(told(turn * 2, ATTEMPT)) == lines(told(turn * 9))


def test_a_pod_that_recovered_is_compared_to_its_end() -> None:
    turn = f"{ATTEMPT} {BACK_OFF} "
    assert len(lines(told(turn * 4, "Pulled Created Started"))) == 23


def test_who_waits_longer_is_not_different() -> None:
    turn = f"{ATTEMPT} {BACK_OFF} "
    want, got = compared(told(turn, ATTEMPT), told(turn * 3))
    assert want == got
    want, got = compared(told(turn, "Pulled Created Started"), told(turn * 3))
    assert want != got


@pytest.mark.parametrize(
    ("recorded", "replayed", "is_wrong"),
    [
        ([ATTEMPT, BACK_OFF, ATTEMPT], [ATTEMPT, BACK_OFF, BACK_OFF, ATTEMPT], False),
        ([ATTEMPT, BACK_OFF, ATTEMPT], [ATTEMPT, BACK_OFF, BACK_OFF, BACK_OFF, ATTEMPT], True),
        (
            [ATTEMPT, BACK_OFF, ATTEMPT, BACK_OFF, ATTEMPT],
            [ATTEMPT, BACK_OFF, ATTEMPT, BACK_OFF, BACK_OFF, ATTEMPT],
            True,
        ),
        ([ATTEMPT, BACK_OFF], [ATTEMPT, BACK_OFF, BACK_OFF, BACK_OFF, BACK_OFF], False),
    ],
    ids=["news at the start", "too much news", "after the second attempt", "no end"],
)
def test_how_often_something_may_be_told(recorded: list[str], replayed: list[str], *, is_wrong: bool) -> None:
    assert bool(wrong_times(*compared(told(*recorded), told(*replayed)))) is is_wrong


def test_a_replay_ends_when_all_is_told() -> None:
    recorded = told(ATTEMPT, BACK_OFF, ATTEMPT)
    assert not is_told(recorded, told(ATTEMPT, BACK_OFF, "Pulling Failed!"))
    assert is_told(recorded, told(ATTEMPT, BACK_OFF, ATTEMPT))
    assert is_told([], [])
    never = "ErrImageNeverPull Waits "
    assert not is_told(told(never * 7), told(never * 2))
    assert is_told(told(never * 7), told(never * 4))


def test_counts_are_counted_on() -> None:
    rows = told("Scheduled", "Pulling", "Pulling", "Scheduled", "Pulling")
    assert wrong_counts(rows) == ["count 1 where 2 follows: Normal Pulling | spec.containers{c} | Pulling"]
    rows[2].count = 2
    assert wrong_counts(rows) == []


def test_generated_names_go_by_the_order_of_creation() -> None:
    def event(reason: str, message: str) -> EventSeen:
        return EventSeen(type="Normal", reason=reason, where="", message=message, count=1)

    seen = Observation(
        events={
            "web": [
                event("ScalingReplicaSet", "Scaled up replica set web-f8d6 from 0 to 2"),
                event(
                    "ScalingReplicaSet", "(combined from similar events): Scaled up replica set web-7bbf from 0 to 1"
                ),
            ],
            "web-f8d6": [
                event("SuccessfulCreate", "Created pod: web-f8d6-zz"),
                event("SuccessfulCreate", "Created pod: web-f8d6-aa"),
                event("SuccessfulDelete", "Deleted pod: web-f8d6-zz"),
            ],
            "web-f8d6-aa": [],
        },
        statuses={"web-f8d6-zz": ["Running"]},
        description=["Name:  web-f8d6-aa", "Labels:  hash=f8d6", "Name:  web-f8d6-zz"],
    )
    short = renamed(seen)
    assert list(short.events) == ["web", "web-<1>", "web-<1>-<2>"]
    assert short.events["web"][1].message.endswith("replica set web-<2> from 0 to 1")
    assert short.events["web-<1>"][2].message == "Deleted pod: web-<1>-<one>"
    assert short.statuses == {"web-<1>-<1>": ["Running"]}
    assert short.description == ["Name:  web-<1>-<1>", "Name:  web-<1>-<2>", "Labels:  hash=<1>"]
