"""Reading kubectl's watches: whatever way the bytes are cut, rows and objects arrive whole and in order."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.golden.watching import Watched, read_lines, read_objects


def event(count: int, message: str = "Pulling image") -> dict[str, Any]:
    return {
        "type": "MODIFIED",
        "object": {
            "type": "Normal",
            "reason": "Pulling",
            "message": message,
            "count": count,
            "involvedObject": {"kind": "Pod", "namespace": "ns", "name": "a", "fieldPath": "spec.containers{a}"},
        },
    }


def pod(change: str) -> dict[str, Any]:
    return {"type": change, "object": {"kind": "Pod", "metadata": {"namespace": "ns", "name": "a"}}}


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_objects_arrive_whole(size: int) -> None:
    text = "\n".join(json.dumps(one, indent=2) for one in (event(1), event(2), event(1, "another")))
    watched, unread = Watched(), ""
    for start in range(0, len(text), size):
        unread = read_objects(unread + text[start : start + size], watched.add_event)
    assert [(row.message, row.count) for row in watched.events["ns"]["a"]] == [
        ("Pulling image", 1),
        ("Pulling image", 2),
        ("another", 1),
    ]


@pytest.mark.parametrize("size", [1, 11, 1000])
def test_rows_arrive_whole_and_repeats_are_dropped(size: int) -> None:
    text = (
        "NAMESPACE   NAME   READY   STATUS    RESTARTS   AGE\n"
        "ns          a      0/1     Pending   0          0s\n"
        "ns          a      0/1     Pending   0          0s\n"
        "ns          a      1/1     Running   1 (3s ago) 1s\n"
    )
    watched, unread = Watched(), ""
    for start in range(0, len(text), size):
        unread = read_lines(unread + text[start : start + size], watched.add_row)
    assert watched.statuses == {"ns": {"a": ["Pending", "Running"]}}


def test_a_deleted_pod_is_forgotten() -> None:
    watched = Watched()
    watched.add_pod(pod("ADDED"))
    assert ("ns", "a") in watched.pods
    watched.add_pod(pod("DELETED"))
    assert watched.pods == {}


def test_a_wait_in_vain_says_for_what() -> None:
    with pytest.raises(AssertionError, match=r"not within 0\.01 s: rain"):
        Watched().wait_for(lambda: False, seconds=0.01, what="rain")
