"""The events of one object as a story: what was told, in order, and how often what repeats itself was told in a row.

A pod that waits tells the same again at every sync. How often depends on how long somebody watched, so that is told
once, with its number; failed pulls and starts are never taken together: each is an attempt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.golden.observation import EventSeen

_AT_EVERY_SYNC = frozenset({"BackOff", "InspectFailed", "ErrImageNeverPull", "FailedToRetrieveImagePullSecret"})
_LONGEST_TURN = 3
MOST_ATTEMPTS = 3  # of a pod that goes on waiting; the later ones are told by the tests in fake time
MOST_TIMES = 4


@dataclass(frozen=True, kw_only=True)
class Told:
    """One event, told `times` times in a row, alone or with the neighbours of the same turn."""

    line: str
    turn: int
    times: int


def line_of(row: EventSeen) -> str:
    """The event without its count."""
    return f"{row.type} {row.reason} | {row.where} | {row.message}"


def story_of(rows: Sequence[EventSeen]) -> list[Told]:
    """The story of one object; of a waiting one up to its attempt number `MOST_ATTEMPTS`."""
    told: list[Told] = []
    attempts = at = number = 0
    while at < len(rows):
        length, times = _turn(rows, at)
        told += [Told(line=line_of(row), turn=number, times=times) for row in rows[at : at + length]]
        at, number = at + length * times, number + 1
        attempts += _ends_attempt(line_of(rows[at - 1]))
        if attempts == MOST_ATTEMPTS and is_waiting(rows):
            break
    return told


def is_waiting(rows: Sequence[EventSeen]) -> bool:
    """Whether the story has no end: its last event is one of those that come again and again."""
    return bool(rows) and (_may_repeat(rows[-1]) or rows[-1].reason == "Pulling" or "to pull" in rows[-1].message)


def _turn(rows: Sequence[EventSeen], at: int) -> tuple[int, int]:
    """How many events from `at` on are one turn, and how often it is told."""
    for length in range(1, _LONGEST_TURN + 1):
        turn = [line_of(row) for row in rows[at : at + length]]
        if not all(_may_repeat(row) for row in rows[at : at + length]):
            break
        times = 1
        while [line_of(row) for row in rows[at + length * times : at + length * (times + 1)]] == turn:
            times += 1
        if times > 1:
            return length, times
    return 1, 1


def _may_repeat(row: EventSeen) -> bool:
    is_refused_start = row.reason == "Failed" and row.message.startswith("Error: ")
    is_look_at_volume = row.reason in ("Pulling", "Pulled") and not row.where
    return row.reason in _AT_EVERY_SYNC or is_refused_start or is_look_at_volume


def _ends_attempt(line: str) -> bool:
    return line.endswith("| Error: ErrImagePull")


def compared(recorded: Sequence[EventSeen], replayed: Sequence[EventSeen]) -> tuple[list[Told], list[Told]]:
    """Both stories, of a pod that waits as far as the recording goes."""
    want, got = story_of(recorded), story_of(replayed)
    return want, got[: len(want)] if is_waiting(recorded) else got


def wrong_times(want: Sequence[Told], got: Sequence[Told]) -> list[str]:
    """Complaints about how often something was told in a row, of two stories that tell the same.

    After the second attempt timers alone count, so the number is the recording's. Before that, the news of a start wake
    syncs, and how many come together is a matter of the moment: one more or less. The last turn has no end.
    """
    complaints = []
    attempts = 0
    for one, other in zip(want, got, strict=True):
        attempts += _ends_attempt(one.line)
        times, seen = min(one.times, MOST_TIMES), min(other.times, MOST_TIMES)
        is_last = one.turn == want[-1].turn or other.turn == got[-1].turn
        if not is_last and abs(times - seen) > (1 if attempts < 2 else 0):
            complaints.append(f"told {other.times} times in a row, recorded {one.times} times: {one.line}")
    return complaints


def is_told(recorded: Sequence[EventSeen], replayed: Sequence[EventSeen]) -> bool:
    """Whether everything that is compared was told: then a replay may end."""
    want, got = story_of(recorded), story_of(replayed)
    if len(got) < len(want):
        return False
    return not want or min(got[len(want) - 1].times, MOST_TIMES) >= min(want[-1].times, MOST_TIMES) - 1


def wrong_counts(rows: Sequence[EventSeen]) -> list[str]:
    """Complaints about counts: an event that repeats is counted on one by one, until another pod is scheduled."""
    counts: dict[str, int] = {}
    complaints = []
    for row in rows:
        line = line_of(row)
        if row.reason == "Scheduled":
            counts.clear()
        if "<" in row.message or row.message.startswith("(combined from similar events)"):
            continue  # told apart by what a name hides, or counted together
        counts[line] = counts.get(line, 0) + 1
        if row.count != counts[line]:
            complaints.append(f"count {row.count} where {counts[line]} follows: {line}")
    return complaints
