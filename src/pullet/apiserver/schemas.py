"""The schemas of the kinds served and their protobuf field numbers, read from the built data file.

`data/schemas.json.zst` is made by scripts/build_openapi.py. Definitions refer to each other by bare names; how a
document spells references is the business of `openapi`.
"""

from __future__ import annotations

from functools import cached_property
from importlib import resources
from typing import Any, TypeAlias

import msgspec
import zstandard

from pullet.base.decodable import decodable
from pullet.base.jsonvalue import JsonObject

Schema: TypeAlias = dict[str, Any]
GroupVersionKind: TypeAlias = tuple[str, str, str]
OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"


class ProtoField(msgspec.Struct, frozen=True, array_like=True):
    """One field of a protobuf message."""

    number: int
    name: str
    type: str  # double, int, bool, string, message, bytes
    repeated: int
    message: str


class _Document(msgspec.Struct):
    version: str
    definitions: dict[str, Schema]
    messages: dict[str, list[ProtoField]]


class Schemas:
    """All definitions, looked up by name or by group, version and kind."""

    def __init__(self, document: _Document) -> None:
        self.version = document.version
        self.definitions = document.definitions
        self._messages = document.messages
        self._names: dict[GroupVersionKind, str] = {}
        for name, schema in document.definitions.items():
            for kind in schema.get("x-kubernetes-group-version-kind", ()):
                self._names[kind["group"], kind["version"], kind["kind"]] = name

    @classmethod
    def load(cls) -> Schemas:
        """Read the data file. Blocking."""
        data = resources.files("pullet.apiserver").joinpath("data/schemas.json.zst").read_bytes()
        text = zstandard.ZstdDecompressor().decompress(data)
        return cls(msgspec.json.decode(text, type=decodable(_Document)))

    @cached_property
    def messages(self) -> dict[str, dict[int, ProtoField]]:
        """Protobuf messages by full name, their fields by number."""
        return {name: {field.number: field for field in fields} for name, fields in self._messages.items()}

    def name_of(self, group: str, version: str, kind: str) -> str | None:
        """The definition's name of a kind."""
        return self._names.get((group, version, kind))

    def of_kind(self, group: str, version: str, kind: str) -> Schema | None:
        """The definition of a kind."""
        name = self.name_of(group, version, kind)
        return self.definitions[name] if name else None

    def resolve(self, schema: Schema) -> Schema:
        """The definition a `$ref` leads to, or the schema itself."""
        reference = schema.get("$ref")
        return self.definitions[reference] if reference else schema

    def group_version_kinds(self, name: str) -> list[JsonObject]:
        """The kinds a definition describes."""
        found: list[JsonObject] = self.definitions[name].get("x-kubernetes-group-version-kind", [])
        return found
