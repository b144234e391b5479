"""What a client accepts: the object itself, a Table, or its metadata alone.

Source: apiserver pkg/endpoints/handlers/negotiation, response.go.
"""

from __future__ import annotations

from collections.abc import Sequence

from pullet.base.jsonvalue import JsonObject
from pullet.base.values import Value
from pullet.kube.status import NotAcceptableError

_FORMS = ("Table", "PartialObjectMetadata", "PartialObjectMetadataList")
_READABLE = ("application/json", "application/*", "*/*", "application/yaml")


class Accepted(Value):
    """The form to answer in; `kind` empty is the object itself."""

    kind: str = ""
    api_version: str = "meta.k8s.io/v1"


def accepted_form(accept: str) -> Accepted:
    """The first acceptable form of an Accept header.

    Raises:
        NotAcceptableError: none is.
    """
    if not accept.strip():
        return Accepted()
    for choice in accept.split(","):
        media_type, *parameters = (part.strip() for part in choice.split(";"))
        if media_type not in _READABLE:
            continue
        facts = dict(part.split("=", 1) for part in parameters if "=" in part)
        kind = facts.get("as", "")
        if not kind:
            return Accepted()
        if kind in _FORMS and facts.get("g") == "meta.k8s.io" and facts.get("v") in ("v1", "v1beta1"):
            return Accepted(kind, f"meta.k8s.io/{facts['v']}")
    raise NotAcceptableError(
        "only the following media types are accepted: application/json, application/yaml, "
        "application/vnd.kubernetes.protobuf"
    )


def metadata_only(obj: JsonObject, form: Accepted) -> JsonObject:
    """PartialObjectMetadata of an object."""
    return {"kind": "PartialObjectMetadata", "apiVersion": form.api_version, "metadata": obj["metadata"]}


def metadata_list(objects: Sequence[JsonObject], meta: JsonObject, form: Accepted) -> JsonObject:
    """PartialObjectMetadataList of objects."""
    return {
        "kind": "PartialObjectMetadataList",
        "apiVersion": form.api_version,
        "metadata": meta,
        "items": [metadata_only(obj, form) for obj in objects],
    }
