"""Custom resources between client and store: decoded by their structural schema, shown in the version asked for.

Versions differ in apiVersion alone. Each is pruned and defaulted by its own schema, also when it is read: what was
stored under another version, or before the definition changed, shows as the definition now says.
Source: apiextensions-apiserver pkg/apiserver/customresource_handler.go, pkg/apiserver/conversion.
"""

from __future__ import annotations

from typing import Any

from pullet.apiserver.decoding import Decoded, SchemaDecoder
from pullet.base.jsonvalue import JsonObject
from pullet.kube.field_error import FieldError, invalid
from pullet.kube.meta import name_of
from pullet.kube.scheme import Resource
from pullet.kube.status import BadRequestError, InvalidError
from pullet.kube.structural import at_embedded, prune, with_defaults
from pullet.policy.schema_validation import validate_object


def decode_custom(value: Any, resource: Resource, decoder: SchemaDecoder) -> Decoded:
    """A body as an object of the row's version: metadata checked, what its schema does not know left out.

    Raises:
        BadRequestError: no object, one of another version, or metadata of the wrong type. InvalidError: another kind.
    """
    if resource.custom is None or not isinstance(value, dict):
        raise BadRequestError("the object provided is unrecognized (must be of type Object): couldn't get version/kind")
    _check_kind(value, resource)
    obj, unknown = prune(value, resource.custom.schema)
    meta = decoder.decode_metadata(obj.get("metadata"), resource.kind, resource.version)
    unknown += meta.unknown_fields
    names = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": meta.obj}
    made: JsonObject = {**names, **{name: item for name, item in obj.items() if name not in names}}

    def with_own_metadata(inner: JsonObject, path: str) -> JsonObject:
        if "metadata" not in inner:
            return inner
        kind = str(inner.get("kind") or "")
        own = decoder.decode_metadata(inner["metadata"], kind, str(inner.get("apiVersion") or ""))
        unknown.extend(f"{path}.{each}" for each in own.unknown_fields)
        return {**inner, "metadata": own.obj}

    return Decoded(at_embedded(made, resource.custom.schema, with_own_metadata), unknown)


def _check_kind(value: JsonObject, resource: Resource) -> None:
    version, kind = value.get("apiVersion") or resource.api_version, value.get("kind") or resource.kind
    if not isinstance(version, str) or not isinstance(kind, str):
        raise BadRequestError("couldn't get version/kind; json parse error: apiVersion and kind must be strings")
    if version != resource.api_version:
        expected = f"the expected API version ({resource.api_version})"
        raise BadRequestError(f"the API version in the data ({version}) does not match {expected}")
    if kind != resource.kind:
        errors = [invalid("kind", kind, f"must be {resource.kind}")]
        raise InvalidError.on(resource.group, kind, name_of(value), errors)


def decode_object(value: Any, resource: Resource, decoder: SchemaDecoder) -> Decoded:
    """A body as an object of the row's kind, whoever defined it.

    Raises:
        BadRequestError: a field of the wrong type.
    """
    if resource.custom:
        return decode_custom(value, resource, decoder)
    return decoder.decode(value, resource.group, resource.version, resource.kind)


def show_custom(resource: Resource, obj: JsonObject) -> JsonObject:
    """The stored object as the row's version shows it; itself, if that is how it is stored."""
    assert resource.custom is not None
    shown = with_defaults(prune(obj, resource.custom.schema)[0], resource.custom.schema)
    if shown.get("apiVersion") != resource.api_version or shown.get("kind") != resource.kind:
        shown = {**shown, "apiVersion": resource.api_version, "kind": resource.kind}
    return shown


def default_custom(resource: Resource, obj: JsonObject) -> None:
    """Fill in the defaults of the row's version, in place."""
    assert resource.custom is not None
    filled = with_defaults(obj, resource.custom.schema)
    if filled is not obj:
        obj.clear()
        obj.update(filled)


def validate_custom(resource: Resource, new: JsonObject, old: JsonObject | None) -> list[FieldError]:
    """What the row's version says is wrong with an object; what an update leaves alone is left alone."""
    assert resource.custom is not None
    return validate_object(new, resource.custom.schema, old)
