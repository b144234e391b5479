"""Admission: what is added to, and what is refused of, an object on its way to storage.

    mutate:    NamespaceLifecycle → ServiceAccount → DefaultTolerationSeconds → Priority → AlwaysPullImages → webhooks
    validate:  AlwaysPullImages → NodeRestriction → webhooks
The steps themselves are pure (`policy.admission`); here they meet storage, randomness and the network.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from pullet.apiserver.admission_request import AdmissionRequest, Operation
from pullet.apiserver.authorization import node_of
from pullet.apiserver.node_restriction import restrict_node
from pullet.apiserver.records import Record
from pullet.apiserver.settings import ApiServerSettings
from pullet.apiserver.storage import Storage
from pullet.apiserver.webhooks import MutationRound, Webhooks
from pullet.base.jsonvalue import JsonObject
from pullet.kit.clock import Clock
from pullet.kube import scheme
from pullet.kube.field_error import aggregate_text, quote
from pullet.kube.inert_kinds import PRIORITYCLASSES
from pullet.kube.meta import NAME_SUFFIX_ALPHABET, annotations_of, is_deleting
from pullet.kube.status import ForbiddenError, NotFoundError
from pullet.policy import admission

IMMORTAL_NAMESPACES = frozenset({"default", "kube-system", "kube-public"})
_ACCOUNT_TRIES = 10
_ACCOUNT_WAIT_SECONDS = 0.1

Lookup = Callable[[str, str, str], Record | None]


class AdmissionChain:
    """Runs the steps in order."""

    def __init__(self, *, storage: Storage, webhooks: Webhooks, clock: Clock, settings: ApiServerSettings) -> None:
        self._storage = storage
        self._webhooks = webhooks
        self._clock = clock
        self._always_pull = "AlwaysPullImages" in settings.admission_plugins

    async def mutate(self, request: AdmissionRequest) -> JsonObject:
        """The object with everything added.

        When a webhook changed it, the server's own steps run once more, and so do webhooks that asked for it.

        Raises:
            ForbiddenError, NotFoundError: refused already here. ApiError: what a webhook answered.
        """
        assert request.obj is not None
        if request.operation is Operation.CREATE:
            self.check_namespace(self._storage.get, request)
        obj = await self._mutate_once(request)
        if request.subresource == "binding" or not self._webhooks.any_for(request.resource):
            return obj
        done = MutationRound({})
        obj = await self._webhooks.mutate(request.with_object(obj), done)
        if done.is_changed:
            obj = await self._mutate_once(request.with_object(obj))
            obj = await self._webhooks.mutate(request.with_object(obj), done)
        return obj

    async def _mutate_once(self, request: AdmissionRequest) -> JsonObject:
        obj = request.obj
        assert obj is not None
        if request.resource is scheme.PODS and not request.subresource:
            if request.operation is Operation.CREATE:
                await self._admit_new_pod(request, obj)
            else:
                admission.keep_on_update(obj, request.old or {})
            if self._always_pull and admission.must_always_pull(obj, request.old):
                admission.always_pull_images(obj)
        return obj

    async def validate(self, request: AdmissionRequest) -> None:
        """Refuse what may not be.

        Raises:
            ForbiddenError: with the words of the step that refused. ApiError: what a webhook answered.
        """
        is_delete = request.operation is Operation.DELETE
        if is_delete and request.resource is scheme.NAMESPACES and request.name in IMMORTAL_NAMESPACES:
            raise ForbiddenError.on(scheme.NAMESPACES, request.name, "this namespace may not be deleted")
        if self._always_pull and request.resource is scheme.PODS and not request.subresource and not is_delete:
            assert request.obj is not None
            if admission.must_always_pull(request.obj, request.old):
                errors = admission.always_pull_images_errors(request.obj)
                if errors:
                    raise ForbiddenError.on(scheme.PODS, request.name, aggregate_text(errors))
        restrict_node(request)
        if self._webhooks.any_for(request.resource):
            await self._webhooks.validate(request)

    async def connect(self, request: AdmissionRequest) -> None:
        """Ask about something done to an object that writes no object of its own: an eviction, an exec.

        What mutating webhooks would change is of no effect.

        Raises:
            ApiError: what a webhook answered.
        """
        if self._webhooks.any_for(request.resource):
            await self._webhooks.mutate(request, MutationRound({}))
            await self._webhooks.validate(request)

    def check_namespace(self, lookup: Lookup, request: AdmissionRequest) -> None:
        """New objects need a namespace that is there to stay.

        Raises:
            NotFoundError: no such namespace. ForbiddenError: it is being deleted.
        """
        namespace = request.namespace
        if not request.resource.namespaced:
            return
        record = lookup(scheme.NAMESPACES.storage_key, "", namespace)
        if record is None:
            raise NotFoundError.on(scheme.NAMESPACES, namespace)
        if is_deleting(record.obj):
            error = ForbiddenError.on(
                request.resource, request.name,
                f"unable to create new content in namespace {namespace} because it is being terminated",
            )  # fmt: skip
            error.details["causes"] = [
                {
                    "reason": "NamespaceTerminating",
                    "message": f"namespace {namespace} is being terminated",
                    "field": "metadata.namespace",
                }
            ]
            raise error

    async def _admit_new_pod(self, request: AdmissionRequest, pod: JsonObject) -> None:
        spec = pod["spec"]
        is_nodes_own = bool(node_of(request.context.user)) or admission.MIRROR_POD_ANNOTATION in annotations_of(pod)
        if not is_nodes_own:
            if not spec.get("serviceAccountName"):
                spec["serviceAccountName"] = spec["serviceAccount"] = admission.DEFAULT_SERVICE_ACCOUNT
            account = await self._service_account(request, spec["serviceAccountName"])
            suffix = "".join(random.choices(NAME_SUFFIX_ALPHABET, k=5))
            admission.add_service_account(pod, account.obj, volume_suffix=suffix)
        admission.add_default_tolerations(pod)
        classes = {record.name: record.obj for record in self._storage.list(PRIORITYCLASSES.storage_key)}
        missing = admission.add_priority(pod, classes)
        if missing:
            raise ForbiddenError.on(scheme.PODS, request.name, f"no PriorityClass with name {missing} was found")

    async def _service_account(self, request: AdmissionRequest, name: str) -> Record:
        """The account, waiting a moment for the one that every new namespace is about to get."""
        tries = _ACCOUNT_TRIES if name == admission.DEFAULT_SERVICE_ACCOUNT else 1
        for attempt in range(tries):
            if attempt:
                await self._clock.sleep(_ACCOUNT_WAIT_SECONDS)
            record = self._storage.get(scheme.SERVICEACCOUNTS.storage_key, request.namespace, name)
            if record is not None:
                return record
        raise ForbiddenError.on(
            scheme.PODS, request.name,
            f"error looking up service account {request.namespace}/{name}: serviceaccount {quote(name)} not found",
        )  # fmt: skip
