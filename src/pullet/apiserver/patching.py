"""PATCH: content type → kind of patch → the change it makes.

Source: apiserver pkg/endpoints/handlers/patch.go.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pullet.apiserver.decoding import WrongTypeError, parse_json, parse_yaml
from pullet.apiserver.records import encode_json
from pullet.apiserver.schemas import Schemas
from pullet.base.jsonvalue import JsonObject
from pullet.kube.field_error import invalid
from pullet.kube.patch import PatchError, json_patch, merge_patch
from pullet.kube.scheme import Resource
from pullet.kube.status import BadRequestError, InvalidError, UnsupportedMediaTypeError
from pullet.kube.strategic_merge import strategic_merge


class PatchType(StrEnum):
    """The kinds of patch, by content type."""

    JSON = "application/json-patch+json"
    MERGE = "application/merge-patch+json"
    STRATEGIC = "application/strategic-merge-patch+json"
    APPLY = "application/apply-patch+yaml"


def patch_type_of(content_type: str) -> PatchType:
    """The kind of patch a body is.

    Raises:
        UnsupportedMediaTypeError: none of them.
    """
    try:
        return PatchType(content_type.partition(";")[0].strip().lower())
    except ValueError as error:
        raise UnsupportedMediaTypeError.accepting(*PatchType) from error


def parse_patch(kind: PatchType, body: bytes) -> Any:
    """The decoded patch.

    Raises:
        BadRequestError: not JSON (for an apply: not YAML), or of the wrong shape.
    """
    value = parse_yaml(body) if kind is PatchType.APPLY else parse_json(body)
    if kind is PatchType.JSON:
        if not isinstance(value, list):
            raise BadRequestError(
                "error decoding patch: json: cannot unmarshal object into Go value of type jsonpatch.Patch"
            )
        if len(value) > 10_000:
            raise BadRequestError(f"The allowed maximum operations in a JSON patch is 10000, got {len(value)}")
    elif not isinstance(value, dict):
        raise BadRequestError("error decoding patch: the patch must be an object")
    return value


def unfit_patch(kind: PatchType, patch: Any, changed: JsonObject, error: WrongTypeError) -> InvalidError:
    """The error of a patch that leaves a value of the wrong type."""
    is_strategic = kind is PatchType.STRATEGIC
    shown = go_text(patch) if is_strategic else encode_json(changed).decode()
    why = error.mismatch.converted if is_strategic else str(error.mismatch)
    return InvalidError.on("", "", "", [invalid("patch", shown, why)])


def go_text(value: Any) -> str:
    """The value as Go prints it with %v: `map[spec:map[replicas:x]]`."""
    match value:
        case None:
            return "<nil>"
        case bool():
            return "true" if value else "false"
        case dict():
            return f"map[{' '.join(f'{key}:{go_text(item)}' for key, item in sorted(value.items()))}]"
        case list():
            return f"[{' '.join(go_text(item) for item in value)}]"
        case _:
            return str(value)


def apply_patch(kind: PatchType, current: JsonObject, patch: Any, resource: Resource, schemas: Schemas) -> JsonObject:
    """`current` with the patch applied.

    Raises:
        InvalidError: a JSON patch that does not apply. BadRequestError: a strategic patch that cannot be merged.
    """
    result: Any
    match kind:
        case PatchType.JSON:
            try:
                result = json_patch(current, patch)
            except PatchError as error:
                raise InvalidError("the server rejected our request due to an error in our request") from error
        case PatchType.MERGE:
            result = merge_patch(current, patch)
        case PatchType.STRATEGIC | PatchType.APPLY:
            schema = schemas.of_kind(resource.group, resource.version, resource.kind) or {}
            try:
                result = strategic_merge(current, patch, schema, lambda each: schemas.resolve(dict(each)))
            except PatchError as error:
                raise BadRequestError(str(error)) from error
    if not isinstance(result, dict):
        raise BadRequestError("the patch leaves no object")
    return result
