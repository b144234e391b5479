"""The scale subresource: a workload, or a custom resource that says where, seen as an autoscaling/v1 Scale."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pullet.apiserver.printing import AGE, NAME, Column, age_of
from pullet.base.jsonvalue import JsonObject
from pullet.kube.custom_kind import ScalePaths
from pullet.kube.field_error import invalid
from pullet.kube.json_path import parse_json_path
from pullet.kube.meta import name_of
from pullet.kube.resource import Resource
from pullet.kube.status import InvalidError

SCALE_VERSION = "autoscaling/v1"
SCALE = Resource(group="autoscaling", version="v1", plural="scales", singular="scale", kind="Scale", namespaced=True)
SCALE_COLUMNS = (
    NAME,
    Column("Desired", "integer", description="replicas is the desired number of instances for the scaled object."),
    Column("Available", "integer", description="replicas is the actual number of observed instances of the object."),
    AGE,
)


def scale_cells(scale: JsonObject, now: datetime) -> list[Any]:
    """A row of the table of Scales."""
    return [name_of(scale), scale["spec"].get("replicas", 0), scale["status"].get("replicas", 0), age_of(scale, now)]


def scale_paths(resource: Resource) -> ScalePaths | None:
    """Where objects of a custom kind keep what a Scale shows; None for workloads, which all keep it alike."""
    return resource.custom.scale if resource.custom else None


def scale_of(obj: JsonObject, paths: ScalePaths | None = None) -> JsonObject:
    """The Scale of an object."""
    meta = obj["metadata"]
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    if paths is None:
        replicas, current = spec.get("replicas", 1), status.get("replicas", 0)
        selector = _selector_text(spec.get("selector") or {})
    else:
        replicas, current = _found(obj, paths.replicas), _found(obj, paths.status_replicas) or 0
        selector = _found(obj, paths.selector) if paths.selector else ""
    shown: JsonObject = {"replicas": current}
    if selector:
        shown["selector"] = selector
    return {
        "kind": "Scale",
        "apiVersion": SCALE_VERSION,
        "metadata": {key: meta[key] for key in kept if key in meta},
        "spec": {"replicas": replicas} if replicas else {},
        "status": shown,
    }


def _found(obj: JsonObject, path: str) -> Any:
    return next(iter(parse_json_path(path).find(obj)), None)


def set_scale(obj: JsonObject, scale: JsonObject, paths: ScalePaths | None = None) -> JsonObject:
    """The object with the replicas a Scale asks for.

    Raises:
        InvalidError: fewer than none.
    """
    replicas = (scale.get("spec") or {}).get("replicas", 0)
    if replicas < 0:
        error = invalid("spec.replicas", replicas, "must be greater than or equal to 0")
        raise InvalidError.on("autoscaling", "Scale", name_of(obj), [error])
    *parents, last = (paths or ScalePaths()).replicas.strip(".").split(".")
    inner = obj
    for name in parents:
        inner = inner.setdefault(name, {})
    inner[last] = replicas
    version = (scale.get("metadata") or {}).get("resourceVersion")
    if version:
        obj["metadata"]["resourceVersion"] = version
    return obj


def _selector_text(selector: JsonObject) -> str:
    terms = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for expression in selector.get("matchExpressions") or ():
        key, values = expression.get("key", ""), ",".join(expression.get("values") or ())
        match expression.get("operator"):
            case "In":
                terms.append(f"{key} in ({values})")
            case "NotIn":
                terms.append(f"{key} notin ({values})")
            case "Exists":
                terms.append(key)
            case _:
                terms.append(f"!{key}")
    return ",".join(terms)
