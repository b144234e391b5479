"""CustomResourceDefinition → rows of the resource table, one per served version.

Source: apiextensions-apiserver pkg/apiserver/customresource_discovery_controller.go, customresource_handler.go.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pullet.base.jsonvalue import JsonObject
from pullet.kube.custom_kind import CustomKind, ScalePaths, Schema
from pullet.kube.meta import name_of
from pullet.kube.resource import STANDARD_VERBS, STATUS_VERBS, Resource, Subresource
from pullet.kube.scheme import RESOURCES

NAMES_ACCEPTED = "NamesAccepted"
ESTABLISHED = "Established"
TERMINATING = "Terminating"
NAMESPACED = "Namespaced"
_STATUS = Subresource("status", STATUS_VERBS)
_SCALE = Subresource("scale", STATUS_VERBS, "Scale", "autoscaling", "v1")
_ENDING_VERBS = tuple(verb for verb in STANDARD_VERBS if verb != "create")
_VERSION = re.compile(r"v([1-9]\d*)(?:(alpha|beta)([1-9]\d*))?")
_BUILT_IN = frozenset(row.storage_key for row in RESOURCES)
_ANY_OBJECT: Schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def condition_of(definition: Mapping[str, Any], kind: str) -> Mapping[str, Any] | None:
    """The condition of a kind in the definition's status."""
    conditions: Iterable[Mapping[str, Any]] = (definition.get("status") or {}).get("conditions") or ()
    return next((each for each in conditions if each.get("type") == kind), None)


def is_condition_true(definition: Mapping[str, Any], kind: str) -> bool:
    """Whether the condition is there and true."""
    return (condition_of(definition, kind) or {}).get("status") == "True"


def version_rank(version: str) -> tuple[int, int, int, str]:
    """Sorts versions as discovery prefers them: v2, v1, v1beta2, v1beta1, v1alpha1, then others by name."""
    match = _VERSION.fullmatch(version)
    if match is None:
        return 3, 0, 0, version
    stage = {None: 0, "beta": 1, "alpha": 2}[match[2]]
    return stage, -int(match[1]), -int(match[3] or 0), version


def custom_rows(definition: JsonObject) -> list[Resource]:
    """The rows of an established definition, the most preferred version first; none before it is established.

    A definition that names a built-in kind makes none: the kind stays what it is, and its objects whose they are.
    Only the first row is no second view of the kind, as the table tells them apart by `storage`.
    """
    if not is_condition_true(definition, ESTABLISHED):
        return []
    spec = definition["spec"]
    if f"{spec['group']}/{spec['names']['plural']}" in _BUILT_IN:
        return []
    versions = sorted(
        (each for each in spec["versions"] if each.get("served")), key=lambda each: version_rank(each["name"])
    )
    return [_row(definition, version, is_first=version is versions[0]) for version in versions]


def _row(definition: JsonObject, version: Mapping[str, Any], *, is_first: bool) -> Resource:
    spec = definition["spec"]
    group, names = spec["group"], _names(definition)
    parts = version.get("subresources") or {}
    scale = parts.get("scale")
    storage = next(each["name"] for each in spec["versions"] if each.get("storage"))
    api_version = f"{group}/{version['name']}"
    deprecation = version.get("deprecationWarning") or f"{api_version} {names['kind']} is deprecated"
    custom = CustomKind(
        definition=name_of(definition),
        list_kind=names["listKind"],
        schema=(version.get("schema") or {}).get("openAPIV3Schema") or _ANY_OBJECT,
        storage_api_version=f"{group}/{storage}",
        columns=tuple(version.get("additionalPrinterColumns") or ()),
        scale=_scale_paths(scale) if scale else None,
        deprecation=deprecation if version.get("deprecated") else "",
    )
    return Resource(
        group=group,
        version=version["name"],
        plural=names["plural"],
        singular=names["singular"],
        kind=names["kind"],
        namespaced=spec["scope"] == NAMESPACED,
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        subresources=(*((_SCALE,) if scale else ()), *((_STATUS,) if "status" in parts else ())),
        verbs=_ENDING_VERBS if is_condition_true(definition, TERMINATING) else STANDARD_VERBS,
        field_labels=tuple(each["jsonPath"].lstrip(".") for each in version.get("selectableFields") or ()),
        has_status="status" in parts,
        has_generation=True,
        storage="" if is_first else f"{group}/{names['plural']}",
        custom=custom,
    )


def _names(definition: JsonObject) -> JsonObject:
    """The accepted names; whoever writes the status may leave out what every kind needs."""
    asked = definition["spec"]["names"]
    accepted = (definition.get("status") or {}).get("acceptedNames") or {}
    needed = {part: accepted.get(part) or asked.get(part) for part in ("plural", "singular", "kind", "listKind")}
    return {**accepted, **needed}


def _scale_paths(scale: Mapping[str, Any]) -> ScalePaths:
    return ScalePaths(scale["specReplicasPath"], scale["statusReplicasPath"], scale.get("labelSelectorPath") or "")
