"""A Deployment's ReplicaSets as revisions: which one is new, what its annotations say, how one is made. Pure.

Source: kubernetes pkg/controller/deployment/util/deployment_util.go.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

from pullet.base.jsonvalue import JsonObject
from pullet.controllers.rollout import (
    DESIRED_REPLICAS,
    MAX_REPLICAS,
    REVISION,
    REVISION_HISTORY,
    by_age,
    max_surge,
    new_size,
    revision_of,
    wanted,
)
from pullet.controllers.templates import TEMPLATE_HASH_LABEL, same_template, template_hash
from pullet.kube.meta import annotations_of, name_of, namespace_of, owner_reference

_NOT_COPIED = frozenset({
    "kubectl.kubernetes.io/last-applied-configuration", REVISION, REVISION_HISTORY, DESIRED_REPLICAS, MAX_REPLICAS,
    "deprecated.deployment.rollback.to",
})  # fmt: skip
_HISTORY_LIMIT_CHARACTERS = 2000


def split_by_template(
    deployment: JsonObject, replica_sets: Sequence[JsonObject]
) -> tuple[JsonObject | None, list[JsonObject]]:
    """The ReplicaSet of the deployment's present template (the oldest, if several), and the others."""
    ordered = by_age(replica_sets)
    template = deployment["spec"].get("template") or {}
    new = next((item for item in ordered if same_template(item["spec"].get("template") or {}, template)), None)
    return new, [item for item in ordered if item is not new]


def next_revision(old: Sequence[JsonObject]) -> int:
    """One more than the highest revision among the old ReplicaSets."""
    return max((revision_of(item) for item in old), default=0) + 1


def size_annotations(deployment: JsonObject) -> dict[str, str]:
    """What a ReplicaSet notes about the deployment's size when it is scaled."""
    return {
        DESIRED_REPLICAS: str(wanted(deployment)),
        MAX_REPLICAS: str(wanted(deployment) + max_surge(deployment)),
    }


def new_annotations(deployment: JsonObject, replica_set: Mapping[str, object], revision: int) -> dict[str, str]:
    """All annotations the new ReplicaSet should have: the deployment's own, the revision, and where it was before."""
    present = dict(annotations_of(replica_set))
    result = present | {key: value for key, value in annotations_of(deployment).items() if key not in _NOT_COPIED}
    before = revision_of(replica_set)
    if before < revision:
        result[REVISION] = str(revision)
        if before:
            history = [*filter(None, present.get(REVISION_HISTORY, "").split(",")), str(before)]
            while len(",".join(history)) > _HISTORY_LIMIT_CHARACTERS:
                history.pop(0)
            result[REVISION_HISTORY] = ",".join(history)
    return result


def make_replica_set(deployment: JsonObject, old: Sequence[JsonObject], collision_count: int) -> JsonObject:
    """The new ReplicaSet, sized as far as the strategy allows at once."""
    spec = deployment["spec"]
    template = copy.deepcopy(spec.get("template") or {})
    digest = template_hash(template, collision_count)
    labels = dict((template.get("metadata") or {}).get("labels") or {}) | {TEMPLATE_HASH_LABEL: digest}
    template["metadata"] = dict(template.get("metadata") or {}) | {"labels": labels}
    selector = copy.deepcopy(spec.get("selector") or {})
    selector["matchLabels"] = dict(selector.get("matchLabels") or {}) | {TEMPLATE_HASH_LABEL: digest}
    annotations = new_annotations(deployment, {}, next_revision(old)) | size_annotations(deployment)
    made: JsonObject = {"replicas": new_size(deployment, old, 0), "selector": selector, "template": template}
    if spec.get("minReadySeconds"):
        made["minReadySeconds"] = spec["minReadySeconds"]
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"{name_of(deployment)}-{digest}",
            "namespace": namespace_of(deployment),
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [owner_reference(deployment)],
        },
        "spec": made,
    }
