"""Pod templates: when two are the same, and a short stable name for one. Pure.

Source: kubernetes pkg/controller/deployment/util/deployment_util.go (EqualIgnoreHash), pkg/util/hash.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pullet.base.jsonvalue import JsonValue, canonical_json
from pullet.kube.meta import NAME_SUFFIX_ALPHABET

TEMPLATE_HASH_LABEL = "pod-template-hash"
_FNV_OFFSET, _FNV_PRIME = 0x811C9DC5, 0x01000193


def same_template(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether pods made from the two are alike; the hash label, nulls and empty members do not count."""
    return bool(_bare(_without_hash(one)) == _bare(_without_hash(other)))


def template_hash(template: Mapping[str, Any], collision_count: int = 0) -> str:
    """A name suffix of up to ten characters, equal for equal templates; `collision_count` makes another one."""
    text = canonical_json(_bare(_without_hash(template)))
    if collision_count:
        text += b"#%d" % collision_count
    value = _FNV_OFFSET
    for byte in text:
        value = ((value ^ byte) * _FNV_PRIME) & 0xFFFFFFFF
    return safe_suffix(str(value))


def safe_suffix(text: str) -> str:
    """The text in the alphabet of generated names: no vowels, so no words."""
    return "".join(NAME_SUFFIX_ALPHABET[ord(character) % len(NAME_SUFFIX_ALPHABET)] for character in text)


def _without_hash(template: Mapping[str, Any]) -> Mapping[str, Any]:
    meta = template.get("metadata") or {}
    labels = {key: value for key, value in (meta.get("labels") or {}).items() if key != TEMPLATE_HASH_LABEL}
    return {**template, "metadata": {**meta, "labels": labels}}


def _bare(value: Any) -> JsonValue:
    match value:
        case Mapping():
            members = {key: _bare(member) for key, member in value.items()}
            return {key: member for key, member in members.items() if member is not None and member not in ({}, [])}
        case list() | tuple():
            return [_bare(member) for member in value]
        case _:
            return value  # type: ignore[no-any-return]  # JSON in, JSON out
