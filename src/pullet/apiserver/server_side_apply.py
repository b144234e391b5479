"""Server-side apply: a manager states the fields it wants; fields it no longer states and nobody else owns go."""

from __future__ import annotations

from pullet.apiserver.patching import PatchType, apply_patch
from pullet.apiserver.reading import Reader
from pullet.apiserver.records import Record
from pullet.apiserver.request_context import RequestContext
from pullet.apiserver.routing import RequestInfo
from pullet.apiserver.schemas import Schemas
from pullet.apiserver.writing import Writer
from pullet.base.jsonvalue import JsonObject
from pullet.kube.status import BadRequestError, NotFoundError


class Applier:
    """Applies configurations."""

    def __init__(self, *, reader: Reader, writer: Writer, schemas: Schemas) -> None:
        self._reader = reader
        self._writer = writer
        self._schemas = schemas

    async def apply(self, info: RequestInfo, context: RequestContext, config: JsonObject) -> tuple[Record, bool]:
        """The object with the configuration applied, and whether it is new."""
        if not context.field_manager:
            raise BadRequestError(
                'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch'
            )
        try:
            self._reader.get(info.resource, info.namespace, info.name)
        except NotFoundError:
            config.setdefault("metadata", {})["name"] = info.name
            if info.resource.namespaced:
                config["metadata"]["namespace"] = info.namespace
            return await self._writer.create(info.resource, context, config), True

        def change(current: JsonObject) -> JsonObject:
            return apply_patch(PatchType.APPLY, current, config, info.resource, self._schemas)

        record = await self._writer.update(
            info.resource, context, info.namespace, info.name, change, subresource=info.subresource_name
        )
        return record, False
