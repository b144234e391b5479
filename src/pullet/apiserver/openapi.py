"""OpenAPI for kubectl: v3 documents per group and version, v2 as protobuf for older ones. Built when first asked for;
what tells of custom kinds is built again when they change.

The paths are made by `openapi_paths`; kubectl needs of them which operations take which kind and know `dryRun` and
`fieldValidation`. References with siblings are wrapped in `allOf` in v3, or kubectl loses the description.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

from pullet.apiserver.custom_schemas import definition_name, definitions_of
from pullet.apiserver.gnostic import encode_document
from pullet.apiserver.openapi_paths import paths_of
from pullet.apiserver.records import encode_json
from pullet.apiserver.schemas import Schema, Schemas
from pullet.apiserver.served_resources import ServedResources
from pullet.base.jsonvalue import JsonObject
from pullet.kube.scheme import Resource

V2_CONTENT_TYPE = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
_QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"


class OpenApi:
    """The documents, encoded once each."""

    def __init__(self, schemas: Schemas, served: ServedResources, git_version: str) -> None:
        self._schemas = schemas
        self._served = served
        self._git_version = git_version
        self._fixed: dict[str, bytes] = {}  # documents of built-in kinds alone
        self._changing: dict[str, bytes] = {}  # the others, good for one state of what is served
        self._custom: dict[str, Schema] = {}  # the definitions of custom kinds in that state
        self._state: object = None

    def _current(self) -> dict[str, bytes]:
        """The documents that change with what is served."""
        if self._state is not self._served.state:
            self._state = self._served.state
            self._changing.clear()
            self._custom = definitions_of(self._served.custom(), is_v2=False)
        return self._changing

    def index(self) -> bytes:
        """/openapi/v3: where the documents are; a hash in the URL lets clients keep them."""
        encoded = self._current()
        found = encoded.get("index")
        if found is None:
            paths = {}
            for group, versions in self._served.group_versions().items():
                for version in versions:
                    path = f"apis/{group}/{version}" if group else f"api/{version}"
                    digest = hashlib.sha512(self.v3(path) or b"").hexdigest().upper()
                    paths[path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={digest}"}
            found = encoded["index"] = encode_json({"paths": paths})
        return found

    def v3(self, path: str) -> bytes | None:
        """/openapi/v3/PATH, or None if nothing is served there."""
        rows = [row for row in self._served.rows() if row.root_path == f"/{path}"]
        if not rows:
            return None
        changing = self._current()
        encoded = changing if any(row.custom for row in rows) else self._fixed
        found = encoded.get(path)
        if found is None:
            found = encoded[path] = encode_json(self._v3_document(rows))
        return found

    def v2(self) -> bytes:
        """/openapi/v2 as the protobuf that client-go decodes."""
        encoded = self._current()
        found = encoded.get("v2")
        if found is None:
            found = encoded["v2"] = encode_document(
                title="Kubernetes",
                version=self._git_version,
                definitions=self._v2_definitions(),
                rows=self._served.rows(),
            )
        return found

    def v2_json(self) -> bytes:
        """/openapi/v2 as JSON, for those who ask for it by hand."""
        encoded = self._current()
        found = encoded.get("v2.json")
        if found is None:
            definitions = {name: _with_pointers(schema) for name, schema in self._v2_definitions().items()}
            document = {
                "swagger": "2.0",
                "info": {"title": "Kubernetes", "version": self._git_version},
                "paths": {},
                "definitions": definitions,
            }
            found = encoded["v2.json"] = encode_json(document)
        return found

    def _v2_definitions(self) -> dict[str, Schema]:
        return self._schemas.definitions | definitions_of(self._served.custom(), is_v2=True)

    def _name_of(self, group: str, version: str, kind: str) -> str | None:
        found = self._schemas.name_of(group, version, kind)
        if found is not None:
            return found
        rows = (row for row in self._served.custom() if (row.group, row.version) == (group, version))
        return next((definition_name(row, kind) for row in rows if kind in (row.kind, row.list_kind)), None)

    def _v3_document(self, rows: list[Resource]) -> JsonObject:
        paths: JsonObject = {}
        roots = [f"io.k8s.apimachinery.pkg.apis.meta.v1.{name}" for name in ("DeleteOptions", "Patch", "Status")]
        for row in rows:
            for kind in (row.kind, row.list_kind):
                name = self._name_of(row.group, row.version, kind)
                if name:
                    roots.append(name)
            roots += [
                name
                for sub in row.subresources
                if (name := self._name_of(sub.group or row.group, sub.version or row.version, sub.kind))
            ]
            paths |= paths_of(row, self._name_of)
        schemas = {name: self._v3_schema(schema) for name, schema in sorted(self._closure(roots).items())}
        return {
            "openapi": "3.0.0",
            "info": {"title": "Kubernetes", "version": self._git_version},
            "paths": paths,
            "components": {"schemas": schemas},
        }

    def _closure(self, roots: list[str]) -> dict[str, Schema]:
        found: dict[str, Schema] = {}
        known = self._schemas.definitions | self._custom
        waiting = list(roots)
        while waiting:
            name = waiting.pop()
            if name not in found and name in known:
                found[name] = known[name]
                waiting += re.findall(r'"\$ref":"([^"]+)"', encode_json(found[name]).decode())
        return found

    def _v3_schema(self, schema: Schema) -> Schema:
        result: Schema = {}
        for key, value in schema.items():
            match key:
                case "properties":
                    result[key] = {name: self._v3_schema(item) for name, item in value.items()}
                case "items" | "additionalProperties" if isinstance(value, dict):
                    result[key] = self._v3_schema(value)
                case _:
                    result[key] = value
        if result.get("format") == "int-or-string":
            result = {**result, "oneOf": [{"type": "integer"}, {"type": "string"}]}
            result.pop("type", None)
        reference = result.pop("$ref", None)
        if reference is not None:
            pointer = {"$ref": f"#/components/schemas/{reference}"}
            return {"allOf": [pointer], **result} if result else pointer
        return result


def _with_pointers(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: f"#/definitions/{item}" if key == "$ref" and isinstance(item, str) else _with_pointers(item)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_with_pointers(item) for item in value]
    return value
