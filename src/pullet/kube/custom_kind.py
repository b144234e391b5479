"""What a CustomResourceDefinition says of one version of its kind, beyond what every row of the table says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from pullet.base.values import Value

Schema: TypeAlias = Mapping[str, Any]


class ScalePaths(Value):
    """Where an object keeps what its Scale shows, in the dotted form of the definition; `selector` may be empty."""

    replicas: str = ".spec.replicas"
    status_replicas: str = ".status.replicas"
    selector: str = ""


class CustomKind(Value, kw_only=True):
    """One served version of a custom kind. `schema` is the definition's own, without what every object has."""

    definition: str  # name of the CustomResourceDefinition
    list_kind: str
    schema: Schema
    storage_api_version: str
    columns: tuple[Mapping[str, Any], ...] = ()
    scale: ScalePaths | None = None
    deprecation: str = ""  # what clients of this version are warned of
