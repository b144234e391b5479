"""The generic verbs over HTTP: one method per verb, for every resource that is stored.

Reads choose a representation (object, Table, metadata alone); writes decode, check and hand on to `Writer`.
Subresources with a life of their own are in `subresources`, reviews in `reviews`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from pullet.apiserver.custom_objects import decode_object
from pullet.apiserver.decoding import JSON, SchemaDecoder, WrongTypeError, duplicate_fields, parse_body
from pullet.apiserver.delete_options import parse_delete_options
from pullet.apiserver.json_answers import JsonResponse, json_response
from pullet.apiserver.list_encoding import ListEncoder
from pullet.apiserver.patching import PatchType, apply_patch, parse_patch, patch_type_of, unfit_patch
from pullet.apiserver.reading import Page, Reader
from pullet.apiserver.records import Record, encode_json, mutable_copy
from pullet.apiserver.representation import Accepted, accepted_form, metadata_list, metadata_only
from pullet.apiserver.request_context import RequestContext
from pullet.apiserver.routing import RequestInfo
from pullet.apiserver.schemas import Schemas
from pullet.apiserver.server_side_apply import Applier
from pullet.apiserver.settings import ApiServerSettings
from pullet.apiserver.strategies import strategy_of
from pullet.apiserver.tables import table_of
from pullet.apiserver.views import stored_form, view_of
from pullet.apiserver.watching import TableForm, WatchKeeper, failed_watch
from pullet.apiserver.writing import Deleted, Writer
from pullet.base.jsonvalue import JsonObject
from pullet.kit.clock import Clock
from pullet.kube.field_error import FieldError
from pullet.kube.meta import uid_of
from pullet.kube.scheme import JOBS
from pullet.kube.status import (
    ApiError,
    BadRequestError,
    EntityTooLargeError,
    ExpiredError,
    InvalidError,
    UnsupportedMediaTypeError,
    success_status,
)
from pullet.policy.deletion import DeleteOptions

_PODS_STAY = (
    "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or "
    "set propagationPolicy=Orphan to suppress this warning"
)
_NO_VERSION = FieldError(
    "metadata.resourceVersion", "FieldValueInvalid", "Invalid value: 0x0: must be specified for an update"
)


class RestHandler:
    """Answers requests to stored resources."""

    def __init__(
        self,
        *,
        reader: Reader,
        writer: Writer,
        watches: WatchKeeper,
        schemas: Schemas,
        applier: Applier,
        clock: Clock,
        settings: ApiServerSettings,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._watches = watches
        self._schemas = schemas
        self._decoder = SchemaDecoder(schemas)
        self._applier = applier
        self._lists = ListEncoder()
        self._clock = clock
        self._max_body_bytes = settings.max_body_bytes

    async def answer(self, request: Request, info: RequestInfo, context: RequestContext) -> Response:
        """The response to one request."""
        form = accepted_form(request.headers.get("accept", ""))
        match info.verb:
            case "get":
                return self._one(info, self._reader.get(info.resource, info.namespace, info.name), form)
            case "list":
                return self._list(info, form)
            case "watch":
                return self._watch(info, form)
            case "create":
                return await self._create(request, info, context, form)
            case "update":
                return await self._update(request, info, context, form)
            case "patch":
                return await self._patch(request, info, context, form)
            case "delete":
                return await self._delete(request, info, context, form)
            case _:
                return await self._delete_collection(request, info, context)

    # reads ------------------------------------------------------------------------------------------------------------

    def _one(self, info: RequestInfo, record: Record, form: Accepted, status: int = 200) -> Response:
        resource = info.resource
        if form.kind == "Table":
            meta = {"resourceVersion": str(record.resource_version)}
            return json_response(self._table(info, [record], meta, form), status)
        shown = view_of(resource, record.obj)
        if form.kind == "PartialObjectMetadata":
            return json_response(metadata_only(shown, form), status)
        body = record.encoded if shown is record.obj else encode_json(shown)
        return JsonResponse([body], status)

    def _list(self, info: RequestInfo, form: Accepted) -> Response:
        page = self._reader.list(info)
        meta: JsonObject = {"resourceVersion": str(page.resource_version)}
        if page.continue_token:
            meta["continue"] = page.continue_token
        if page.remaining:
            meta["remainingItemCount"] = page.remaining
        if form.kind == "Table":
            return json_response(self._table(info, page.records, meta, form))
        if form.kind == "PartialObjectMetadataList":
            return json_response(metadata_list([record.obj for record in page.records], meta, form))
        return self._page(info, page, meta)

    def _page(self, info: RequestInfo, page: Page, meta: JsonObject) -> Response:
        return JsonResponse(self._lists.encode(info.resource, info.namespace, page, meta))

    def _table(self, info: RequestInfo, records: Any, meta: JsonObject, form: Accepted) -> JsonObject:
        return table_of(
            info.resource,
            [record.obj for record in records],
            now=self._clock.now(),
            metadata=meta,
            include_object=info.query.get("includeObject") or "Metadata",
            api_version=form.api_version,
        )

    def _watch(self, info: RequestInfo, form: Accepted) -> Response:
        try:
            watcher = self._watches.open(info)
        except ExpiredError as error:  # clients look for it where it comes when a watch falls behind
            return StreamingResponse(failed_watch(error), media_type=JSON)
        table = None
        if form.kind == "Table":
            table = TableForm(info.query.get("includeObject") or "Metadata", form.api_version)
        stream = self._watches.stream(info.resource, watcher, table)
        return StreamingResponse(stream, media_type=f"{JSON};stream=watch" if table else JSON)

    # writes -----------------------------------------------------------------------------------------------------------

    async def read_body(self, request: Request) -> bytes:
        """The body, no larger than allowed.

        Raises:
            EntityTooLargeError: it is larger.
        """
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > self._max_body_bytes:
                raise EntityTooLargeError(f"Request entity is too large: limit is {self._max_body_bytes}")
        return bytes(body)

    async def decode(self, request: Request, info: RequestInfo, context: RequestContext) -> JsonObject:
        """The object in the body, in its stored form, checked against kind, namespace and name of the request."""
        body = await self.read_body(request)
        content_type = request.headers.get("content-type", "")
        value = parse_body(body, content_type, self._schemas)
        is_lax = info.query.get("fieldValidation") == "Ignore"
        return self.shape(value, info, context, [] if is_lax else duplicate_fields(body, content_type))

    def shape(
        self, value: Any, info: RequestInfo, context: RequestContext, duplicates: Sequence[str] = ()
    ) -> JsonObject:
        """A decoded object made fit for storage, under the request's fieldValidation."""
        resource = info.resource
        if not resource.custom:
            check_kind(value, resource.api_version, resource.kind)
        decoded = decode_object(value, resource, self._decoder)
        decoded.duplicate_fields += duplicates
        context.warnings += decoded.enforce(
            info.query.get("fieldValidation") or "Warn", resource.kind, resource.version
        )
        obj = decoded.obj
        meta = obj.setdefault("metadata", {})
        if resource.namespaced:
            if meta.get("namespace") and info.namespace and meta["namespace"] != info.namespace:
                raise BadRequestError(
                    "the namespace of the provided object does not match the namespace sent on the request"
                )
            meta["namespace"] = info.namespace
        return stored_form(resource, obj)

    async def _create(self, request: Request, info: RequestInfo, context: RequestContext, form: Accepted) -> Response:
        obj = await self.decode(request, info, context)
        record = await self._writer.create(info.resource, context, obj)
        return self._one(info, record, form, 201)

    async def _update(self, request: Request, info: RequestInfo, context: RequestContext, form: Accepted) -> Response:
        obj = await self.decode(request, info, context)
        self._check_name(obj, info)
        if strategy_of(info.resource).wants_version and not obj["metadata"].get("resourceVersion"):
            resource = info.resource
            raise InvalidError.on(resource.group, resource.kind, info.name, [_NO_VERSION])

        def change(current: JsonObject) -> JsonObject:
            del current
            return mutable_copy(obj)

        record = await self._writer.update(
            info.resource, context, info.namespace, info.name, change, subresource=info.subresource_name
        )
        return self._one(info, record, form)

    @staticmethod
    def _check_name(obj: JsonObject, info: RequestInfo) -> None:
        name = obj["metadata"].get("name") or ""
        if name != info.name:
            raise BadRequestError(f"the name of the object ({name}) does not match the name on the URL ({info.name})")

    async def _patch(self, request: Request, info: RequestInfo, context: RequestContext, form: Accepted) -> Response:
        kind = patch_type_of(request.headers.get("content-type", ""))
        if kind is PatchType.STRATEGIC and info.resource.custom:
            raise UnsupportedMediaTypeError.accepting(PatchType.JSON, PatchType.MERGE, PatchType.APPLY)
        patch = parse_patch(kind, await self.read_body(request))
        if kind is PatchType.APPLY:
            record, is_new = await self._applier.apply(info, context, patch)
            return self._one(info, record, form, 201 if is_new else 200)

        def change(current: JsonObject) -> JsonObject:
            shown = view_of(info.resource, current)
            changed = apply_patch(kind, shown, patch, info.resource, self._schemas)
            meta = changed.get("metadata")
            if not isinstance(meta, dict):
                raise BadRequestError("the patch leaves no metadata")
            try:
                obj = self.shape(changed, info, context)
            except WrongTypeError as error:
                raise unfit_patch(kind, patch, changed, error) from error
            self._check_name(obj, info)
            asked = patch.get("metadata", {}) if isinstance(patch, dict) else None
            if isinstance(asked, dict) and not asked.get("resourceVersion"):
                obj["metadata"].pop("resourceVersion", None)  # only a version the patch itself names is a condition
            return obj

        record = await self._writer.update(
            info.resource, context, info.namespace, info.name, change, subresource=info.subresource_name
        )
        return self._one(info, record, form)

    # deletes ----------------------------------------------------------------------------------------------------------

    async def _delete_options(self, request: Request, info: RequestInfo, context: RequestContext) -> DeleteOptions:
        """DeleteOptions from body and query; a dry run asked for in the body is noted in the context."""
        body = await self.read_body(request)
        value = parse_body(body, request.headers.get("content-type", ""), self._schemas) if body.strip() else {}
        options, is_dry = parse_delete_options(value, info.query, self._decoder)
        context.dry_run = context.dry_run or is_dry
        if info.resource is JOBS and not options.propagation_policy:
            context.warnings.append(_PODS_STAY)
        return options

    async def _delete(self, request: Request, info: RequestInfo, context: RequestContext, form: Accepted) -> Response:
        options = await self._delete_options(request, info, context)
        deleted = await self._writer.delete(info.resource, context, info.namespace, info.name, options)
        return self._deleted(info, deleted, form)

    def _deleted(self, info: RequestInfo, deleted: Deleted, form: Accepted) -> Response:
        if deleted.is_gone and not strategy_of(info.resource).returns_deleted:
            return json_response(success_status(info.resource, info.name, uid_of(deleted.record.obj)))
        return self._one(info, deleted.record, form)

    async def _delete_collection(self, request: Request, info: RequestInfo, context: RequestContext) -> Response:
        options = await self._delete_options(request, info, context)
        page = self._reader.list(info)
        gone = []
        for record in page.records:
            try:
                deleted = await self._writer.delete(info.resource, context, record.namespace, record.name, options)
            except ApiError as error:
                if error.code != 404:
                    raise
                continue
            gone.append(deleted.record)
        meta = {"resourceVersion": str(page.resource_version)}
        return self._page(info, Page(gone, page.resource_version), meta)


