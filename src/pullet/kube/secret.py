"""Typed read view of a Secret. Values print as `***`. Source: kubernetes api/core/v1 types.go."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field

import msgspec

from pullet.base.jsonvalue import JsonObject
from pullet.kube.view import ObjectMetaView, View, ViewInvalidError, describe_object, parse_view

TYPE_DOCKER_CONFIG_JSON = "kubernetes.io/dockerconfigjson"
TYPE_DOCKERCFG = "kubernetes.io/dockercfg"


class _RawSecretView(View, frozen=True, kw_only=True):
    metadata: ObjectMetaView
    type: str = "Opaque"
    data: dict[str, str] = msgspec.field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretView:
    """A secret with its values decoded from base64."""

    metadata: ObjectMetaView
    type: str
    data: dict[str, bytes] = field(repr=False)

    @property
    def name(self) -> str:
        """metadata.name."""
        return self.metadata.name

    @property
    def namespace(self) -> str:
        """metadata.namespace."""
        return self.metadata.namespace

    @property
    def uid(self) -> str:
        """metadata.uid."""
        return self.metadata.uid


def parse_secret(obj: JsonObject) -> SecretView:
    """The raw secret as a view.

    Raises:
        ViewInvalidError: a field has the wrong type, or a value is not base64; no value is ever quoted.
    """
    raw = parse_view(obj, _RawSecretView, kind="Secret")
    data: dict[str, bytes] = {}
    for key, value in raw.data.items():
        try:
            data[key] = base64.b64decode(value.replace("\n", "").replace("\r", ""), validate=True)
        except (binascii.Error, ValueError):
            what = describe_object(obj, "Secret")
            raise ViewInvalidError(what=what, field=f"data[{key}]", problem="is not base64") from None
    return SecretView(metadata=raw.metadata, type=raw.type, data=data)
