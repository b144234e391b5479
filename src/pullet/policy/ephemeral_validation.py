"""Rules on ephemeral containers: no part of a workload, added by their own subresource, never changed or taken away.

Source: kubernetes pkg/apis/core/validation/validation.go (validateEphemeralContainers,
ValidatePodEphemeralContainersUpdate).
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Set
from typing import Any

from pullet.base.jsonvalue import JsonObject
from pullet.kube.field_error import FieldError, forbidden, not_found, quote

_NOT_OFFERED = (
    "ports", "resources", "resizePolicy", "restartPolicy", "restartPolicyRules", "livenessProbe", "readinessProbe",
    "startupProbe", "lifecycle",
)  # fmt: skip
_TEXT = "cannot be set for an Ephemeral Container"


def validate_ephemeral_container(container: Mapping[str, Any], path: str, targets: Set[str]) -> list[FieldError]:
    """What holds for an ephemeral container beyond the rules on every container; `targets`: whom it may join."""
    errors = [forbidden(f"{path}.{field}", _TEXT) for field in _NOT_OFFERED if container.get(field)]
    errors += [
        forbidden(f"{path}.volumeMounts[{index}].{field}", _TEXT)
        for index, mount in enumerate(container.get("volumeMounts") or ())
        for field in ("subPath", "subPathExpr")
        if mount.get(field)
    ]
    target = container.get("targetContainerName")
    if target and target not in targets:
        errors.append(not_found(f"{path}.targetContainerName", target))
    return errors


def validate_ephemeral_update(new: JsonObject, old: JsonObject) -> list[FieldError]:
    """Rules on a write to a pod's ephemeralcontainers."""
    path = "spec.ephemeralContainers"
    names = {container.get("name"): container for container in new["spec"].get("ephemeralContainers") or ()}
    errors = []
    for container in old["spec"].get("ephemeralContainers") or ():
        name = container["name"]
        words = f"existing ephemeral containers {quote(name)} may not be"
        if name not in names:
            errors.append(forbidden(path, f"{words} removed\n"))
        elif names[name] != container:
            errors.append(forbidden(path, f"{words} changed\n{difference(container, names[name])}"))
    return errors


def difference(before: JsonObject, after: JsonObject) -> str:
    """What changed, as a unified diff of the JSON."""
    was, now = (json.dumps(value, indent=1, sort_keys=True).splitlines() for value in (before, after))
    return "\n".join(list(difflib.unified_diff(was, now, lineterm="", n=3))[2:]) + "\n"
