"""Creates, deletes, adopts and releases the pods of a controller, with the events of kube-controller-manager.

What was written is shown to the pods' reflector at once, so that the next decision counts it.
Source: kubernetes pkg/controller/controller_utils.go, controller_ref_manager.go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from pullet.base.jsonvalue import JsonObject
from pullet.controllers.pods import Claims
from pullet.kit.tasks import one_error
from pullet.kube.meta import is_deleting, metadata, name_of, namespace_of, object_reference, owner_reference, uid_of
from pullet.kube.scheme import Resource
from pullet.kube.status import ApiError, ConflictError, NotFoundError
from pullet.kubeclient.client import ApiClient
from pullet.kubeclient.event_recorder import EventRecorder
from pullet.kubeclient.reflector import Reflector

_FIRST_BATCH = 1


class PodControl:
    """Writes about pods on behalf of owners."""

    def __init__(self, *, client: ApiClient, pods: Reflector, recorder: EventRecorder) -> None:
        self._client = client
        self._pods = pods
        self._recorder = recorder

    async def create(self, owner: JsonObject, pod: JsonObject) -> JsonObject:
        """Create a pod; an event on the owner tells of success or failure.

        Raises:
            ApiError: the API refused; the event was sent.
        """
        namespace = namespace_of(owner)
        try:
            created = await self._client.create(self._pods.resource, namespace, pod)
        except ApiError as error:
            self._recorder.event(object_reference(owner), "Warning", "FailedCreate", f"Error creating: {error}")
            raise
        self._pods.observe(created)
        self._recorder.event(object_reference(owner), "Normal", "SuccessfulCreate", f"Created pod: {name_of(created)}")
        return created

    async def create_many(self, owner: JsonObject, pods: Sequence[JsonObject]) -> None:
        """Create pods in batches of 1, 2, 4 …: a refusal for all is learnt from few.

        Raises:
            ApiError: the first refusal; the batches after it were not tried.
        """
        done, size = 0, _FIRST_BATCH
        while done < len(pods):
            batch = pods[done : done + size]
            with one_error():
                async with asyncio.TaskGroup() as group:
                    for pod in batch:
                        group.create_task(self.create(owner, pod))
            done, size = done + len(batch), size * 2

    async def delete(self, owner: JsonObject, pod: JsonObject) -> None:
        """Delete a pod, unless it is gone or another by now; an event on the owner tells."""
        name = name_of(pod)
        try:
            answer = await self._client.delete(self._pods.resource, namespace_of(pod), name, uid=uid_of(pod))
        except (NotFoundError, ConflictError):
            return
        except ApiError as error:
            self._recorder.event(object_reference(owner), "Warning", "FailedDelete", f"Error deleting: {error}")
            raise
        if answer.get("kind") == "Pod" and is_deleting(answer):
            self._pods.observe(answer)
        self._recorder.event(object_reference(owner), "Normal", "SuccessfulDelete", f"Deleted pod: {name}")

    async def delete_many(self, owner: JsonObject, pods: Sequence[JsonObject]) -> None:
        """Delete pods at once."""
        with one_error():
            async with asyncio.TaskGroup() as group:
                for pod in pods:
                    group.create_task(self.delete(owner, pod))


async def carry_out_claims(
    client: ApiClient, reflector: Reflector, owner: JsonObject, claims: Claims
) -> list[JsonObject]:
    """Adopt and release as decided; returns what the owner has now."""
    owned = list(claims.owned)
    for obj in claims.adopt:
        references = [*(metadata(obj).get("ownerReferences") or ()), owner_reference(owner)]
        try:
            owned.append(await _set_owners(client, reflector, obj, references))
        except (NotFoundError, ConflictError):
            continue
    for obj in claims.release:
        references = [ref for ref in metadata(obj).get("ownerReferences") or () if ref.get("uid") != uid_of(owner)]
        try:
            await _set_owners(client, reflector, obj, references)
        except (NotFoundError, ConflictError):
            continue
    return owned


async def _set_owners(
    client: ApiClient, reflector: Reflector, obj: JsonObject, references: Sequence[Mapping[str, object]]
) -> JsonObject:
    resource: Resource = reflector.resource
    meta: JsonObject = {"ownerReferences": list(references) or None, "uid": uid_of(obj)}
    meta["resourceVersion"] = metadata(obj).get("resourceVersion")
    written = await client.patch(resource, namespace_of(obj), name_of(obj), {"metadata": meta})
    reflector.observe(written)
    return written
