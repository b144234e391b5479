"""The status of a Deployment from its ReplicaSets: counts, and the story that its conditions tell. Pure.

Progressing goes NewReplicaSetCreated | FoundNewReplicaSet → ReplicaSetUpdated … → NewReplicaSetAvailable, or to
ProgressDeadlineExceeded when nothing moved for progressDeadlineSeconds; DeploymentPaused and DeploymentResumed
interrupt it. Source: kubernetes pkg/controller/deployment/{progress,sync}.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from pullet.base.jsonvalue import JsonObject
from pullet.base.quote import go_quote
from pullet.controllers.conditions import drop_condition, find_condition, set_condition
from pullet.controllers.rollout import max_unavailable, status_count, wanted
from pullet.kube.meta import metadata, name_of, parse_time

_NO_DEADLINE = 2**31 - 1
AVAILABLE = "NewReplicaSetAvailable"
TIMED_OUT = "ProgressDeadlineExceeded"
UPDATED = "ReplicaSetUpdated"
PAUSED, RESUMED = "DeploymentPaused", "DeploymentResumed"


def has_deadline(deployment: Mapping[str, Any]) -> bool:
    """Whether progress is watched at all."""
    return deployment["spec"].get("progressDeadlineSeconds") not in (None, _NO_DEADLINE)


def counts(deployment: JsonObject, new: JsonObject | None, old: Sequence[JsonObject]) -> JsonObject:
    """The numbers of the status and the Available condition's inputs, conditions not included."""
    everything = [*old, *([new] if new is not None else [])]
    available = sum(status_count(item, "availableReplicas") for item in everything)
    status: JsonObject = {
        "observedGeneration": int(metadata(deployment).get("generation") or 0),
        "replicas": sum(status_count(item, "replicas") for item in everything),
        "updatedReplicas": status_count(new, "replicas") if new is not None else 0,
        "readyReplicas": sum(status_count(item, "readyReplicas") for item in everything),
        "availableReplicas": available,
        "unavailableReplicas": max(0, sum(wanted(item) for item in everything) - available),
    }
    collisions = (deployment.get("status") or {}).get("collisionCount")
    return {key: value for key, value in status.items() if value} | (
        {"collisionCount": collisions} if collisions else {}
    )


def is_complete(deployment: JsonObject, status: Mapping[str, Any]) -> bool:
    """Whether every wanted pod is new and available, and no old one is left."""
    size = wanted(deployment)
    return bool(
        status.get("updatedReplicas", 0) == size
        and status.get("replicas", 0) == size
        and status.get("availableReplicas", 0) == size
        and status.get("observedGeneration", 0) >= int(metadata(deployment).get("generation") or 0)
    )


def compute_status(
    deployment: JsonObject,
    new: JsonObject | None,
    old: Sequence[JsonObject],
    conditions: Sequence[Mapping[str, Any]],
    now: datetime,
    *,
    is_rollout: bool,
) -> JsonObject:
    """The whole status. `conditions` are those so far; `is_rollout` is False while paused or merely scaling."""
    status = counts(deployment, new, old)
    result = _availability(deployment, status, conditions, now)
    if is_rollout:
        result = _progress(deployment, new, status, result, now)
    result = _replica_failure(new, old, result)
    return status | {"conditions": result}


def pause_conditions(deployment: JsonObject, conditions: Sequence[JsonObject], now: datetime) -> list[JsonObject]:
    """Conditions after pause or resume was noticed; unchanged when neither is new."""
    if not has_deadline(deployment):
        return list(conditions)
    current = find_condition(conditions, "Progressing")
    reason = current.get("reason") if current is not None else ""
    is_paused = bool(deployment["spec"].get("paused"))
    if reason == TIMED_OUT:
        return list(conditions)  # the deadline's verdict stays visible
    if is_paused and reason != PAUSED:
        message, word = "Deployment is paused", PAUSED
    elif not is_paused and reason == PAUSED:
        message, word = "Deployment is resumed", RESUMED
    else:
        return list(conditions)
    return set_condition(conditions, "Progressing", "Unknown", word, message, now, with_update_time=True)


