"""What a Job needs next: counts from its pods, whether it is over, which pods to make or end. Pure.

A finished pod is counted exactly once although pods vanish: it keeps a finalizer until its uid stands in
`uncountedTerminatedPods`; once the finalizer is off, the uid moves into the counter.
Source: kubernetes pkg/controller/job/{job_controller,backoff_utils,indexed_job_utils}.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from pullet.base.jsonvalue import JsonObject
from pullet.controllers.pods import deletion_order, is_ready, phase_of, restart_count
from pullet.kube.meta import annotations_of, is_deleting, metadata, parse_time, uid_of

TRACKING_FINALIZER = "batch.kubernetes.io/job-tracking"
COMPLETION_INDEX = "batch.kubernetes.io/job-completion-index"
_BACK_OFF_SECONDS, _BACK_OFF_LIMIT_SECONDS = 10.0, 600.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a Job ended: the condition's type, reason and message."""

    type: str
    reason: str
    message: str


@dataclass(slots=True)
class JobCounts:
    """What is known of the pods so far; `uncounted_*` are uids whose finalizers are still to be taken off."""

    active: list[JsonObject] = field(default_factory=list)
    ready: int = 0
    terminating: int = 0
    succeeded: int = 0  # in the counter already
    failed: int = 0
    uncounted_succeeded: list[str] = field(default_factory=list)
    uncounted_failed: list[str] = field(default_factory=list)
    to_release: list[JsonObject] = field(default_factory=list)  # pods counted that still carry the finalizer
    completed_indexes: frozenset[int] = frozenset()
    last_failure_at: datetime | None = None

    @property
    def all_succeeded(self) -> int:
        """Every pod that succeeded."""
        return self.succeeded + len(self.uncounted_succeeded)

    @property
    def all_failed(self) -> int:
        """Every pod that failed."""
        return self.failed + len(self.uncounted_failed)


def is_finished(job: Mapping[str, Any]) -> bool:
    """Whether condition Complete or Failed is True."""
    conditions: Iterable[Mapping[str, Any]] = (job.get("status") or {}).get("conditions") or ()
    return any(item.get("type") in ("Complete", "Failed") and item.get("status") == "True" for item in conditions)


def is_indexed(job: Mapping[str, Any]) -> bool:
    """Whether each pod stands for one index."""
    return bool(job["spec"].get("completionMode") == "Indexed")


def index_of(pod: Mapping[str, Any]) -> int | None:
    """The pod's completion index."""
    text = annotations_of(pod).get(COMPLETION_INDEX, "")
    return int(text) if text.isdigit() else None


def count_pods(job: JsonObject, pods: Sequence[JsonObject]) -> JobCounts:
    """Sort the pods, carry finished ones over into counters."""
    status = job.get("status") or {}
    uncounted = status.get("uncountedTerminatedPods") or {}
    counts = JobCounts(succeeded=int(status.get("succeeded") or 0), failed=int(status.get("failed") or 0))
    tracked = {uid_of(pod) for pod in pods if TRACKING_FINALIZER in (metadata(pod).get("finalizers") or ())}
    known: set[str] = set()
    for uid in uncounted.get("succeeded") or ():
        known.add(uid)
        if uid in tracked:
            counts.uncounted_succeeded.append(uid)
        else:
            counts.succeeded += 1
    for uid in uncounted.get("failed") or ():
        known.add(uid)
        if uid in tracked:
            counts.uncounted_failed.append(uid)
        else:
            counts.failed += 1
    indexes = set(parse_indexes(status.get("completedIndexes") or ""))
    for pod in pods:
        _sort_pod(pod, counts, tracked, known, indexes)
    counts.completed_indexes = frozenset(indexes)
    if is_indexed(job):
        counts.succeeded = len(indexes) - len(counts.uncounted_succeeded)
    return counts


