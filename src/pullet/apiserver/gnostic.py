"""An OpenAPI v2 document in gnostic's protobuf, as client-go insists on reading it. Encode only.

Field numbers: gnostic openapiv2/OpenAPIv2.proto.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pullet.apiserver.records import encode_json
from pullet.apiserver.schemas import Schema
from pullet.kube.scheme import Resource


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _bytes(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _text(number: int, value: str) -> bytes:
    return _bytes(number, value.encode()) if value else b""


def _any(value: Any) -> bytes:
    """Gnostic's Any: the value as YAML, and JSON is YAML."""
    return _text(2, encode_json(value).decode() + "\n")


def _named(name: str, value: bytes) -> bytes:
    return _text(1, name) + _bytes(2, value)


def encode_schema(schema: Schema) -> bytes:
    """Message Schema."""
    out = []
    if "$ref" in schema:
        out.append(_text(1, f"#/definitions/{schema['$ref']}"))
    out += [_text(2, schema.get("format", "")), _text(4, schema.get("description", ""))]
    out += [_text(19, name) for name in schema.get("required", ())]
    out += [_bytes(20, _any(value)) for value in schema.get("enum", ())]
    additional = schema.get("additionalProperties")
    if isinstance(additional, dict):
        out.append(_bytes(21, _bytes(1, encode_schema(additional))))
    if "type" in schema:
        out.append(_bytes(22, _text(1, schema["type"])))
    if "items" in schema:
        out.append(_bytes(23, _bytes(1, encode_schema(schema["items"]))))
    if "properties" in schema:
        properties = [_bytes(1, _named(name, encode_schema(item))) for name, item in schema["properties"].items()]
        out.append(_bytes(25, b"".join(properties)))
    out += [_bytes(31, _named(key, _any(value))) for key, value in schema.items() if key.startswith("x-")]
    return b"".join(out)


def _query_parameter(name: str) -> bytes:
    query = _text(2, "query") + _text(4, name) + _text(6, "string")
    return _bytes(1, _bytes(2, _bytes(3, query)))  # ParametersItem.parameter.non_body_parameter.query


def _operation(row: Resource, verb: str, parameters: Iterable[str]) -> bytes:
    kind = {"group": row.group, "version": row.version, "kind": row.kind}
    out = [_text(5, f"{verb}{row.version}{row.kind}{row.group.partition('.')[0]}")]
    out += [_bytes(8, _query_parameter(name)) for name in parameters]
    response = _bytes(2, _named("200", _bytes(1, _text(1, "OK"))))  # Responses.response_code
    out.append(_bytes(9, response))
    out.append(_bytes(13, _named("x-kubernetes-action", _any(verb))))
    out.append(_bytes(13, _named("x-kubernetes-group-version-kind", _any(kind))))
    return b"".join(out)


def encode_document(*, title: str, version: str, definitions: Mapping[str, Schema], rows: Iterable[Resource]) -> bytes:
    """Message Document: definitions, and for each kind the operations kubectl looks for."""
    info = _text(1, title) + _text(2, version)
    paths = []
    for row in rows:
        parameters = ("dryRun", "fieldManager", "fieldValidation")
        collection = row.path("{namespace}")
        item = _bytes(4, _operation(row, "post", parameters))
        paths.append(_bytes(2, _named(collection, item)))
        if row.is_stored:
            one = _bytes(2, _operation(row, "get", ())) + _bytes(3, _operation(row, "put", parameters))
            one += _bytes(8, _operation(row, "patch", parameters))
            paths.append(_bytes(2, _named(f"{collection}/{{name}}", one)))
    schemas = [_bytes(1, _named(name, encode_schema(schema))) for name, schema in definitions.items()]
    return b"".join((_text(1, "2.0"), _bytes(2, info), _bytes(8, b"".join(paths)), _bytes(9, b"".join(schemas))))