def check_kind(value: Any, api_version: str, kind: str) -> None:
    """Refuse a body that says it is something else.

    Raises:
        BadRequestError: it does.
    """
    if not isinstance(value, dict):
        raise BadRequestError(
            f'{kind} in version "{api_version}" cannot be handled as a {kind}: json: cannot unmarshal '
            f"{'array' if isinstance(value, list) else 'string' if isinstance(value, str) else 'value'} into Go value "
            "of type map[string]interface {}"
        )
    given_version, given_kind = value.get("apiVersion") or api_version, value.get("kind") or kind
    if not isinstance(given_version, str) or not isinstance(given_kind, str):
        raise BadRequestError("couldn't get version/kind; json parse error: apiVersion and kind must be strings")
    if given_version != api_version:
        raise BadRequestError(
            f"the API version in the data ({given_version}) does not match the expected API version ({api_version})"
        )
    if given_kind != kind:
        raise BadRequestError(
            f'{given_kind} in version "{given_version}" cannot be handled as a {kind}: '
            f"converting (v1.{given_kind}) to (v1.{kind}): unknown conversion"
        )
    meta = value.get("metadata")
    if meta is not None and not isinstance(meta, dict):
        raise BadRequestError(
            f'{kind} in version "{api_version}" cannot be handled as a {kind}: json: cannot unmarshal '
            f"{'string' if isinstance(meta, str) else 'array' if isinstance(meta, list) else 'number'} into Go struct "
            f"field {kind}.metadata of type v1.ObjectMeta"
        )
