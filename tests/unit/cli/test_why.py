"""What `pullet why` makes of the journal's passes."""

from __future__ import annotations

from typing import Any

from pullet.cli.why import last_of_each


def one_pass(outcome: str, *, container: str = "c", uid: str = "u1", **more: str) -> dict[str, Any]:
    return {
        "container": container, "image": "x", "pod_uid": uid, "outcome": outcome, "cause": "", "next_step": "", **more,
    }  # fmt: skip


def test_the_newest_of_each_container_counts() -> None:
    passes = [one_pass("pulled", container="a"), one_pass("used-local"), one_pass("failed", container="a")]
    assert [(one["container"], one["outcome"]) for one in last_of_each(passes)] == [
        ("a", "pulled"),
        ("c", "used-local"),
    ]


def test_a_pass_that_waits_is_told_with_the_failure_it_waits_after() -> None:
    failed = one_pass("failed", cause="401", next_step="add a secret")
    (last,) = last_of_each([one_pass("waiting"), one_pass("waiting"), failed, one_pass("failed", next_step="older")])
    assert (last["outcome"], last["cause"], last["next_step"]) == ("waiting", "401", "add a secret")


def test_the_failure_of_another_pod_of_the_name_is_not_taken() -> None:
    (last,) = last_of_each([one_pass("waiting"), one_pass("failed", uid="u0", next_step="not this one's")])
    assert last["next_step"] == ""
