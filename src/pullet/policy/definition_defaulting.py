"""What a CustomResourceDefinition leaves unsaid, and what it begins with. In place; idempotent.

Source: apiextensions-apiserver pkg/apis/apiextensions/v1/defaults.go,
pkg/registry/customresourcedefinition/strategy.go, pkg/controller/finalizer/crd_finalizer.go.
"""

from __future__ import annotations

from pullet.base.jsonvalue import JsonObject


def default_definition(definition: JsonObject) -> None:
    """Names derived from the kind, conversion None, and the storage version among those stored."""
    spec = definition.setdefault("spec", {})
    names = spec.setdefault("names", {})
    kind = names.get("kind") or ""
    if kind and not names.get("singular"):
        names["singular"] = kind.lower()
    if kind and not names.get("listKind"):
        names["listKind"] = f"{kind}List"
    spec.setdefault("conversion", {}).setdefault("strategy", "None")
    status = definition.get("status") or {}  # shared with the object before an update
    stored = status.get("storedVersions") or []
    missing = [
        version.get("name")
        for version in spec.get("versions") or ()
        if version.get("storage") and version.get("name") not in stored
    ]
    definition["status"] = {**status, "storedVersions": [*stored, *missing[:1]]}


def prepare_definition(definition: JsonObject) -> None:
    """A new definition has no names accepted yet."""
    definition["status"] = {"acceptedNames": {"kind": "", "plural": ""}, "conditions": [], "storedVersions": []}
