"""What has become of a Job's pods so far. Pure.

A finished pod is counted exactly once although pods vanish: it keeps a finalizer until its uid stands in
`uncountedTerminatedPods`; once the finalizer is off, the uid moves into the counter. Where each index may fail for
itself, the last failed pod of an index keeps it longer, until its successor is there and carries the count on.
Source: kubernetes pkg/controller/job/{job_controller,indexed_job_utils}.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from pullet.base.jsonvalue import JsonObject
from pullet.base.values import State
from pullet.controllers.job_indexes import failures_before, has_limit_per_index, index_of, is_indexed, parse_indexes
from pullet.controllers.job_policies import FailureMatch, is_failed, match_failure
from pullet.controllers.pods import is_ready, phase_of
from pullet.kube.meta import is_deleting, metadata, parse_time, uid_of

TRACKING_FINALIZER = "batch.kubernetes.io/job-tracking"


class JobCounts(State):
    """What is known of the pods so far; `uncounted_*` are uids whose finalizers are still to be taken off."""

    active: list[JsonObject] = msgspec.field(default_factory=list)
    ready: int = 0
    terminating: int = 0
    succeeded: int = 0  # in the counter already
    failed: int = 0
    uncounted_succeeded: list[str] = msgspec.field(default_factory=list)
    uncounted_failed: list[str] = msgspec.field(default_factory=list)
    to_release: list[JsonObject] = msgspec.field(default_factory=list)  # pods counted that still carry the finalizer
    completed_indexes: frozenset[int] = frozenset()
    failed_indexes: frozenset[int] = frozenset()
    terminating_indexes: frozenset[int] = frozenset()
    to_replace: dict[int, JsonObject] = msgspec.field(default_factory=dict)  # last failed pod of an unreleased index
    last_failure_at: datetime | None = None
    fail_job_message: str = ""

    @property
    def all_succeeded(self) -> int:
        """Every pod that succeeded."""
        return self.succeeded + len(self.uncounted_succeeded)

    @property
    def all_failed(self) -> int:
        """Every pod that failed."""
        return self.failed + len(self.uncounted_failed)


def count_pods(job: JsonObject, pods: Sequence[JsonObject]) -> JobCounts:
    """Sort the pods, carry finished ones over into counters."""
    status = job.get("status") or {}
    counts = JobCounts(succeeded=int(status.get("succeeded") or 0), failed=int(status.get("failed") or 0))
    tracked = {uid_of(pod) for pod in pods if TRACKING_FINALIZER in (metadata(pod).get("finalizers") or ())}
    known = _carry_over(status.get("uncountedTerminatedPods") or {}, tracked, counts)
    completed = set(parse_indexes(status.get("completedIndexes") or ""))
    failed = set(parse_indexes(status.get("failedIndexes") or ""))
    ended: list[tuple[JsonObject, FailureMatch | None]] = []
    for pod in pods:
        if not (phase_of(pod) in ("Succeeded", "Failed") or is_deleting(pod)):
            counts.active.append(pod)
            counts.ready += is_ready(pod)
            continue
        match = match_failure(job, pod) if is_failed(job, pod) else None
        _note_end(pod, match, counts)
        if uid_of(pod) not in tracked or (match is None and phase_of(pod) != "Succeeded"):
            continue
        ended.append((pod, match))
        index = index_of(pod)
        if index is not None and match is None:
            completed.add(index)
        elif index is not None and match is not None and _ends_index(job, pod, match):
            failed.add(index)
    counts.completed_indexes, counts.failed_indexes = frozenset(completed), frozenset(failed)
    if has_limit_per_index(job):
        counts.to_replace = _not_replaced(ended, counts)
    kept = {uid_of(pod) for pod in counts.to_replace.values()}
    for pod, match in ended:
        _count(pod, match, counts, known, is_kept=uid_of(pod) in kept)
    if is_indexed(job):
        counts.succeeded = len(completed) - len(counts.uncounted_succeeded)
    return counts


def _carry_over(uncounted: Mapping[str, Any], tracked: set[str], counts: JobCounts) -> set[str]:
    """Move uids whose finalizer is off into the counters; gives every uid that was noted before."""
    for uid in uncounted.get("succeeded") or ():
        if uid in tracked:
            counts.uncounted_succeeded.append(uid)
        else:
            counts.succeeded += 1
    for uid in uncounted.get("failed") or ():
        if uid in tracked:
            counts.uncounted_failed.append(uid)
        else:
            counts.failed += 1
    return {*(uncounted.get("succeeded") or ()), *(uncounted.get("failed") or ())}


def _note_end(pod: JsonObject, match: FailureMatch | None, counts: JobCounts) -> None:
    if phase_of(pod) == "Failed":
        ended = ended_at(pod)
        if ended is not None and (counts.last_failure_at is None or ended > counts.last_failure_at):
            counts.last_failure_at = ended
    if is_deleting(pod) and phase_of(pod) not in ("Succeeded", "Failed"):
        counts.terminating += 1
        index = index_of(pod)
        counts.terminating_indexes |= {index} if index is not None else frozenset()
    if match is not None and match.action == "FailJob" and not counts.fail_job_message:
        counts.fail_job_message = match.message


def _ends_index(job: JsonObject, pod: JsonObject, match: FailureMatch) -> bool:
    if not has_limit_per_index(job):
        return False
    if match.action in ("FailIndex", "Ignore"):
        return match.action == "FailIndex"
    return failures_before(pod)[0] >= int(job["spec"]["backoffLimitPerIndex"])


def _not_replaced(ended: Iterable[tuple[JsonObject, FailureMatch | None]], counts: JobCounts) -> dict[int, JsonObject]:
    settled = counts.completed_indexes | counts.failed_indexes | {index_of(pod) for pod in counts.active}
    last: dict[int, JsonObject] = {}
    for pod, match in ended:
        index = index_of(pod)
        if index is None or match is None or index in settled:
            continue
        if index not in last or sum(failures_before(pod)) >= sum(failures_before(last[index])):
            last[index] = pod
    return last


def _count(pod: JsonObject, match: FailureMatch | None, counts: JobCounts, known: set[str], *, is_kept: bool) -> None:
    uid = uid_of(pod)
    if uid not in known:
        if match is None:
            counts.uncounted_succeeded.append(uid)
        elif match.action != "Ignore":
            counts.uncounted_failed.append(uid)
    if not is_kept:
        counts.to_release.append(pod)


def ended_at(pod: Mapping[str, Any]) -> datetime | None:
    """When the pod's last container ended; its creation when none tells."""
    statuses: Iterable[Mapping[str, Any]] = (pod.get("status") or {}).get("containerStatuses") or ()
    ends = [parse_time(((status.get("state") or {}).get("terminated") or {}).get("finishedAt")) for status in statuses]
    known = [end for end in ends if end is not None]
    return max(known) if known else parse_time(metadata(pod).get("creationTimestamp"))
