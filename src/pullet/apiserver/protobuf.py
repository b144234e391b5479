r"""Kubernetes protobuf bodies → JSON values: decode only, driven by the table of field numbers.

A body is `k8s\0` and a runtime.Unknown that holds apiVersion, kind and the raw message. What JSON spells differently
(times, quantities, maps, inlined structs) is turned here; zero values are left to `decoding` to drop.
Source: apimachinery pkg/runtime/serializer/protobuf, the generated.proto files.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from pullet.apiserver.schemas import ProtoField, Schemas
from pullet.base.jsonvalue import JsonObject
from pullet.kube.meta import format_micro_time, format_time

PREFIX = b"k8s\x00"
MAX_DEPTH = 60
_META = "k8s.io.apimachinery.pkg.apis.meta.v1."
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ProtobufError(ValueError):
    """The bytes are not the message they should be."""


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ProtobufError("number cut off or too long")
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        match key & 7:
            case 0:
                number, at = _varint(data, at)
                yield key >> 3, number
                continue
            case 1:
                size = 8
            case 2:
                size, at = _varint(data, at)
            case 5:
                size = 4
            case wire:
                raise ProtobufError(f"wire type {wire} of field {key >> 3}")
        if at + size > len(data):
            raise ProtobufError(f"field {key >> 3} is cut off")
        yield key >> 3, data[at : at + size]
        at += size


def decode_unknown(data: bytes, schemas: Schemas) -> JsonObject:
    """The object in an enveloped body, with its apiVersion and kind.

    Raises:
        ProtobufError: not an envelope, an unknown kind, or broken inside.
    """
    if data[:4] != PREFIX:
        raise ProtobufError("the body does not begin with the k8s prefix")
    api_version = kind = ""
    raw = b""
    for number, value in _fields(data[4:]):
        if number == 1 and isinstance(value, bytes):
            named = dict(_fields(value))
            api_version, kind = _text(named.get(1, b"")), _text(named.get(2, b""))
        elif number == 2 and isinstance(value, bytes):
            raw = value
    group, _, version = api_version.rpartition("/")
    message = _message_name(group, version, kind, schemas)
    obj = _Decoder(schemas).message(raw, message, 0)
    obj["apiVersion"], obj["kind"] = api_version, kind
    return obj


def _message_name(group: str, version: str, kind: str, schemas: Schemas) -> str:
    if kind in ("DeleteOptions", "Status"):
        return _META + kind
    name = f"k8s.io.api.{(group or 'core').split('.')[0]}.{version}.{kind}"
    if name not in schemas.messages:
        raise ProtobufError(
            f'no kind "{kind}" is registered for version "{group or ""}{"/" if group else ""}{version}"'
        )
    return name


def _text(value: int | bytes) -> str:
    if isinstance(value, int):
        raise ProtobufError("a number where text should be")
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise ProtobufError("text that is not UTF-8") from error


class _Decoder:
    def __init__(self, schemas: Schemas) -> None:
        self._schemas = schemas

    def message(self, data: bytes, name: str, depth: int) -> JsonObject:
        """A message as a JSON object."""
        if depth > MAX_DEPTH:
            raise ProtobufError("nested too deep")
        table = self._schemas.messages[name]
        properties = self._properties(name)
        result: JsonObject = {}
        for number, value in _fields(data):
            field = table.get(number)
            if field is None:
                continue  # newer than the table, as Go skips what it does not know
            if field.message.endswith("Entry"):
                key, item = self._entry(value, field, depth)
                result.setdefault(field.name, {})[key] = item
                continue
            item = self._value(value, field, depth)
            if properties and field.type == "message" and field.name not in properties and isinstance(item, dict):
                result |= item  # a struct that JSON inlines
            elif field.repeated:
                result.setdefault(field.name, []).append(item)
            else:
                result[field.name] = item
        return result

    def _properties(self, name: str) -> JsonObject:
        """The fields as JSON has them; none of a struct that is inlined itself, which has no definition."""
        definition = self._schemas.definitions.get(name.replace("k8s.io.", "io.k8s.", 1), {})
        found: JsonObject = definition.get("properties", {})
        return found

    def _entry(self, value: int | bytes, field: ProtoField, depth: int) -> tuple[str, Any]:
        if isinstance(value, int):
            raise ProtobufError(f"a number where map {field.name} should be")
        table = self._schemas.messages[field.message]
        key: Any = ""
        item: Any = None
        for number, part in _fields(value):
            if number == 1:
                key = _text(part)
            elif number == 2:
                item = self._value(part, table[2], depth + 1)
        if item is None:
            item = {} if table[2].type == "message" else ""
        return key, item

    def _value(self, value: int | bytes, field: ProtoField, depth: int) -> Any:
        match field.type:
            case "int" if isinstance(value, int):
                return value - (1 << 64) if value >= 1 << 63 else value
            case "bool" if isinstance(value, int):
                return bool(value)
            case "double" if isinstance(value, bytes) and len(value) == 8:
                return struct.unpack("<d", value)[0]
            case "string":
                return _text(value)
            case "bytes" if isinstance(value, bytes):
                return base64.b64encode(value).decode()
            case "message" if isinstance(value, bytes):
                return self._special(value, field.message, depth)
            case _:
                raise ProtobufError(f"field {field.name} is of the wrong wire type")

    def _special(self, data: bytes, name: str, depth: int) -> Any:
        """Messages that JSON spells in a way of its own."""
        match name.rpartition(".")[2]:
            case "Time" | "MicroTime" | "Timestamp" as kind if name.startswith(_META):
                facts = dict(_fields(data))
                return _time(facts.get(1, 0), facts.get(2, 0), kind) if facts else None  # empty: Go's zero time
            case "Quantity":
                return _text(dict(_fields(data)).get(1, b"0"))
            case "IntOrString":
                facts = dict(_fields(data))
                if facts.get(1):
                    return _text(facts.get(3, b""))
                number = facts.get(2, 0)
                return number - (1 << 64) if isinstance(number, int) and number >= 1 << 63 else number
            case "FieldsV1" | "RawExtension":
                raw = dict(_fields(data)).get(1, b"{}")
                try:
                    return msgspec.json.decode(raw) if isinstance(raw, bytes) else {}
                except (msgspec.DecodeError, RecursionError) as error:
                    raise ProtobufError(f"{name}: not JSON inside") from error
            case _:
                return self.message(data, name, depth + 1)


def _time(seconds: int | bytes, nanos: int | bytes, kind: str) -> str | None:
    if not isinstance(seconds, int) or not isinstance(nanos, int):
        raise ProtobufError("a time that is no number")
    if seconds >= 1 << 63:
        return None  # Go's zero time
    try:
        moment = _EPOCH + timedelta(seconds=seconds, microseconds=nanos // 1000)
    except OverflowError as error:
        raise ProtobufError("a time out of range") from error
    return format_micro_time(moment) if kind == "MicroTime" else format_time(moment)
