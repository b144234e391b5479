"""The arithmetic of a rollout: which ReplicaSet gets how many replicas next. Pure.

Source: kubernetes pkg/controller/deployment/{rolling,recreate,sync}.go, util/deployment_util.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pullet.base.jsonvalue import JsonObject
from pullet.base.values import Value
from pullet.controllers.conditions import scaled_value
from pullet.kube.meta import annotations_of, metadata, name_of

REVISION = "deployment.kubernetes.io/revision"
REVISION_HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED_REPLICAS = "deployment.kubernetes.io/desired-replicas"
MAX_REPLICAS = "deployment.kubernetes.io/max-replicas"


class Scale(Value):
    """Give a ReplicaSet a new size."""

    replica_set: JsonObject
    replicas: int


def wanted(obj: Mapping[str, Any]) -> int:
    """spec.replicas; 1 when unset."""
    replicas = (obj.get("spec") or {}).get("replicas")
    return 1 if replicas is None else int(replicas)


def status_count(obj: Mapping[str, Any], field: str) -> int:
    """A count in the status; 0 when unset."""
    return int((obj.get("status") or {}).get(field) or 0)


def is_rolling_update(deployment: Mapping[str, Any]) -> bool:
    """Whether the strategy is RollingUpdate (the default)."""
    return (deployment["spec"].get("strategy") or {}).get("type") != "Recreate"


def max_surge(deployment: Mapping[str, Any]) -> int:
    """How many pods may exist above the wanted number."""
    return _surge_and_unavailable(deployment)[0]


def max_unavailable(deployment: Mapping[str, Any]) -> int:
    """How many of the wanted pods may be missing."""
    return min(_surge_and_unavailable(deployment)[1], wanted(deployment))


def _surge_and_unavailable(deployment: Mapping[str, Any]) -> tuple[int, int]:
    if not is_rolling_update(deployment) or not wanted(deployment):
        return 0, 0
    rolling = (deployment["spec"].get("strategy") or {}).get("rollingUpdate") or {}
    total = wanted(deployment)
    surge = scaled_value(rolling.get("maxSurge"), total, default="25%", round_up=True)
    unavailable = scaled_value(rolling.get("maxUnavailable"), total, default="25%", round_up=False)
    # both zero would stand still for ever: percentages of few replicas round that way
    return (surge, unavailable) if surge or unavailable else (0, 1)


def revision_of(obj: Mapping[str, Any]) -> int:
    """The revision in the annotation; 0 when absent or unreadable."""
    text = annotations_of(obj).get(REVISION, "")
    return int(text) if text.isdigit() else 0


def by_age(replica_sets: Sequence[JsonObject]) -> list[JsonObject]:
    """Oldest first, then by name."""
    return sorted(replica_sets, key=lambda item: (str(metadata(item).get("creationTimestamp") or ""), name_of(item)))


def with_replicas(replica_sets: Sequence[JsonObject]) -> list[JsonObject]:
    """Those that want pods."""
    return [item for item in replica_sets if wanted(item) > 0]


def new_size(deployment: JsonObject, everything: Sequence[JsonObject], new_replicas: int) -> int:
    """How many replicas the new ReplicaSet may have now, given what all of them want already."""
    if not is_rolling_update(deployment):
        return wanted(deployment)
    room = wanted(deployment) + max_surge(deployment) - sum(wanted(item) for item in everything)
    if room <= 0:
        return new_replicas
    return new_replicas + max(0, min(room, wanted(deployment) - new_replicas))


def scale_new(deployment: JsonObject, new: JsonObject, old: Sequence[JsonObject]) -> Scale | None:
    """The next size of the new ReplicaSet, if it changes."""
    size = wanted(deployment)
    if wanted(new) < size:
        size = new_size(deployment, [*old, new], wanted(new))
    return Scale(new, size) if size != wanted(new) else None


def scale_old_rolling(deployment: JsonObject, new: JsonObject, old: Sequence[JsonObject]) -> list[Scale]:
    """What old ReplicaSets may give up without falling below the available minimum: unhealthy pods go first."""
    everything = [*old, new]
    minimum = wanted(deployment) - max_unavailable(deployment)
    starting = wanted(new) - status_count(new, "availableReplicas")
    removable = sum(wanted(item) for item in everything) - minimum - starting
    if removable <= 0 or not with_replicas(old):
        return []
    sizes = {name_of(item): wanted(item) for item in old}
    for item in by_age(old):
        unhealthy = sizes[name_of(item)] - status_count(item, "availableReplicas")
        count = max(0, min(removable, unhealthy)) if sizes[name_of(item)] else 0
        sizes[name_of(item)] -= count
        removable -= count
    spare = sum(status_count(item, "availableReplicas") for item in everything) - minimum
    for item in by_age(old):
        count = max(0, min(sizes[name_of(item)], spare))
        sizes[name_of(item)] -= count
        spare -= count
    return [Scale(item, sizes[name_of(item)]) for item in old if sizes[name_of(item)] != wanted(item)]


def scale_to_zero(old: Sequence[JsonObject]) -> list[Scale]:
    """Everything off: the Recreate strategy's first half."""
    return [Scale(item, 0) for item in with_replicas(old)]


