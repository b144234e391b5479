"""ObjectMeta as it stands in raw objects: names, timestamps, owners, keys. Reads and builds plain dicts.

Source: apimachinery pkg/apis/meta/v1, pkg/util/validation (names).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pullet.base.jsonvalue import JsonObject

NAME_SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"  # no vowels, so that no words appear
GENERATED_NAME_PREFIX_LIMIT = 58

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_DNS_LABEL = re.compile(_LABEL)
_DNS_1035_LABEL = re.compile("[a-z]([-a-z0-9]*[a-z0-9])?")
_PORT_NAME = re.compile(r"[-a-z0-9]+")
_DNS_SUBDOMAIN = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_QUALIFIED_NAME = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")

DNS_LABEL_TEXT = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end "
    "with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
DNS_1035_LABEL_TEXT = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    "'[a-z]([-a-z0-9]*[a-z0-9])?')"
)
DNS_SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
    "and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
QUALIFIED_NAME_TEXT = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    "alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
LABEL_VALUE_TEXT = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start "
    "and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation "
    "is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)


def metadata(obj: Mapping[str, Any]) -> Mapping[str, Any]:
    """The object's metadata, empty if absent."""
    found = obj.get("metadata")
    return found if isinstance(found, Mapping) else {}


def name_of(obj: Mapping[str, Any]) -> str:
    """metadata.name, empty if absent."""
    return str(metadata(obj).get("name") or "")


def namespace_of(obj: Mapping[str, Any]) -> str:
    """metadata.namespace, empty for cluster-scoped objects."""
    return str(metadata(obj).get("namespace") or "")


def uid_of(obj: Mapping[str, Any]) -> str:
    """metadata.uid, empty if absent."""
    return str(metadata(obj).get("uid") or "")


def labels_of(obj: Mapping[str, Any]) -> Mapping[str, str]:
    """metadata.labels, empty if absent."""
    return metadata(obj).get("labels") or {}


def annotations_of(obj: Mapping[str, Any]) -> Mapping[str, str]:
    """metadata.annotations, empty if absent."""
    return metadata(obj).get("annotations") or {}


def resource_version_of(obj: Mapping[str, Any]) -> str:
    """metadata.resourceVersion, empty if absent."""
    return str(metadata(obj).get("resourceVersion") or "")


def is_deleting(obj: Mapping[str, Any]) -> bool:
    """Whether deletion was asked for."""
    return bool(metadata(obj).get("deletionTimestamp"))


def format_time(moment: datetime) -> str:
    """metav1.Time: UTC, whole seconds, `Z`."""
    return moment.astimezone(UTC).isoformat(timespec="seconds").removesuffix("+00:00") + "Z"


def format_micro_time(moment: datetime) -> str:
    """metav1.MicroTime: UTC, six decimals, `Z`."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def parse_time(text: str | None) -> datetime | None:
    """An RFC 3339 time, or None for an empty or unreadable one."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def controller_of(obj: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The owner reference marked as controller."""
    owners: Sequence[Mapping[str, Any]] = metadata(obj).get("ownerReferences") or ()
    return next((owner for owner in owners if owner.get("controller")), None)


def owner_reference(owner: Mapping[str, Any], *, controller: bool = True) -> JsonObject:
    """A reference that makes `owner` the owner (and controller) of another object."""
    reference: JsonObject = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": name_of(owner),
        "uid": uid_of(owner),
    }
    if controller:
        reference |= {"controller": True, "blockOwnerDeletion": True}
    return reference


def object_reference(obj: Mapping[str, Any], *, field_path: str = "") -> JsonObject:
    """A core/v1 ObjectReference to the object, as events hold it."""
    meta = metadata(obj)
    reference: JsonObject = {"kind": obj.get("kind", ""), "namespace": meta.get("namespace", "")}
    reference |= {"name": meta.get("name", ""), "uid": meta.get("uid", ""), "apiVersion": obj.get("apiVersion", "")}
    reference |= {"resourceVersion": meta.get("resourceVersion", ""), "fieldPath": field_path}
    return {key: value for key, value in reference.items() if value}


def generated_name(prefix: str, suffix: str) -> str:
    """The name the API makes of generateName and five characters of `NAME_SUFFIX_ALPHABET`."""
    return f"{prefix[:GENERATED_NAME_PREFIX_LIMIT]}{suffix}"


def dns_label_problems(name: str) -> list[str]:
    """What is wrong with `name` as an RFC 1123 label."""
    problems = [] if len(name) <= 63 else ["must be no more than 63 bytes"]
    return problems if _DNS_LABEL.fullmatch(name) else [*problems, DNS_LABEL_TEXT]


def dns_1035_label_problems(name: str) -> list[str]:
    """What is wrong with `name` as a label that begins with a letter."""
    problems = [] if len(name) <= 63 else ["must be no more than 63 bytes"]
    return problems if _DNS_1035_LABEL.fullmatch(name) else [*problems, DNS_1035_LABEL_TEXT]


def dns_subdomain_problems(name: str) -> list[str]:
    """What is wrong with `name` as an RFC 1123 subdomain."""
    problems = [] if len(name) <= 253 else ["must be no more than 253 bytes"]
    return problems if _DNS_SUBDOMAIN.fullmatch(name) else [*problems, DNS_SUBDOMAIN_TEXT]


def path_segment_problems(name: str) -> list[str]:
    """What is wrong with `name` as one segment of a URL path."""
    if name in (".", ".."):
        return [f"may not be '{name}'"]
    return [f"may not contain '{bad}'" for bad in "/%" if bad in name]


def port_name_problems(name: str) -> list[str]:
    """What is wrong with `name` as an IANA service name."""
    problems = []
    if len(name) > 15:
        problems.append("must be no more than 15 characters")
    if not _PORT_NAME.fullmatch(name):
        problems.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search(r"[a-z]", name):
        problems.append("must contain at least one letter (a-z)")
    if "--" in name:
        problems.append("must not contain consecutive hyphens")
    if name.startswith("-") or name.endswith("-"):
        problems.append("must not begin or end with a hyphen")
    return problems


def qualified_name_problems(key: str) -> list[str]:
    """What is wrong with `key` as a label or annotation key."""
    prefix, slash, name = key.rpartition("/")
    problems = []
    if slash:
        if not prefix:
            problems.append("prefix part must be non-empty")
        else:
            problems += [f"prefix part {problem}" for problem in dns_subdomain_problems(prefix)]
    if not name:
        problems.append("name part must be non-empty")
    elif len(name) > 63:
        problems.append("name part must be no more than 63 bytes")
    return problems if _QUALIFIED_NAME.fullmatch(name) else [*problems, QUALIFIED_NAME_TEXT]


def label_value_problems(value: str) -> list[str]:
    """What is wrong with `value` as a label value."""
    problems = [] if len(value) <= 63 else ["must be no more than 63 bytes"]
    return problems if not value or _QUALIFIED_NAME.fullmatch(value) else [*problems, LABEL_VALUE_TEXT]


def list_object(api_version: str, kind: str, items: Iterable[JsonObject], resource_version: str) -> JsonObject:
    """A list of objects as the API answers it."""
    return {
        "kind": kind,
        "apiVersion": api_version,
        "metadata": {"resourceVersion": resource_version},
        "items": list(items),
    }
