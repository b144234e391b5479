"""The scale subresource: a workload seen as an autoscaling/v1 Scale."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pullet.apiserver.printing import AGE, NAME, Column, age_of
from pullet.base.jsonvalue import JsonObject
from pullet.kube.field_error import invalid
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


def scale_of(workload: JsonObject) -> JsonObject:
    """The Scale of a workload."""
    meta = workload["metadata"]
    spec, status = workload.get("spec") or {}, workload.get("status") or {}
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    shown: JsonObject = {"replicas": status.get("replicas", 0)}
    selector = _selector_text(spec.get("selector") or {})
    if selector:
        shown["selector"] = selector
    replicas = spec.get("replicas", 1)
    return {
        "kind": "Scale",
        "apiVersion": SCALE_VERSION,
        "metadata": {key: meta[key] for key in kept if key in meta},
        "spec": {"replicas": replicas} if replicas else {},
        "status": shown,
    }


def set_scale(workload: JsonObject, scale: JsonObject) -> JsonObject:
    """The workload with the replicas a Scale asks for.

    Raises:
        InvalidError: fewer than none.
    """
    replicas = (scale.get("spec") or {}).get("replicas", 0)
    if replicas < 0:
        error = invalid("spec.replicas", replicas, "must be greater than or equal to 0")
        raise InvalidError.on("autoscaling", "Scale", name_of(workload), [error])
    workload.setdefault("spec", {})["replicas"] = replicas
    version = (scale.get("metadata") or {}).get("resourceVersion")
    if version:
        workload["metadata"]["resourceVersion"] = version
    return workload


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
