"""Rules on metadata and on the simple kinds. Errors in the API server's words and order.

Source: apimachinery pkg/api/validation/objectmeta.go, kubernetes pkg/apis/core/validation/validation.go.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from typing import Any

from pullet.base.jsonvalue import JsonObject
from pullet.kube.field_error import FieldError, forbidden, invalid, quote, required, too_long
from pullet.kube.meta import (
    dns_label_problems,
    label_value_problems,
    qualified_name_problems,
)

ANNOTATIONS_LIMIT = 256 * 1024
DATA_LIMIT = 1024 * 1024
_CONFIG_KEY = re.compile(r"[-._a-zA-Z0-9]+")
_CONFIG_KEY_TEXT = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  "
    "or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
)
IMMUTABLE_TEXT = "field is immutable"
IMMUTABLE_SET_TEXT = "field is immutable when `immutable` is set"
_REQUIRED_KEYS = {
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
}
_ACCOUNT_ANNOTATION = "kubernetes.io/service-account.name"
_SECRET_KEYS = {
    "kubernetes.io/dockerconfigjson": ".dockerconfigjson",
    "kubernetes.io/dockercfg": ".dockercfg",
}


def validate_metadata(
    obj: JsonObject, is_namespaced: bool, name_problems: Callable[[str], list[str]]
) -> list[FieldError]:
    """Rules on the metadata of a new object."""
    meta: Mapping[str, Any] = obj.get("metadata") or {}
    errors: list[FieldError] = []
    name = meta.get("name") or ""
    generate = meta.get("generateName") or ""
    if generate:
        errors += [invalid("metadata.generateName", generate, text) for text in name_problems(generate.rstrip("-."))]
    if not name:
        errors.append(required("metadata.name", "name or generateName is required"))
    else:
        errors += [invalid("metadata.name", name, text) for text in name_problems(name)]
    namespace = meta.get("namespace") or ""
    if is_namespaced:
        if not namespace:
            errors.append(required("metadata.namespace"))
        else:
            errors += [invalid("metadata.namespace", namespace, text) for text in dns_label_problems(namespace)]
    elif namespace:
        errors.append(forbidden("metadata.namespace", "not allowed on this type"))
    return errors + _validate_maps(meta)


def validate_metadata_update(new: JsonObject, old: JsonObject) -> list[FieldError]:
    """Rules on metadata that a write changed."""
    meta, old_meta = new["metadata"], old["metadata"]
    errors = _validate_maps(meta)
    if old_meta.get("deletionTimestamp"):
        added = [name for name in meta.get("finalizers") or () if name not in (old_meta.get("finalizers") or ())]
        if added:
            names = " ".join(quote(name) for name in added)
            text = "no new finalizers can be added if the object is being deleted, found new finalizers"
            errors.append(forbidden("metadata.finalizers", f"{text} []string{{{names}}}"))
    return errors


def _validate_maps(meta: Mapping[str, Any]) -> list[FieldError]:
    errors: list[FieldError] = []
    for key, value in sorted((meta.get("labels") or {}).items()):
        errors += [invalid("metadata.labels", key, text) for text in qualified_name_problems(key)]
        errors += [invalid("metadata.labels", value, text) for text in label_value_problems(value)]
    annotations = meta.get("annotations") or {}
    for key in sorted(annotations):
        errors += [invalid("metadata.annotations", key, text) for text in qualified_name_problems(key.lower())]
    if sum(len(key) + len(str(value).encode()) for key, value in annotations.items()) > ANNOTATIONS_LIMIT:
        errors.append(too_long("metadata.annotations", ANNOTATIONS_LIMIT))
    for index, name in enumerate(meta.get("finalizers") or ()):
        problems = qualified_name_problems(name)
        errors += [invalid(f"metadata.finalizers[{index}]", name, text) for text in problems]
    for index, owner in enumerate(meta.get("ownerReferences") or ()):
        for field in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(field):
                path = f"metadata.ownerReferences[{index}].{field}"
                errors.append(invalid(path, owner.get(field) or "", f"{_WORDS.get(field, field)} must not be empty"))
    controllers = [owner for owner in meta.get("ownerReferences") or () if owner.get("controller")]
    if len(controllers) > 1:
        first, second = (f"{owner.get('kind')}/{owner.get('name')}" for owner in controllers[:2])
        text = 'Only one reference can have Controller set to true. Found "true" in references for'
        errors.append(invalid("metadata.ownerReferences", meta["ownerReferences"], f"{text} {first} and {second}"))
    return errors


_WORDS = {"apiVersion": "version"}


def _validate_keys(data: Mapping[str, Any], path: str) -> list[FieldError]:
    errors = []
    for key in sorted(data):
        if len(key) > 253:
            errors.append(invalid(f"{path}[{key}]", key, "must be no more than 253 characters"))
        elif not _CONFIG_KEY.fullmatch(key):
            errors.append(invalid(f"{path}[{key}]", key, _CONFIG_KEY_TEXT))
        elif key in (".", "..") or key.startswith(".."):
            errors.append(invalid(f"{path}[{key}]", key, f"must not be '{key}'"))
    return errors


def _size(data: Mapping[str, Any]) -> int:
    return sum(len(str(value)) for value in data.values())


def validate_secret(secret: JsonObject) -> list[FieldError]:
    """Keys, size, and the key a typed secret must have."""
    data = secret.get("data") or {}
    errors = _validate_keys(data, "data")
    if _size(data) * 3 // 4 > DATA_LIMIT:
        errors.append(too_long("data", DATA_LIMIT))
    kind = secret.get("type") or ""
    wanted = _SECRET_KEYS.get(kind)
    if wanted is not None:
        if wanted not in data:
            errors.append(required(f"data[{wanted}]"))
        else:
            errors += _validate_docker_config(data[wanted], f"data[{wanted}]")
    if kind == "kubernetes.io/basic-auth" and not ("username" in data or "password" in data):
        errors += [required("data[username]"), required("data[password]")]
    errors += [required(f"data[{name}]") for name in _REQUIRED_KEYS.get(kind, ()) if name not in data]
    if kind == "kubernetes.io/service-account-token":
        annotations = secret["metadata"].get("annotations") or {}
        if not annotations.get(_ACCOUNT_ANNOTATION):
            errors.append(required(f"metadata.annotations[{_ACCOUNT_ANNOTATION}]"))
    return errors


def _validate_docker_config(value: str, path: str) -> list[FieldError]:
    try:
        text = base64.b64decode(value, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return [invalid(path, "<secret contents redacted>", "illegal base64 data")]
    if not text.strip().startswith("{"):
        first = text.strip()[:1]
        detail = (
            f"invalid character '{first}' looking for beginning of value" if first else "unexpected end of JSON input"
        )
        return [invalid(path, "<secret contents redacted>", detail)]
    return []


def validate_secret_update(new: JsonObject, old: JsonObject) -> list[FieldError]:
    """The type never changes; nothing does once `immutable` is set."""
    errors = []
    if new.get("type") != old.get("type"):
        errors.append(invalid("type", new.get("type"), IMMUTABLE_TEXT))
    return errors + _immutable_data(new, old, ("data",))


def validate_configmap(configmap: JsonObject) -> list[FieldError]:
    """Keys and size."""
    data, binary = configmap.get("data") or {}, configmap.get("binaryData") or {}
    errors = _validate_keys(data, "data") + _validate_keys(binary, "binaryData")
    for key in sorted(set(data) & set(binary)):
        errors.append(invalid(f"data[{key}]", key, "duplicate of key present in binaryData"))
    if _size(data) + _size(binary) > DATA_LIMIT:
        errors.append(too_long("", DATA_LIMIT))
    return errors


def validate_configmap_update(new: JsonObject, old: JsonObject) -> list[FieldError]:
    """Nothing changes once `immutable` is set."""
    return _immutable_data(new, old, ("data", "binaryData"))


def _immutable_data(new: JsonObject, old: JsonObject, names: tuple[str, ...]) -> list[FieldError]:
    if not old.get("immutable"):
        return []
    errors = []
    if not new.get("immutable"):
        errors.append(forbidden("immutable", IMMUTABLE_SET_TEXT))
    errors += [forbidden(name, IMMUTABLE_SET_TEXT) for name in names if new.get(name) != old.get(name)]
    return errors


def validate_event(event: JsonObject) -> list[FieldError]:
    """An event lies in the namespace of what it is about."""
    about = (event.get("involvedObject") or {}).get("namespace") or ""
    namespace = event["metadata"].get("namespace") or ""
    if about and about != namespace:
        return [invalid("involvedObject.namespace", about, "does not match event.namespace")]
    if not about and namespace not in ("default", "kube-system"):
        return [invalid("involvedObject.namespace", about, "does not match event.namespace")]
    return []
