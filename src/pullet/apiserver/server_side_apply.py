"""Server-side apply over HTTP: check the configuration, merge it by ownership, store the result."""

from __future__ import annotations

from pullet.apiserver.custom_objects import decode_object
from pullet.apiserver.decoding import SchemaDecoder
from pullet.apiserver.managed_fields import FieldOwnership
from pullet.apiserver.records import Record
from pullet.apiserver.request_context import RequestContext
from pullet.apiserver.routing import RequestInfo
from pullet.apiserver.schemas import Schemas
from pullet.apiserver.storage import Storage
from pullet.apiserver.writing import Writer
from pullet.base.jsonvalue import JsonObject
from pullet.kit.clock import Clock
from pullet.kube.field_error import FieldError, required
from pullet.kube.status import AlreadyExistsError, BadRequestError, InvalidError, NotFoundError

_TRIES = 5


class Applier:
    """Applies configurations."""

    def __init__(
        self, *, storage: Storage, writer: Writer, ownership: FieldOwnership, schemas: Schemas, clock: Clock
    ) -> None:
        self._storage = storage
        self._writer = writer
        self._ownership = ownership
        self._decoder = SchemaDecoder(schemas)
        self._clock = clock

    async def apply(self, info: RequestInfo, context: RequestContext, patch: JsonObject) -> tuple[Record, bool]:
        """The object with the configuration applied, and whether it is new.

        Raises:
            BadRequestError, InvalidError: what is no configuration. ConflictError: fields of other managers.
        """
        if not context.field_manager:
            raise _options_error(required("fieldManager", "is required for apply patch"))
        config = self._checked(info, context, patch)
        for _ in range(_TRIES):
            if self._storage.get(info.resource.storage_key, info.namespace, info.name) is not None:
                return await self._update(info, context, config), False
            if info.subresource is not None:
                raise NotFoundError.on(info.resource, info.name)
            try:
                return await self._create(info, context, config), True
            except AlreadyExistsError:
                continue  # somebody was quicker: apply to theirs
        raise AlreadyExistsError.on(info.resource, info.name)

    def _checked(self, info: RequestInfo, context: RequestContext, patch: JsonObject) -> JsonObject:
        """The configuration, decoded and named."""
        resource = info.resource
        version, kind = patch.get("apiVersion"), patch.get("kind")
        if (version, kind) != (resource.api_version, resource.kind):
            group = "" if "/" in str(version) else "/"
            raise BadRequestError(f"invalid object type: {group}{version}, Kind={kind}")
        decoded = decode_object(patch, resource, self._decoder)
        context.warnings += decoded.enforce(
            info.query.get("fieldValidation") or "Warn", resource.kind, resource.version
        )
        config = decoded.obj
        meta = config.setdefault("metadata", {})
        if "managedFields" in meta:
            raise BadRequestError("metadata.managedFields must be nil")
        if meta.setdefault("name", info.name) != info.name:
            raise BadRequestError(
                f"the name of the object ({meta['name']}) does not match the name on the URL ({info.name})"
            )
        if resource.namespaced and meta.setdefault("namespace", info.namespace) != info.namespace:
            raise BadRequestError(
                f"the namespace of the object ({meta['namespace']}) does not match the namespace on the request "
                f"({info.namespace})"
            )
        return config

    async def _create(self, info: RequestInfo, context: RequestContext, config: JsonObject) -> Record:
        names = {key: config["metadata"][key] for key in ("name", "namespace") if key in config["metadata"]}
        nothing = {"apiVersion": config["apiVersion"], "kind": config["kind"], "metadata": names}
        obj = self._merged(info, context, nothing, config)
        return await self._writer.create(info.resource, context, obj, is_applied=True)

    async def _update(self, info: RequestInfo, context: RequestContext, config: JsonObject) -> Record:
        def change(current: JsonObject) -> JsonObject:
            merged = self._merged(info, context, current, config)
            asked = config["metadata"].get("resourceVersion")
            if asked:
                merged["metadata"]["resourceVersion"] = asked
            return merged

        return await self._writer.update(
            info.resource,
            context,
            info.namespace,
            info.name,
            change,
            subresource=info.subresource_name,
            is_applied=True,
        )

    def _merged(self, info: RequestInfo, context: RequestContext, live: JsonObject, config: JsonObject) -> JsonObject:
        return self._ownership.apply(
            info.resource,
            context,
            live,
            config,
            subresource=info.subresource_name,
            now=self._clock.now(),
            force=info.query.flag("force"),
        )


def _options_error(error: FieldError) -> InvalidError:
    return InvalidError.on("meta.k8s.io", "PatchOptions", "", [error])
