"""What controllers of pods ask of a pod, and how they make one. Pure.

Source: kubernetes pkg/controller/controller_utils.go, pkg/api/v1/pod/util.go.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from pullet.base.jsonvalue import JsonObject
from pullet.base.values import Value
from pullet.kube.meta import (
    annotations_of,
    controller_of,
    is_deleting,
    labels_of,
    metadata,
    owner_reference,
    parse_time,
    uid_of,
)
from pullet.kube.selector import LabelSelector

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
_PHASE_RANK = {"Pending": 0, "Unknown": 1}


def phase_of(pod: Mapping[str, Any]) -> str:
    """status.phase; Pending while nobody has said."""
    return str((pod.get("status") or {}).get("phase") or "Pending")


def is_active(pod: Mapping[str, Any]) -> bool:
    """Whether the pod counts as a replica: neither ended nor being deleted."""
    return phase_of(pod) not in ("Succeeded", "Failed") and not is_deleting(pod)


def condition_of(obj: Mapping[str, Any], kind: str) -> Mapping[str, Any] | None:
    """The status condition of a type."""
    conditions: Sequence[Mapping[str, Any]] = (obj.get("status") or {}).get("conditions") or ()
    return next((condition for condition in conditions if condition.get("type") == kind), None)


def is_ready(pod: Mapping[str, Any]) -> bool:
    """Whether condition Ready is True."""
    condition = condition_of(pod, "Ready")
    return condition is not None and condition.get("status") == "True"


def is_available(pod: Mapping[str, Any], min_ready_seconds: int, now: datetime) -> bool:
    """Whether the pod has been ready for `min_ready_seconds`."""
    if not is_ready(pod):
        return False
    since = parse_time((condition_of(pod, "Ready") or {}).get("lastTransitionTime"))
    return not min_ready_seconds or (since is not None and since + timedelta(seconds=min_ready_seconds) <= now)


def restart_count(pod: Mapping[str, Any]) -> int:
    """The most often any container of the pod restarted."""
    statuses: Iterable[Mapping[str, Any]] = (pod.get("status") or {}).get("containerStatuses") or ()
    return max((int(status.get("restartCount") or 0) for status in statuses), default=0)


def deletion_order(pods: Iterable[JsonObject], neighbours: Mapping[str, int] | None = None) -> list[JsonObject]:
    """Pods in the order in which they are given up: those whose loss costs least first.

    Unassigned, pending, unready, cheap by annotation, crowded (`neighbours`: siblings on the same node, by uid),
    ready for the shortest time, restarted most, youngest.
    """
    crowd = neighbours or {}

    def rank(pod: JsonObject) -> tuple[Any, ...]:
        ready_since = (
            parse_time((condition_of(pod, "Ready") or {}).get("lastTransitionTime")) if is_ready(pod) else None
        )
        created = parse_time(metadata(pod).get("creationTimestamp"))
        return (
            bool((pod.get("spec") or {}).get("nodeName")),
            _PHASE_RANK.get(phase_of(pod), 2),
            is_ready(pod),
            _deletion_cost(pod),
            -crowd.get(uid_of(pod), 0),
            -ready_since.timestamp() if ready_since else 0.0,
            -restart_count(pod),
            -created.timestamp() if created else 0.0,
            metadata(pod).get("name", ""),
        )

    return sorted(pods, key=rank)


def _deletion_cost(pod: JsonObject) -> int:
    text = annotations_of(pod).get(DELETION_COST, "0")
    try:
        return int(text)
    except ValueError:
        return 0


def pod_from_template(
    owner: JsonObject, template: Mapping[str, Any], *, name: str = "", generate_name: str = ""
) -> JsonObject:
    """A pod to create: the template's metadata and spec, owned by `owner`."""
    meta = template.get("metadata") or {}
    pod_meta: JsonObject = {"name": name} if name else {"generateName": generate_name}
    for field in ("labels", "annotations", "finalizers"):
        if meta.get(field):
            pod_meta[field] = copy.deepcopy(meta[field])
    pod_meta["ownerReferences"] = [owner_reference(owner)]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": pod_meta, "spec": copy.deepcopy(template.get("spec") or {})}


class Claims(Value):
    """Which objects an owner has, which it should take, and which it must let go."""

    owned: list[JsonObject]
    adopt: list[JsonObject]
    release: list[JsonObject]


def decide_claims(owner: JsonObject, selector: LabelSelector, candidates: Iterable[JsonObject]) -> Claims:
    """Sort `candidates` by owner and labels: a controller owns what it controls and selects.

    Orphans that match are adopted, unless the owner or they are being deleted; own objects that stopped matching
    are released.
    """
    claims = Claims([], [], [])
    for obj in candidates:
        controller = controller_of(obj)
        matches = selector.matches(labels_of(obj))
        if controller is None:
            if matches and not is_deleting(owner) and not is_deleting(obj):
                claims.adopt.append(obj)
        elif controller.get("uid") == uid_of(owner):
            if matches:
                claims.owned.append(obj)
            elif not is_deleting(owner):
                claims.release.append(obj)
    return claims