def is_scaling_event(deployment: JsonObject, replica_sets: Sequence[JsonObject]) -> bool:
    """Whether the wanted number changed since the ReplicaSets were last sized."""
    return any(
        annotations_of(item).get(DESIRED_REPLICAS, str(wanted(deployment))) != str(wanted(deployment))
        for item in with_replicas(replica_sets)
    )


def scale_in_proportion(deployment: JsonObject, new: JsonObject | None, old: Sequence[JsonObject]) -> list[Scale]:
    """Sizes after the deployment's own size changed (or while it is paused), keeping the mix of versions."""
    everything = [*old, *([new] if new is not None else [])]
    active = with_replicas(everything)
    if len(active) <= 1:
        only = active[0] if active else new or _latest(old)
        if only is None or wanted(only) == wanted(deployment):
            return []
        return [Scale(only, wanted(deployment))]
    if new is not None and _is_saturated(deployment, new):
        return scale_to_zero(old)
    if not is_rolling_update(deployment):
        return []
    total = sum(wanted(item) for item in active)
    allowed = wanted(deployment) + max_surge(deployment) if wanted(deployment) else 0
    left = allowed - total
    # the largest first; among equals the newest when growing, the oldest when shrinking
    ordered = by_age(active)
    if left > 0:
        ordered.reverse()
    ordered.sort(key=wanted, reverse=True)
    sizes: list[int] = []
    for item in ordered:
        share = _share(deployment, item, total, allowed, left)
        sizes.append(wanted(item) + share)
        left -= share
    for number, size in enumerate(sizes):  # what rounding left over goes to the first, and on where that is too small
        sizes[number] = max(0, size + left)
        left -= sizes[number] - size
    return [Scale(item, size) for item, size in zip(ordered, sizes, strict=True) if size != wanted(item)]


def _share(deployment: JsonObject, item: JsonObject, total: int, allowed: int, left: int) -> int:
    if not wanted(item) or not left or not total:
        return 0
    if not wanted(deployment):
        fraction = -wanted(item)
    else:
        text = annotations_of(item).get(MAX_REPLICAS, "")
        before = int(text) if text.isdigit() and int(text) else total
        fraction = int(wanted(item) * allowed / before + 0.5) - wanted(item)
    return min(fraction, left) if left > 0 else max(fraction, left)


def _latest(replica_sets: Sequence[JsonObject]) -> JsonObject | None:
    ordered = by_age(replica_sets)
    return ordered[-1] if ordered else None


def _is_saturated(deployment: JsonObject, item: JsonObject) -> bool:
    return (
        wanted(item) == wanted(deployment)
        and annotations_of(item).get(DESIRED_REPLICAS) == str(wanted(deployment))
        and status_count(item, "availableReplicas") == wanted(deployment)
    )


def history_to_delete(deployment: JsonObject, old: Sequence[JsonObject]) -> list[JsonObject]:
    """Old, empty ReplicaSets beyond revisionHistoryLimit, lowest revision first."""
    limit = deployment["spec"].get("revisionHistoryLimit")
    if limit is None:
        return []
    alive = [item for item in old if not metadata(item).get("deletionTimestamp")]
    surplus = len(alive) - int(limit)
    if surplus <= 0:
        return []
    ordered = sorted(by_age(alive), key=revision_of)[:surplus]
    return [
        item
        for item in ordered
        if not wanted(item)
        and not status_count(item, "replicas")
        and status_count(item, "observedGeneration") >= int(metadata(item).get("generation") or 0)
    ]
