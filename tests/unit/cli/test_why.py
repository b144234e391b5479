"""What `pullet why` makes of the journal's passes."""

from __future__ import annotations

from typing import Any

from pullet.cli.why import last_of_each


def one_pass(outcome: str, *, container: str = "c") -> dict[str, Any]:
    return {"container": container, "image": "x", "outcome": outcome}


def test_the_newest_of_each_container_counts() -> None:
    passes = [one_pass("pulled", container="a"), one_pass("used-local"), one_pass("failed", container="a")]
    assert [(one["container"], one["outcome"]) for one in last_of_each(passes)] == [
        ("a", "pulled"),
        ("c", "used-local"),
    ]
