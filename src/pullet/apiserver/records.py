"""Stored objects as immutable records: the decoded object beside its encoded bytes.

A record's object is never changed in place; whoever wants a change copies first (`mutable_copy`).
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from pullet.base.jsonvalue import JsonObject
from pullet.base.values import Value
from pullet.kube.meta import name_of, namespace_of

T = TypeVar("T")
_encoder = msgspec.json.Encoder()
encode_json = _encoder.encode


def mutable_copy(value: T) -> T:
    """A deep copy of JSON containers; leaves are shared."""
    return _copy(value)  # type: ignore[return-value]  # the same JSON type comes back


def _copy(value: object) -> object:
    if type(value) is dict:
        return {key: _copy(item) if type(item) in _CONTAINERS else item for key, item in value.items()}
    if type(value) is list:
        return [_copy(item) if type(item) in _CONTAINERS else item for item in value]
    return value


_CONTAINERS = (dict, list)


def object_key(namespace: str, name: str) -> str:
    """The key within a kind; sorts as the API lists."""
    return f"{namespace}/{name}" if namespace else name


class Record(Value):
    """One version of one object."""

    key: str
    resource_version: int
    obj: JsonObject
    encoded: bytes

    @classmethod
    def of(cls, obj: JsonObject, resource_version: int) -> Record:
        """A record of `obj`, which is given the version and must not be changed afterwards."""
        obj["metadata"]["resourceVersion"] = str(resource_version)
        key = object_key(namespace_of(obj), name_of(obj))
        return cls(key, resource_version, obj, encode_json(obj))

    @property
    def namespace(self) -> str:
        """metadata.namespace."""
        return self.key.partition("/")[0] if "/" in self.key else ""

    @property
    def name(self) -> str:
        """metadata.name."""
        return name_of(self.obj)

    def at_version(self, resource_version: int) -> Record:
        """The same state told at a later version, as watch events of a delete do."""
        meta = {**self.obj["metadata"], "resourceVersion": str(resource_version)}
        return Record.of({**self.obj, "metadata": meta}, resource_version)

    @classmethod
    def unversioned(cls, obj: JsonObject) -> Record:
        """A record that is not stored, as a dry run answers."""
        return cls(object_key(namespace_of(obj), name_of(obj)), 0, obj, encode_json(obj))
