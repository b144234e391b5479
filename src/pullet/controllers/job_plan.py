"""What a Job needs next: whether it is over, which pods to make or end. Pure.

Source: kubernetes pkg/controller/job/{job_controller,backoff_utils,indexed_job_utils}.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from pullet.base.jsonvalue import JsonObject
from pullet.base.values import Value
from pullet.controllers.conditions import find_condition
from pullet.controllers.job_counts import JobCounts, ended_at
from pullet.controllers.job_indexes import failures_before, has_limit_per_index, index_of, is_indexed
from pullet.controllers.job_policies import replaces_only_failed, success_message
from pullet.controllers.pods import deletion_order, restart_count
from pullet.kube.meta import parse_time

_BACK_OFF_SECONDS, _BACK_OFF_LIMIT_SECONDS = 10.0, 600.0


class Verdict(Value):
    """How a Job ended: the condition's type, reason and message."""

    type: str
    reason: str
    message: str


def is_finished(job: Mapping[str, Any]) -> bool:
    """Whether condition Complete or Failed is True."""
    conditions: Iterable[Mapping[str, Any]] = (job.get("status") or {}).get("conditions") or ()
    return any(item.get("type") in ("Complete", "Failed") and item.get("status") == "True" for item in conditions)


def decide_end(job: JsonObject, counts: JobCounts, now: datetime) -> Verdict | None:
    """Whether the Job is over, and how; once decided it stays so while the last pods go."""
    spec = job["spec"]
    decided = _decided(job)
    if decided is not None:
        return decided
    if counts.fail_job_message:
        return Verdict("Failed", "PodFailurePolicy", counts.fail_job_message)
    limit = int(6 if spec.get("backoffLimit") is None else spec["backoffLimit"])
    if counts.all_failed > limit or _restarted_too_often(spec, counts.active, limit):
        return Verdict("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
    left = seconds_to_deadline(job, now)
    if left is not None and left <= 0:
        return Verdict("Failed", "DeadlineExceeded", "Job was active longer than specified deadline")
    failed = _failed_by_indexes(job, counts)
    if failed is not None:
        return failed
    matched = success_message(job, counts.completed_indexes) if is_indexed(job) else ""
    if matched:
        return Verdict("Complete", "SuccessPolicy", matched)
    completions = spec.get("completions")
    if completions is None:
        is_complete = counts.all_succeeded > 0 and not counts.active
    else:
        is_complete = counts.all_succeeded >= int(completions)
    if is_complete:
        return Verdict("Complete", "CompletionsReached", "Reached expected number of succeeded pods")
    return None


def _decided(job: JsonObject) -> Verdict | None:
    conditions = (job.get("status") or {}).get("conditions") or ()
    for target, kind in (("SuccessCriteriaMet", "Complete"), ("FailureTarget", "Failed")):
        found = find_condition(conditions, target)
        if found is not None and found.get("status") == "True":
            return Verdict(kind, str(found.get("reason") or ""), str(found.get("message") or ""))
    return None


def _failed_by_indexes(job: JsonObject, counts: JobCounts) -> Verdict | None:
    if not has_limit_per_index(job):
        return None
    failed, limit = len(counts.failed_indexes), job["spec"].get("maxFailedIndexes")
    if limit is not None and failed > int(limit):
        text = "Job has exceeded the specified maximal number of failed indexes"
        return Verdict("Failed", "MaxFailedIndexesExceeded", text)
    if failed and failed + len(counts.completed_indexes) >= int(job["spec"].get("completions") or 0):
        return Verdict("Failed", "FailedIndexes", "Job has failed indexes")
    return None


def _restarted_too_often(spec: Mapping[str, Any], active: Sequence[JsonObject], limit: int) -> bool:
    if ((spec.get("template") or {}).get("spec") or {}).get("restartPolicy") != "OnFailure":
        return False
    restarts = sum(restart_count(pod) for pod in active)
    return restarts >= limit if limit else restarts > 0


def seconds_to_deadline(job: JsonObject, now: datetime) -> float | None:
    """Until activeDeadlineSeconds are over; None without one, or before the start."""
    limit = job["spec"].get("activeDeadlineSeconds")
    started = parse_time((job.get("status") or {}).get("startTime"))
    if limit is None or started is None or job["spec"].get("suspend"):
        return None
    return (started + timedelta(seconds=int(limit)) - now).total_seconds()


def seconds_of_back_off(counts: JobCounts, now: datetime) -> float:
    """How long to wait before replacing failed pods: 10 s, doubling with each failure, at most 10 minutes."""
    return _back_off(counts.all_failed, counts.last_failure_at, now)


def _back_off(failures: int, last: datetime | None, now: datetime) -> float:
    if not failures or last is None:
        return 0.0
    delay = min(_BACK_OFF_SECONDS * (1 << min(failures - 1, 10)), _BACK_OFF_LIMIT_SECONDS)
    return max(0.0, delay - (now - last).total_seconds())


class PodsPlan(Value):
    """Indexes of pods to create (None for a Job without indexes), pods to delete, and when to look again."""

    create: list[int | None]
    delete: list[JsonObject]
    again_in_seconds: float | None = None


def plan_pods(job: JsonObject, counts: JobCounts, now: datetime) -> PodsPlan:
    """Which pods bring the Job closer to its parallelism, each after the back-off of the failures before it."""
    spec = job["spec"]
    parallelism = int(1 if spec.get("parallelism") is None else spec["parallelism"])
    completions = spec.get("completions")
    if completions is None:
        wanted = parallelism if not counts.all_succeeded else min(parallelism, len(counts.active))
    else:
        wanted = max(0, min(parallelism, int(completions) - counts.all_succeeded))
    unfit = _unfit(job, counts.active)
    fit = [pod for pod in counts.active if pod not in unfit]
    surplus = unfit + deletion_order(fit)[: max(0, len(fit) - wanted)]
    if surplus:
        return PodsPlan([], surplus)
    missing = wanted - len(counts.active) - (counts.terminating if replaces_only_failed(job) else 0)
    if missing <= 0:
        return PodsPlan([], [])
    if has_limit_per_index(job):
        return _plan_independent(_free_indexes(job, counts)[:missing], counts, now)
    pause = seconds_of_back_off(counts, now)
    if pause > 0:
        return PodsPlan([], [], pause)
    if not is_indexed(job):
        return PodsPlan([None] * missing, [])
    return PodsPlan([*_free_indexes(job, counts)[:missing]], [])


def _plan_independent(indexes: Sequence[int], counts: JobCounts, now: datetime) -> PodsPlan:
    waits = {index: _wait_of_index(counts.to_replace.get(index), now) for index in indexes}
    due = [index for index in indexes if waits[index] <= 0]
    return PodsPlan([*due], [], None if due else min(waits.values(), default=None))


def _wait_of_index(before: JsonObject | None, now: datetime) -> float:
    return _back_off(sum(failures_before(before)) + 1, ended_at(before), now) if before is not None else 0.0


def _free_indexes(job: JsonObject, counts: JobCounts) -> list[int]:
    taken = {index_of(pod) for pod in counts.active} | counts.completed_indexes | counts.failed_indexes
    if replaces_only_failed(job):
        taken |= counts.terminating_indexes
    return [index for index in range(int(job["spec"].get("completions") or 0)) if index not in taken]


def _unfit(job: JsonObject, active: Sequence[JsonObject]) -> list[JsonObject]:
    """Active pods of no index, of one that is not wanted any more, or of one that another pod has."""
    if not is_indexed(job):
        return []
    found: list[JsonObject] = []
    seen: set[int] = set()
    for pod in reversed(deletion_order(active)):
        index = index_of(pod)
        if index is None or index in seen or index >= int(job["spec"].get("completions") or 0):
            found.append(pod)
        else:
            seen.add(index)
    return found
