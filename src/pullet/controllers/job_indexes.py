"""Completion indexes of a Job: which pod stands for which, and their notation in the status. Pure.

Source: kubernetes pkg/controller/job/indexed_job_utils.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pullet.kube.meta import annotations_of

COMPLETION_INDEX = "batch.kubernetes.io/job-completion-index"
INDEX_FAILURES = "batch.kubernetes.io/job-index-failure-count"
INDEX_IGNORED_FAILURES = "batch.kubernetes.io/job-index-ignored-failure-count"


def is_indexed(job: Mapping[str, Any]) -> bool:
    """Whether each pod stands for one index."""
    return bool(job["spec"].get("completionMode") == "Indexed")


def has_limit_per_index(job: Mapping[str, Any]) -> bool:
    """Whether each index may fail for itself."""
    return is_indexed(job) and job["spec"].get("backoffLimitPerIndex") is not None


def index_of(pod: Mapping[str, Any]) -> int | None:
    """The pod's completion index."""
    return _number(pod, COMPLETION_INDEX)


def failures_before(pod: Mapping[str, Any]) -> tuple[int, int]:
    """How often the pod's index had failed before it: failures that count, and those that a policy ignored."""
    return _number(pod, INDEX_FAILURES) or 0, _number(pod, INDEX_IGNORED_FAILURES) or 0


def _number(pod: Mapping[str, Any], annotation: str) -> int | None:
    text = annotations_of(pod).get(annotation, "")
    return int(text) if text.isdigit() else None


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
