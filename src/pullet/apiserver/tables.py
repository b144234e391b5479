"""metav1.Table: what `kubectl get` prints, one printer per kind, name and age for the rest.
Custom kinds say their columns themselves.

Source: kubernetes pkg/printers/internalversion/printers.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pullet.apiserver.custom_printer import CustomPrinter
from pullet.apiserver.inert_printers import INERT_PRINTERS
from pullet.apiserver.pod_printer import POD_COLUMNS, pod_cells
from pullet.apiserver.printing import AGE, NAME, Cells, Column, age_of
from pullet.apiserver.resource_printers import PRINTERS
from pullet.apiserver.scaling import SCALE, SCALE_COLUMNS, scale_cells
from pullet.apiserver.views import view_of
from pullet.base.jsonvalue import JsonObject
from pullet.base.values import Value
from pullet.kube import scheme
from pullet.kube.meta import name_of
from pullet.kube.scheme import Resource


class Printer(Value):
    """Columns and how a row fills them."""

    columns: Sequence[Column]
    cells: Cells


def _plain_cells(obj: JsonObject, now: datetime) -> list[Any]:
    return [name_of(obj), age_of(obj, now)]


_PRINTERS: dict[str, Printer] = {
    scheme.PODS.storage_key: Printer(POD_COLUMNS, pod_cells),
    SCALE.storage_key: Printer(SCALE_COLUMNS, scale_cells),
    **{key: Printer(columns, cells) for key, (columns, cells) in (PRINTERS | INERT_PRINTERS).items()},
}


def _printer(resource: Resource) -> Printer:
    if resource.custom:
        custom = CustomPrinter(resource)
        return Printer(custom.columns, custom.cells)
    return _PRINTERS.get(resource.storage_key, Printer((NAME, AGE), _plain_cells))


def table_of(
    resource: Resource,
    objects: Sequence[JsonObject],
    *,
    now: datetime,
    metadata: JsonObject,
    include_object: str,
    with_columns: bool = True,
    api_version: str = "meta.k8s.io/v1",
) -> JsonObject:
    """The table of some objects. `include_object` is None, Metadata or Object, as the query says."""
    printer = _printer(resource)
    rows = []
    for obj in objects:
        obj = view_of(resource, obj) if resource.custom else obj
        row: JsonObject = {"cells": printer.cells(obj, now)}
        if include_object == "Object":
            row["object"] = view_of(resource, obj)
        elif include_object != "None":
            row["object"] = {"kind": "PartialObjectMetadata", "apiVersion": api_version, "metadata": obj["metadata"]}
        rows.append(row)
    columns = [column.to_definition() for column in printer.columns] if with_columns else None
    return {
        "kind": "Table",
        "apiVersion": api_version,
        "metadata": metadata,
        "columnDefinitions": columns,
        "rows": rows,
    }