def seconds_to_deadline(deployment: JsonObject, status: Mapping[str, Any], now: datetime) -> float | None:
    """When to look again whether progress timed out; None when nothing is pending."""
    condition = find_condition(status.get("conditions") or (), "Progressing")
    if condition is None or not has_deadline(deployment) or deployment["spec"].get("paused"):
        return None
    if condition.get("reason") in (AVAILABLE, TIMED_OUT) or is_complete(deployment, status):
        return None
    since = parse_time(condition.get("lastUpdateTime")) or now
    left = since + timedelta(seconds=int(deployment["spec"]["progressDeadlineSeconds"])) - now
    return max(left.total_seconds(), 0.0) + 1.0


def _availability(
    deployment: JsonObject, status: Mapping[str, Any], conditions: Sequence[Mapping[str, Any]], now: datetime
) -> list[JsonObject]:
    if status.get("availableReplicas", 0) >= wanted(deployment) - max_unavailable(deployment):
        verdict = ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    else:
        verdict = ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    return set_condition(conditions, "Available", *verdict, now, with_update_time=True)


def _progress(
    deployment: JsonObject,
    new: JsonObject | None,
    status: Mapping[str, Any],
    conditions: list[JsonObject],
    now: datetime,
) -> list[JsonObject]:
    if not has_deadline(deployment):
        return drop_condition(conditions, "Progressing")
    current = find_condition(conditions, "Progressing")
    was_complete = current is not None and current.get("reason") == AVAILABLE
    if was_complete and status.get("replicas", 0) == status.get("updatedReplicas", 0):
        return conditions
    subject = (
        f"ReplicaSet {go_quote(name_of(new))}" if new is not None else f"Deployment {go_quote(name_of(deployment))}"
    )
    if is_complete(deployment, status):
        return set_condition(
            conditions, "Progressing", "True", AVAILABLE, f"{subject} has successfully progressed.", now,
            with_update_time=True,
        )  # fmt: skip
    if _moved(deployment, status):
        # the same word again still renews the update time, which the deadline counts from
        return set_condition(
            conditions, "Progressing", "True", UPDATED, f"{subject} is progressing.", now,
            with_update_time=True, keep_if_same=False,
        )  # fmt: skip
    if _timed_out(deployment, current, now):
        return set_condition(
            conditions, "Progressing", "False", TIMED_OUT, f"{subject} has timed out progressing.", now,
            with_update_time=True,
        )  # fmt: skip
    return conditions


def _moved(deployment: JsonObject, status: Mapping[str, Any]) -> bool:
    before = deployment.get("status") or {}

    def grew(field: str) -> bool:
        return int(status.get(field, 0)) > int(before.get(field) or 0)

    old_now = status.get("replicas", 0) - status.get("updatedReplicas", 0)
    old_before = int(before.get("replicas") or 0) - int(before.get("updatedReplicas") or 0)
    return grew("updatedReplicas") or old_now < old_before or grew("readyReplicas") or grew("availableReplicas")


def _timed_out(deployment: JsonObject, condition: Mapping[str, Any] | None, now: datetime) -> bool:
    if condition is None or deployment["spec"].get("paused"):
        return False
    if condition.get("reason") in (AVAILABLE, TIMED_OUT):
        return condition.get("reason") == TIMED_OUT
    since = parse_time(condition.get("lastUpdateTime"))
    return since is not None and since + timedelta(seconds=int(deployment["spec"]["progressDeadlineSeconds"])) < now


def _replica_failure(
    new: JsonObject | None, old: Sequence[JsonObject], conditions: list[JsonObject]
) -> list[JsonObject]:
    for item in [*([new] if new is not None else []), *old]:
        failure = find_condition((item.get("status") or {}).get("conditions") or (), "ReplicaFailure")
        if failure is not None:
            moment = failure.get("lastTransitionTime")
            carried = {**failure, "lastUpdateTime": moment}
            return [*drop_condition(conditions, "ReplicaFailure"), carried]
    return drop_condition(conditions, "ReplicaFailure")
