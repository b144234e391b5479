"""What a Job says about failed pods (podFailurePolicy) and about enough success (successPolicy). Pure.

Source: kubernetes pkg/controller/job/{pod_failure_policy,success_policy}.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any, Literal, TypeAlias

from pullet.base.jsonvalue import JsonObject
from pullet.base.values import Value
from pullet.controllers.job_indexes import parse_indexes
from pullet.controllers.pods import phase_of
from pullet.kube.meta import is_deleting, name_of, namespace_of

FailureAction: TypeAlias = Literal["FailJob", "FailIndex", "Ignore", "Count"]


class FailureMatch(Value):
    """What the first matching rule wants for a failed pod; `message` says which, where it ends the Job."""

    action: FailureAction
    message: str = ""


def replaces_only_failed(job: Mapping[str, Any]) -> bool:
    """Whether a pod must have ended before another takes its place."""
    return bool(job["spec"].get("podReplacementPolicy") == "Failed")


def is_failed(job: Mapping[str, Any], pod: Mapping[str, Any]) -> bool:
    """Whether the pod counts as failed: pods deleted before their end do, unless their end is waited for.

    Nobody will ever end a pod that was never bound to a node.
    """
    if phase_of(pod) == "Failed":
        return True
    is_waited_for = replaces_only_failed(job) and bool((pod.get("spec") or {}).get("nodeName"))
    return phase_of(pod) != "Succeeded" and is_deleting(pod) and not is_waited_for


def match_failure(job: Mapping[str, Any], pod: Mapping[str, Any]) -> FailureMatch:
    """What to do about a failed pod; Count unless a rule says otherwise."""
    for number, rule in enumerate((job["spec"].get("podFailurePolicy") or {}).get("rules") or ()):
        found = _by_exit_code(rule, pod) if rule.get("onExitCodes") is not None else _by_condition(rule, pod)
        if found:
            action: FailureAction = rule["action"]
            return FailureMatch(action, f"{found} matching {action} rule at index {number}")
    return FailureMatch("Count")


def _by_exit_code(rule: Mapping[str, Any], pod: Mapping[str, Any]) -> str:
    wanted = rule["onExitCodes"]
    status = pod.get("status") or {}
    statuses: Iterable[Mapping[str, Any]] = (
        *(status.get("containerStatuses") or ()),
        *(status.get("initContainerStatuses") or ()),
    )
    for container in statuses:
        terminated = (container.get("state") or {}).get("terminated")
        if terminated is None or wanted.get("containerName") not in (None, container.get("name")):
            continue
        code = int(terminated.get("exitCode") or 0)
        is_listed = code in (wanted.get("values") or ())
        if code and is_listed == (wanted.get("operator") == "In"):
            where = f"{namespace_of(pod)}/{name_of(pod)}"
            return f"Container {container.get('name')} for pod {where} failed with exit code {code}"
    return ""


def _by_condition(rule: Mapping[str, Any], pod: Mapping[str, Any]) -> str:
    conditions: Sequence[Mapping[str, Any]] = (pod.get("status") or {}).get("conditions") or ()
    for pattern in rule.get("onPodConditions") or ():
        for condition in conditions:
            if condition.get("type") == pattern["type"] and condition.get("status") == pattern.get("status", "True"):
                return f"Pod {namespace_of(pod)}/{name_of(pod)} has condition {condition['type']}"
    return ""


def success_message(job: JsonObject, succeeded: Set[int]) -> str:
    """Which rule of the success policy is met, by the indexes that succeeded; empty while none is."""
    completions = int(job["spec"].get("completions") or 0)
    for number, rule in enumerate((job["spec"].get("successPolicy") or {}).get("rules") or ()):
        named = rule.get("succeededIndexes")
        wanted = set(range(completions)) if named is None else set(parse_indexes(named))
        hits, count = len(wanted & succeeded), rule.get("succeededCount")
        is_met = hits == len(wanted) if count is None else hits >= min(int(count), len(wanted))
        if hits and is_met:
            return f"Matched rules at index {number}"
    return ""
