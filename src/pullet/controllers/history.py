"""Revisions of DaemonSets and StatefulSets, kept as ControllerRevision objects so that a rollout can be undone.

Source: kubernetes pkg/controller/history/controller_history.go.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from pullet.base.jsonvalue import JsonObject, canonical_json
from pullet.base.values import Value
from pullet.controllers.informers import BY_CONTROLLER
from pullet.controllers.templates import same_template, template_hash
from pullet.kube.meta import labels_of, name_of, namespace_of, owner_reference, resource_version_of, uid_of
from pullet.kube.scheme import CONTROLLERREVISIONS
from pullet.kube.status import AlreadyExistsError, NotFoundError
from pullet.kubeclient.client import ApiClient
from pullet.kubeclient.reflector import Reflector

REVISION_HASH_LABEL = "controller-revision-hash"


class History(Value):
    """The revision of the present template, and the others, oldest first."""

    current: JsonObject
    others: list[JsonObject]

    @property
    def current_hash(self) -> str:
        """What pods of the present template carry as label."""
        return labels_of(self.current)[REVISION_HASH_LABEL]


def template_of(revision: Mapping[str, Any]) -> JsonObject:
    """The pod template a revision stands for."""
    template = dict(((revision.get("data") or {}).get("spec") or {}).get("template") or {})
    template.pop("$patch", None)
    return template


def revision_data(template: Mapping[str, Any]) -> JsonObject:
    """A patch back to the template; sorted, as kubectl compares its bytes to see what is to be undone."""
    data: JsonObject = json.loads(canonical_json({"spec": {"template": {**template, "$patch": "replace"}}}))
    return data


def revisions_to_delete(history: History, in_use: set[str], limit: int) -> list[JsonObject]:
    """The oldest revisions beyond `limit` that no pod is made from."""
    unused = [item for item in history.others if labels_of(item).get(REVISION_HASH_LABEL) not in in_use]
    return unused[: max(0, len(unused) - limit)]


class RevisionHistory:
    """Reads and writes the ControllerRevisions of owners."""

    def __init__(self, *, client: ApiClient, revisions: Reflector) -> None:
        self._client = client
        self._revisions = revisions

    async def ensure(self, owner: JsonObject, collision_count: int = 0) -> History:
        """The owner's history, with a revision for its present template made, or moved to the end."""
        template = owner["spec"].get("template") or {}
        known = sorted(self._revisions.by_index(BY_CONTROLLER, uid_of(owner)), key=_number)
        last = _number(known[-1]) if known else 0
        current = next((item for item in reversed(known) if same_template(template_of(item), template)), None)
        others = [item for item in known if item is not current]
        if current is None:
            current = await self._create(owner, template, last + 1, collision_count)
        elif _number(current) < last:
            patch: JsonObject = {
                "revision": last + 1,
                "metadata": {"resourceVersion": resource_version_of(current)},
            }
            current = await self._client.patch(CONTROLLERREVISIONS, namespace_of(owner), name_of(current), patch)
            self._revisions.observe(current)
        return History(current, others)

    async def truncate(self, owner: JsonObject, history: History, in_use: set[str]) -> None:
        """Delete revisions beyond the owner's revisionHistoryLimit."""
        limit = owner["spec"].get("revisionHistoryLimit")
        for item in revisions_to_delete(history, in_use, 10 if limit is None else int(limit)):
            with suppress(NotFoundError):
                await self._client.delete(CONTROLLERREVISIONS, namespace_of(owner), name_of(item), uid=uid_of(item))

    async def _create(
        self, owner: JsonObject, template: Mapping[str, Any], number: int, collision_count: int
    ) -> JsonObject:
        digest = template_hash(template, collision_count)
        data = revision_data(template)
        labels = dict((template.get("metadata") or {}).get("labels") or {}) | {REVISION_HASH_LABEL: digest}
        revision: JsonObject = {
            "apiVersion": "apps/v1",
            "kind": "ControllerRevision",
            "metadata": {
                "name": f"{name_of(owner)}-{digest}",
                "namespace": namespace_of(owner),
                "labels": labels,
                "ownerReferences": [owner_reference(owner)],
            },
            "data": data,
            "revision": number,
        }
        try:
            made = await self._client.create(CONTROLLERREVISIONS, namespace_of(owner), revision)
        except AlreadyExistsError:
            made = await self._client.get(CONTROLLERREVISIONS, namespace_of(owner), revision["metadata"]["name"])
            if not same_template(template_of(made), template):
                return await self._create(owner, template, number, collision_count + 1)
        self._revisions.observe(made)
        return made


def hash_of_pod(pod: Mapping[str, Any]) -> str:
    """The revision a pod was made from."""
    return labels_of(pod).get(REVISION_HASH_LABEL, "")


def hashes_in_use(pods: Sequence[Mapping[str, Any]]) -> set[str]:
    """The revisions that pods still run."""
    return {hash_of_pod(pod) for pod in pods}


def _number(revision: Mapping[str, Any]) -> int:
    return int(revision.get("revision") or 0)
