"""managedFields of stored objects: `kube.ownership` with the schemas of the kinds served."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pullet.apiserver.request_context import RequestContext
from pullet.apiserver.schemas import OBJECT_META, Schema, Schemas
from pullet.base.jsonvalue import JsonObject
from pullet.kube.field_sets import DuplicateItemError, FieldWalker
from pullet.kube.meta import format_time
from pullet.kube.ownership import ApplyConflictError, Writer, apply_configuration, track_update
from pullet.kube.scheme import Resource
from pullet.kube.status import BadRequestError, ConflictError


class FieldOwnership:
    """Tells the managedFields of what is written."""

    def __init__(self, schemas: Schemas) -> None:
        self._schemas = schemas
        self._walker = FieldWalker(lambda schema: schemas.resolve(dict(schema)))

    def track(
        self,
        resource: Resource,
        context: RequestContext,
        old: JsonObject | None,
        new: JsonObject,
        *,
        subresource: str,
        now: datetime,
    ) -> None:
        """Set `new`'s managedFields after an update; `old` is None for a create."""
        writer = _writer(resource, context, subresource, now)
        track_update(old, new, writer, self._schema(resource), self._walker)

    def apply(
        self,
        resource: Resource,
        context: RequestContext,
        live: JsonObject,
        config: JsonObject,
        *,
        subresource: str,
        now: datetime,
        force: bool,
    ) -> JsonObject:
        """`live` with the configuration applied.

        Raises:
            ConflictError: other managers own what would change. BadRequestError: an item of a list given twice.
        """
        writer = _writer(resource, context, subresource, now)
        try:
            return apply_configuration(live, config, writer, self._schema(resource), self._walker, force=force)
        except ApplyConflictError as error:
            causes = [
                {"reason": "FieldManagerConflict", "message": f"conflict with {manager}", "field": field}
                for manager, field in error.facts
            ]
            raise ConflictError.fields(str(error), causes) from error
        except DuplicateItemError as error:
            meta, kind = config.get("metadata") or {}, f"{resource.group_version}, Kind={resource.kind}"
            name = f"{meta.get('namespace') or ''}/{meta.get('name') or ''}"
            raise BadRequestError(f"failed to create typed patch object ({name}; {kind}): {error}") from error

    def _schema(self, resource: Resource) -> Schema:
        if resource.custom:
            return self._with_metadata(resource.custom.schema)
        return self._schemas.of_kind(resource.group, resource.version, resource.kind) or {}

    @staticmethod
    def _with_metadata(schema: Mapping[str, Any]) -> Schema:
        return {**schema, "properties": {**(schema.get("properties") or {}), "metadata": {"$ref": OBJECT_META}}}


def _writer(resource: Resource, context: RequestContext, subresource: str, now: datetime) -> Writer:
    return Writer(
        context.manager_name,
        resource.api_version,
        subresource,
        format_time(now),
        has_status=resource.has_status or not resource.custom,
        has_structs=not resource.custom,
    )