def _sort_pod(pod: JsonObject, counts: JobCounts, tracked: set[str], known: set[str], indexes: set[int]) -> None:
    uid, phase = uid_of(pod), phase_of(pod)
    if phase in {"Succeeded", "Failed"} or is_deleting(pod):
        if phase == "Failed":
            ended = _ended_at(pod)
            if ended is not None and (counts.last_failure_at is None or ended > counts.last_failure_at):
                counts.last_failure_at = ended
        if is_deleting(pod) and phase not in ("Succeeded", "Failed"):
            counts.terminating += 1
        if uid not in tracked:
            return
        if uid not in known:
            (counts.uncounted_succeeded if phase == "Succeeded" else counts.uncounted_failed).append(uid)
        index = index_of(pod)
        if phase == "Succeeded" and index is not None:
            indexes.add(index)
        counts.to_release.append(pod)
        return
    counts.active.append(pod)
    counts.ready += is_ready(pod)


def _ended_at(pod: Mapping[str, Any]) -> datetime | None:
    statuses: Iterable[Mapping[str, Any]] = (pod.get("status") or {}).get("containerStatuses") or ()
    ends = [parse_time(((status.get("state") or {}).get("terminated") or {}).get("finishedAt")) for status in statuses]
    known = [end for end in ends if end is not None]
    return max(known) if known else parse_time(metadata(pod).get("creationTimestamp"))


def decide_end(job: JsonObject, counts: JobCounts, now: datetime) -> Verdict | None:
    """Whether the Job is over, and how."""
    spec = job["spec"]
    limit = int(6 if spec.get("backoffLimit") is None else spec["backoffLimit"])
    if counts.all_failed > limit or _restarted_too_often(spec, counts.active, limit):
        return Verdict("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
    left = seconds_to_deadline(job, now)
    if left is not None and left <= 0:
        return Verdict("Failed", "DeadlineExceeded", "Job was active longer than specified deadline")
    completions = spec.get("completions")
    if completions is None:
        is_complete = counts.all_succeeded > 0 and not counts.active
    else:
        is_complete = counts.all_succeeded >= int(completions)
    if is_complete:
        return Verdict("Complete", "CompletionsReached", "Reached expected number of succeeded pods")
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
    if not counts.all_failed or counts.last_failure_at is None:
        return 0.0
    delay = min(_BACK_OFF_SECONDS * (1 << min(counts.all_failed - 1, 10)), _BACK_OFF_LIMIT_SECONDS)
    return max(0.0, delay - (now - counts.last_failure_at).total_seconds())


@dataclass(frozen=True, slots=True)
class PodsPlan:
    """Indexes of pods to create (None for a Job without indexes), and pods to delete."""

    create: list[int | None]
    delete: list[JsonObject]


def plan_pods(job: JsonObject, counts: JobCounts) -> PodsPlan:
    """Which pods bring the Job closer to its parallelism."""
    spec = job["spec"]
    parallelism = int(1 if spec.get("parallelism") is None else spec["parallelism"])
    completions = spec.get("completions")
    if completions is None:
        wanted = parallelism if not counts.all_succeeded else min(parallelism, len(counts.active))
    else:
        wanted = max(0, min(parallelism, int(completions) - counts.all_succeeded))
    surplus = len(counts.active) - wanted
    if surplus > 0:
        return PodsPlan([], deletion_order(counts.active)[:surplus])
    if not is_indexed(job):
        return PodsPlan([None] * -surplus, [])
    taken = {index_of(pod) for pod in counts.active} | counts.completed_indexes
    free = [index for index in range(int(completions or 0)) if index not in taken]
    return PodsPlan([*free[:-surplus]] if surplus else [], [])


def parse_indexes(text: str) -> Iterable[int]:
    """`1,3-5` as numbers."""
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


def format_indexes(indexes: Iterable[int]) -> str:
    """Numbers as `1,3-5`."""
    runs: list[list[int]] = []
    for index in sorted(indexes):
        if runs and runs[-1][1] == index - 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
