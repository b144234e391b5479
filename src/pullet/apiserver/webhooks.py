"""Calls the admission webhooks that a request matches: mutating ones one after the other, validating ones at once.

Never asked about: the webhook configurations themselves, and reviews. A pod's binding is shown to validating webhooks
alone. Source: apiserver pkg/admission/plugin/webhook/{mutating,validating}/dispatcher.go.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from pullet.apiserver.admission_request import AdmissionRequest, Operation
from pullet.apiserver.custom_objects import decode_object
from pullet.apiserver.decoding import SchemaDecoder
from pullet.apiserver.records import encode_json, mutable_copy
from pullet.apiserver.scaling import SCALE_VERSION, scale_of, scale_paths, set_scale
from pullet.apiserver.schemas import Schemas
from pullet.apiserver.served_resources import ServedResources
from pullet.apiserver.storage import Storage
from pullet.apiserver.strategies import strategy_of
from pullet.apiserver.views import stored_form, view_of
from pullet.apiserver.webhook_client import WebhookCallError, WebhookClient
from pullet.base.jsonvalue import JsonObject
from pullet.base.values import State, Value
from pullet.kube import scheme
from pullet.kube.field_error import quote
from pullet.kube.patch import PatchError, json_patch
from pullet.kube.scheme import Resource
from pullet.kube.selector import SelectorError
from pullet.kube.status import ApiError, BadRequestError, InternalApiError, NotFoundError
from pullet.policy.admission_review import Answer, AnswerInvalidError, Question, denial, read_answer, review_version
from pullet.policy.webhook_matching import Attributes, matching_resource, needs_namespace, selectors_match
from pullet.policy.webhook_validation import SIDE_EFFECT_FREE

log = logging.getLogger(__name__)
_EXEMPT = frozenset({"admissionregistration.k8s.io"})
# what a webhook may not take from an object
_IDENTITY = ("name", "namespace", "uid", "creationTimestamp", "resourceVersion", "generation", "managedFields")

Webhook = Mapping[str, Any]


class MutationRound(State):
    """What webhooks have done to one request so far: which of them may be asked again, and which must be."""

    asked: dict[str, JsonObject]  # webhooks with reinvocationPolicy IfNeeded → the object as each left it
    is_changed: bool = False


class _Called(Value):
    """A webhook of one configuration."""

    key: str
    webhook: Webhook

    @property
    def name(self) -> str:
        return str(self.webhook["name"])


class Webhooks:
    """Finds and calls webhooks."""

    def __init__(self, *, storage: Storage, served: ServedResources, schemas: Schemas, client: WebhookClient) -> None:
        self._storage = storage
        self._served = served
        self._decoder = SchemaDecoder(schemas)
        self._client = client

    def any_for(self, resource: Resource) -> bool:
        """Whether there are webhooks that may concern writes of this kind."""
        kinds = (scheme.MUTATINGWEBHOOKCONFIGURATIONS, scheme.VALIDATINGWEBHOOKCONFIGURATIONS)
        return resource.group not in _EXEMPT and any(self._storage.list(kind.storage_key) for kind in kinds)

    async def mutate(self, request: AdmissionRequest, round_: MutationRound) -> JsonObject:
        """The object with every matching webhook's patches; the first round, or one more for those who need it.

        A webhook that was asked is asked again only under reinvocationPolicy IfNeeded, and only if the object is no
        longer what it left.

        Raises:
            ApiError: a webhook denied, failed under failurePolicy Fail, or cannot be asked in a dry run.
        """
        assert request.obj is not None
        obj = request.obj
        is_again = bool(round_.asked) or round_.is_changed
        for called in self._configured(scheme.MUTATINGWEBHOOKCONFIGURATIONS, request):
            if is_again and (called.key not in round_.asked or round_.asked[called.key] == obj):
                continue
            current = request.with_object(obj)
            view = self._matched(called, current)
            if view is None:
                continue
            answer = await self._ask(called, current, view, is_mutating=True)
            if answer is not None and answer.patch:
                changed = self._patched(called, current, view, answer.patch)
                round_.is_changed = round_.is_changed or changed != obj
                obj = changed
            if called.webhook.get("reinvocationPolicy") == "IfNeeded":
                round_.asked[called.key] = mutable_copy(obj)
        return obj

    async def validate(self, request: AdmissionRequest) -> None:
        """Ask every matching validating webhook.

        Raises:
            ApiError: the first refusal, in the order of the configurations.
        """
        found = [
            (called, view)
            for called in self._configured(scheme.VALIDATINGWEBHOOKCONFIGURATIONS, request)
            if (view := self._matched(called, request)) is not None
        ]
        if not found:
            return

        async def refusal(called: _Called, view: Resource) -> ApiError | None:
            try:
                _ = await self._ask(called, request, view, is_mutating=False)
            except ApiError as error:
                return error
            return None

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(refusal(*one), name=f"webhook/{one[0].name}") for one in found]
        errors = [error for task in tasks if (error := task.result()) is not None]
        if errors:
            raise errors[0]

    def _configured(self, kind: Resource, request: AdmissionRequest) -> Iterator[_Called]:
        if request.resource.group in _EXEMPT:
            return
        for record in self._storage.list(kind.storage_key):
            for webhook in record.obj.get("webhooks") or ():
                yield _Called(f"{record.name}/{webhook['name']}", webhook)

    def _matched(self, called: _Called, request: AdmissionRequest) -> Resource | None:
        """The view under which the webhook wants to see the request, or None."""
        binding = request.subresource == "binding"
        attributes = Attributes(
            operation=Operation.CREATE if binding else request.operation,
            resource=request.resource,
            views=self._served.views_of(request.resource),
            subresource=request.subresource,
            namespace=_namespace(request),
            obj=request.obj,
            old=request.old,
        )
        view = matching_resource(called.webhook, attributes)
        if view is None:
            return None
        namespace: JsonObject | None = None
        if needs_namespace(called.webhook, attributes):
            record = self._storage.get(scheme.NAMESPACES.storage_key, "", attributes.namespace)
            if record is None:
                raise NotFoundError.on(scheme.NAMESPACES, attributes.namespace)
            namespace = record.obj
        try:
            return view if selectors_match(called.webhook, attributes, namespace) else None
        except SelectorError as error:
            raise InternalApiError.because(error) from error

    async def _ask(
        self, called: _Called, request: AdmissionRequest, view: Resource, *, is_mutating: bool
    ) -> Answer | None:
        """The answer of one webhook that allowed; None if it failed and that is to be ignored."""
        if request.context.dry_run and called.webhook.get("sideEffects") not in SIDE_EFFECT_FREE:
            raise BadRequestError(f"admission webhook {quote(called.name)} does not support dry run")
        try:
            answer = await self._call(called, request, view, is_mutating=is_mutating)
        except (WebhookCallError, AnswerInvalidError) as error:
            is_call = isinstance(error, WebhookCallError)
            cause = f"failed to call webhook: {error}" if is_call else f"received invalid webhook response: {error}"
            text = f"failed calling webhook {quote(called.name)}: {cause}"
            if called.webhook.get("failurePolicy") == "Ignore":
                log.warning("webhook failed, failing open", extra={"webhook": called.name, "error": str(error)})
                return None
            raise InternalApiError.because(text) from error
        request.context.warnings += answer.warnings
        if not answer.allowed:
            raise denial(called.name, answer.status)
        return answer

    async def _call(self, called: _Called, request: AdmissionRequest, view: Resource, *, is_mutating: bool) -> Answer:
        webhook = called.webhook
        client: Mapping[str, Any] = webhook.get("clientConfig") or {}
        version = review_version(webhook.get("admissionReviewVersions") or ())
        url = client.get("url")
        if not url:
            raise WebhookCallError(self._no_service(client.get("service") or {}))
        bundle = base64.b64decode(client.get("caBundle") or "").decode(errors="replace")
        uid = str(uuid.uuid4())
        review = _question(request, view).review(uid, version)
        body = await self._client.post(
            url, encode_json(review), authority_pem=bundle, seconds=webhook.get("timeoutSeconds") or 10
        )
        return read_answer(body, uid=uid, version=version, is_mutating=is_mutating)

    def _no_service(self, service: Mapping[str, Any]) -> str:
        namespace, name = service.get("namespace") or "", service.get("name") or ""
        if self._storage.get(scheme.SERVICES.storage_key, namespace, name) is None:
            return f"service {quote(name)} not found"
        return f"services are not routed here: service {namespace}/{name} cannot be reached, use clientConfig.url"

    def _patched(self, called: _Called, request: AdmissionRequest, view: Resource, patch: list[Any]) -> JsonObject:
        """The object after a webhook's patch: of the right types, with defaults, and still the same object.

        Raises:
            InternalApiError: the patch does not apply, or leaves something else than an object of the kind.
        """
        assert request.obj is not None
        shown = mutable_copy(_shown(request, view, request.obj))
        is_scale = request.subresource == "scale"
        try:
            changed = json_patch(shown, patch)
            if not isinstance(changed, dict) or not isinstance(changed.get("metadata", {}), dict):
                raise PatchError("the patch leaves no object")
            if is_scale:
                group, _, version = SCALE_VERSION.partition("/")
                decoded = self._decoder.decode(changed, group, version, "Scale").obj
            else:
                decoded = decode_object(changed, view, self._decoder).obj
        except PatchError as error:
            raise InternalApiError.because(error) from error
        except BadRequestError as error:
            raise InternalApiError.because(error.message) from error
        if is_scale:
            return set_scale(mutable_copy(request.obj), decoded, scale_paths(request.resource))
        obj = stored_form(view, decoded)
        meta, before = obj.setdefault("metadata", {}), request.obj["metadata"]
        for field in _IDENTITY:
            meta.pop(field, None)
            if field in before:
                meta[field] = before[field]
        obj["apiVersion"], obj["kind"] = request.obj["apiVersion"], request.obj["kind"]
        if request.resource.has_status and request.subresource != "status":
            obj.pop("status", None)
            if "status" in request.obj:
                obj["status"] = request.obj["status"]
        strategy_of(request.resource).default(obj)
        return obj


def _namespace(request: AdmissionRequest) -> str:
    return request.name if request.resource is scheme.NAMESPACES else request.namespace


def _shown(request: AdmissionRequest, view: Resource, obj: JsonObject) -> JsonObject:
    """The object as the webhook sees it."""
    match request.subresource:
        case "scale":
            return scale_of(obj, scale_paths(request.resource))
        case "binding":
            return {
                "kind": "Binding",
                "apiVersion": "v1",
                "metadata": {"name": request.name, "namespace": request.namespace},
                "target": {"kind": "Node", "name": obj["spec"].get("nodeName") or ""},
            }
        case _:
            return view_of(view, obj)


def _question(request: AdmissionRequest, view: Resource) -> Question:
    is_binding = request.subresource == "binding"
    old = None if is_binding or request.old is None else _shown(request, view, request.old)
    operation = Operation.CREATE if is_binding else request.operation
    return Question(
        operation=operation,
        resource=view,
        asked=request.resource,
        subresource=request.subresource,
        namespace=_namespace(request),
        name=request.name,
        obj=None if request.obj is None else _shown(request, view, request.obj),
        old=old,
        user=request.context.user.to_info(),
        options=_options(request, operation),
        dry_run=request.context.dry_run,
    )


_OPTIONS = {Operation.CREATE: "CreateOptions", Operation.UPDATE: "UpdateOptions", Operation.DELETE: "DeleteOptions"}


def _options(request: AdmissionRequest, operation: Operation) -> JsonObject | None:
    """meta/v1 options of what is done, which for a patch is an update or a create; a connect has none."""
    kind = _OPTIONS.get(operation)
    if kind is None:
        return None
    context = request.context
    options: JsonObject = {"kind": kind, "apiVersion": "meta.k8s.io/v1", **(request.options or {})}
    if context.dry_run:
        options["dryRun"] = ["All"]
    if context.field_manager and operation is not Operation.DELETE:
        options["fieldManager"] = context.field_manager
    if context.field_validation and operation is not Operation.DELETE:
        options["fieldValidation"] = context.field_validation
    return options
