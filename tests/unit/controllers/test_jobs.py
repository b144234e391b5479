"""Jobs: what is counted, how they end, which pods they want next."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.controllers.workload_objects import NOW, names, pod

from pullet.base.jsonvalue import JsonObject
from pullet.controllers.job_counts import TRACKING_FINALIZER, JobCounts, count_pods
from pullet.controllers.job_indexes import format_indexes, parse_indexes
from pullet.controllers.job_plan import Verdict, decide_end, plan_pods, seconds_of_back_off
from pullet.controllers.job_policies import match_failure
from pullet.kube.meta import format_time


def job(completions: int | None = 1, parallelism: int = 1, status: JsonObject | None = None, **spec: Any) -> JsonObject:
    template = {"spec": {"restartPolicy": "Never"}}
    body = {"completions": completions, "parallelism": parallelism, "template": template, "backoffLimit": 6} | spec
    return {"metadata": {"name": "job", "uid": "job"}, "spec": body, "status": status or {}}


def job_pod(name: str, phase: str, *, tracked: bool = True, index: int | None = None, **more: Any) -> JsonObject:
    meta: JsonObject = {"finalizers": [TRACKING_FINALIZER]} if tracked else {}
    if index is not None:
        meta["annotations"] = {"batch.kubernetes.io/job-completion-index": str(index)}
    return pod(name, phase, meta=meta, **more)


def test_each_finished_pod_is_counted_exactly_once_on_its_way_out() -> None:
    done = job_pod("a", "Succeeded")
    first = count_pods(job(2), [done])
    assert (first.succeeded, first.uncounted_succeeded, names(first.to_release)) == (0, ["uid-a"], ["a"])
    noted = {"uncountedTerminatedPods": {"succeeded": ["uid-a"]}}
    again = count_pods(job(2, status=noted), [done])  # the finalizer was not taken off yet
    assert (again.succeeded, again.uncounted_succeeded, again.all_succeeded) == (0, ["uid-a"], 1)
    released = count_pods(job(2, status=noted), [job_pod("a", "Succeeded", tracked=False)])
    assert (released.succeeded, released.uncounted_succeeded, released.all_succeeded) == (1, [], 1)
    gone = count_pods(job(2, status=noted), [])
    assert (gone.succeeded, gone.all_succeeded) == (1, 1)


def test_a_pod_deleted_before_its_end_counts_as_failed() -> None:
    counts = count_pods(job(), [job_pod("a", "Running", deleting=True)])
    assert (counts.all_failed, counts.terminating, counts.active) == (1, 1, [])


@pytest.mark.parametrize(
    ("body", "phases", "verdict"),
    [
        (job(2), ["Succeeded"], None),
        (job(2), ["Succeeded", "Succeeded"], "CompletionsReached"),
        (job(None, 3), ["Succeeded", "Running"], None),
        (job(None, 3), ["Succeeded"], "CompletionsReached"),
        (job(1, backoffLimit=0), ["Failed"], "BackoffLimitExceeded"),
        (job(1, backoffLimit=1), ["Failed"], None),
        (
            job(1, status={"startTime": "2026-01-01T11:59:00Z"}, activeDeadlineSeconds=60),
            ["Running"],
            "DeadlineExceeded",
        ),
        (job(1, status={"startTime": "2026-01-01T11:59:00Z"}, activeDeadlineSeconds=61), ["Running"], None),
    ],
)
def test_how_a_job_ends(body: JsonObject, phases: list[str], verdict: str | None) -> None:
    counts = count_pods(body, [job_pod(f"p{n}", phase) for n, phase in enumerate(phases)])
    end = decide_end(body, counts, NOW)
    assert (end.reason if isinstance(end, Verdict) else None) == verdict


def test_restarts_in_place_count_against_the_limit() -> None:
    body = job(1, backoffLimit=2, template={"spec": {"restartPolicy": "OnFailure"}})
    restarting = job_pod("a", "Running", status={"containerStatuses": [{"restartCount": 2}]})
    end = decide_end(body, count_pods(body, [restarting]), NOW)
    assert end is not None
    assert end.reason == "BackoffLimitExceeded"


@pytest.mark.parametrize(
    ("body", "phases", "create", "delete"),
    [
        (job(5, 2), [], 2, 0),
        (job(5, 2), ["Running"], 1, 0),
        (job(3, 3), ["Succeeded", "Succeeded"], 1, 0),
        (job(3, 1), ["Running", "Running"], 0, 1),
        (job(None, 2), [], 2, 0),
        (job(None, 2), ["Succeeded", "Running"], 0, 0),  # a work queue takes no more pods after the first success
        (job(5, 0), ["Running"], 0, 1),
    ],
)
def test_pods_of_a_job(body: JsonObject, phases: list[str], create: int, delete: int) -> None:
    counts = count_pods(body, [job_pod(f"p{n}", phase) for n, phase in enumerate(phases)])
    plan = plan_pods(body, counts, NOW)
    assert (len(plan.create), len(plan.delete)) == (create, delete)


def test_indexes_are_used_once_and_failed_ones_again() -> None:
    body = job(4, 3, completionMode="Indexed")
    pods = [job_pod("a", "Succeeded", index=0), job_pod("b", "Running", index=1), job_pod("c", "Failed", index=2)]
    counts = count_pods(body, pods)
    assert counts.completed_indexes == {0}
    assert counts.all_succeeded == 1
    assert plan_pods(body, counts, NOW).create == [2, 3]


def test_failed_pods_are_replaced_ever_later() -> None:
    ended = [{"state": {"terminated": {"finishedAt": format_time(NOW - timedelta(seconds=4))}}}]
    pods = [job_pod(f"p{n}", "Failed", status={"containerStatuses": ended}) for n in range(3)]
    assert [seconds_of_back_off(count_pods(job(), pods[:n]), NOW) for n in range(4)] == [0.0, 6.0, 16.0, 36.0]


@given(st.sets(st.integers(0, 200)))
def test_indexes_survive_their_notation(indexes: set[int]) -> None:
    assert set(parse_indexes(format_indexes(indexes))) == indexes


def test_the_notation_of_indexes() -> None:
    assert format_indexes({1, 3, 4, 5, 9}) == "1,3-5,9"


# --- failure policy ---


def exited(code: int, *, seconds_ago: float = 3600, container: str = "c") -> JsonObject:
    ended = format_time(NOW - timedelta(seconds=seconds_ago))
    return {
        "containerStatuses": [{"name": container, "state": {"terminated": {"exitCode": code, "finishedAt": ended}}}]
    }


def with_rules(*rules: JsonObject, **spec: Any) -> JsonObject:
    return job(1, podFailurePolicy={"rules": list(rules)}, **spec)


IGNORE_DISRUPTION = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
FAIL_ON_42 = {"action": "FailJob", "onExitCodes": {"containerName": "c", "operator": "In", "values": [42]}}
COUNT_OTHERS = {"action": "Count", "onExitCodes": {"operator": "NotIn", "values": [7]}}


@pytest.mark.parametrize(
    ("status", "action"),
    [
        (exited(42), "FailJob"),
        (exited(42, container="other"), "Count"),
        (exited(1), "Count"),
        (exited(7), "Count"),
        (exited(42) | {"conditions": [{"type": "DisruptionTarget", "status": "True"}]}, "Ignore"),
        (exited(42) | {"conditions": [{"type": "DisruptionTarget", "status": "False"}]}, "FailJob"),
    ],
)
def test_the_first_matching_rule_counts(status: JsonObject, action: str) -> None:
    body = with_rules(IGNORE_DISRUPTION, FAIL_ON_42, COUNT_OTHERS)
    assert match_failure(body, job_pod("a", "Failed", status=status)).action == action


def test_a_rule_may_fail_the_whole_job() -> None:
    body = with_rules(IGNORE_DISRUPTION, FAIL_ON_42)
    counts = count_pods(body, [job_pod("a", "Failed", status=exited(42))])
    text = "Container c for pod ns/a failed with exit code 42 matching FailJob rule at index 1"
    verdict = decide_end(body, counts, NOW)
    assert verdict == Verdict("Failed", "PodFailurePolicy", text)
    # the pod may go before the others have ended: what was decided stays
    condition = {"type": "FailureTarget", "status": "True", "reason": "PodFailurePolicy", "message": text}
    assert decide_end(body | {"status": {"conditions": [condition]}}, JobCounts(), NOW) == verdict


def test_an_ignored_failure_is_replaced_without_being_counted() -> None:
    body = with_rules(IGNORE_DISRUPTION, backoffLimit=0)
    disrupted = exited(137) | {"conditions": [{"type": "DisruptionTarget", "status": "True"}]}
    counts = count_pods(body, [job_pod("a", "Failed", status=disrupted)])
    assert (counts.all_failed, names(counts.to_release)) == (0, ["a"])
    assert decide_end(body, counts, NOW) is None
    assert plan_pods(body, counts, NOW).create == [None]


def test_a_pod_on_its_way_out_is_replaced_at_once_or_after_its_end() -> None:
    leaving = job_pod("a", "Running", deleting=True)
    at_once, later = job(1), job(1, podReplacementPolicy="Failed")
    replaced, waited_for = count_pods(at_once, [leaving]), count_pods(later, [leaving])
    assert (replaced.all_failed, waited_for.all_failed) == (1, 0)
    assert plan_pods(at_once, replaced, NOW + timedelta(hours=13)).create == [None]
    assert plan_pods(later, waited_for, NOW).create == []
    assert waited_for.to_release == []
    unbound = count_pods(later, [job_pod("a", "Pending", deleting=True, node="")])
    assert (unbound.all_failed, names(unbound.to_release)) == (1, ["a"])


# --- a limit for each index ---


def indexed(completions: int = 3, **spec: Any) -> JsonObject:
    return job(completions, completions, completionMode="Indexed", backoffLimit=2**31 - 1, **spec)


def attempt(index: int, number: int, phase: str = "Failed", code: int = 1, seconds_ago: float = 3600) -> JsonObject:
    """The pod of an index after `number` failures."""
    made = job_pod(f"p{index}-{number}", phase, index=index, status=exited(code, seconds_ago=seconds_ago))
    made["metadata"]["annotations"]["batch.kubernetes.io/job-index-failure-count"] = str(number)
    return made


def test_a_failed_pod_stays_until_its_successor_carries_its_count_on() -> None:
    body = indexed(backoffLimitPerIndex=1)
    alone = count_pods(body, [attempt(0, 0)])
    assert (names(alone.to_release), names([*alone.to_replace.values()]), alone.all_failed) == ([], ["p0-0"], 1)
    replaced = count_pods(body, [attempt(0, 0), attempt(0, 1, "Running")])
    assert (names(replaced.to_release), replaced.to_replace) == (["p0-0"], {})


def test_an_index_fails_for_good_beyond_its_limit_and_the_others_go_on() -> None:
    body = indexed(backoffLimitPerIndex=1)
    counts = count_pods(body, [attempt(0, 1), attempt(1, 0, "Running")])
    assert (set(counts.failed_indexes), names(counts.to_release)) == ({0}, ["p0-1"])
    assert plan_pods(body, counts, NOW).create == [2]
    assert decide_end(body, counts, NOW) is None
    rest = [attempt(0, 1), attempt(1, 0, "Succeeded"), attempt(2, 0, "Succeeded")]
    end = decide_end(body, count_pods(body, rest), NOW)
    assert end == Verdict("Failed", "FailedIndexes", "Job has failed indexes")


def test_too_many_failed_indexes_end_the_job() -> None:
    body = indexed(backoffLimitPerIndex=0, maxFailedIndexes=1)
    assert decide_end(body, count_pods(body, [attempt(0, 0)]), NOW) is None
    end = decide_end(body, count_pods(body, [attempt(0, 0), attempt(1, 0)]), NOW)
    assert end is not None
    assert (end.reason, end.message) == (
        "MaxFailedIndexesExceeded", "Job has exceeded the specified maximal number of failed indexes"
    )  # fmt: skip


def test_a_rule_may_fail_one_index() -> None:
    rule = {"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [42]}}
    body = indexed(backoffLimitPerIndex=5, podFailurePolicy={"rules": [rule]})
    assert count_pods(body, [attempt(0, 0, code=42), attempt(1, 0)]).failed_indexes == {0}


def test_each_index_waits_for_itself() -> None:
    body = indexed(2, backoffLimitPerIndex=5)
    pods = [attempt(0, 0, seconds_ago=4), attempt(1, 0, seconds_ago=11)]
    assert plan_pods(body, count_pods(body, pods), NOW).create == [1]
    waiting = plan_pods(body, count_pods(body, [attempt(0, 1, seconds_ago=4), attempt(1, 0, "Running")]), NOW)
    assert (waiting.create, waiting.again_in_seconds) == ([], 16.0)


def test_pods_of_indexes_that_are_not_wanted_go() -> None:
    body = indexed(2)
    twice = [job_pod("a", "Running", index=0), job_pod("b", "Running", index=0), job_pod("c", "Running", index=5)]
    plan = plan_pods(body, count_pods(body, twice), NOW)
    assert len(plan.delete) == 2
    assert "c" in names(plan.delete)


# --- success policy ---


@pytest.mark.parametrize(
    ("rules", "succeeded", "message"),
    [
        ([{"succeededIndexes": "0,2-3"}], {0, 2}, None),
        ([{"succeededIndexes": "0,2-3"}], {0, 2, 3}, "Matched rules at index 0"),
        ([{"succeededIndexes": "0-3", "succeededCount": 2}], {1, 3}, "Matched rules at index 0"),
        ([{"succeededIndexes": "0"}, {"succeededCount": 2}], {3, 4}, "Matched rules at index 1"),
        ([{"succeededCount": 2}], {3}, None),
    ],
)
def test_enough_success(rules: list[JsonObject], succeeded: set[int], message: str | None) -> None:
    body = indexed(5, successPolicy={"rules": rules})
    counts = count_pods(body, [job_pod(f"p{index}", "Succeeded", index=index) for index in succeeded])
    end = decide_end(body, counts, NOW)
    assert end == (Verdict("Complete", "SuccessPolicy", message) if message is not None else None)
