"""How an object ends: preconditions, grace, and the finalizers that propagation asks for. Pure.

Source: apiserver pkg/registry/rest/delete.go, generic/registry/store.go; pkg/registry/core/pod/strategy.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pullet.base.jsonvalue import JsonObject
from pullet.base.values import Value
from pullet.kube.scheme import JOBS, NAMESPACES, PODS, Resource

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"
PROPAGATION_POLICIES = ("Background", "Foreground", "Orphan")
_DEFAULT_GRACE_SECONDS = 30
_LONGEST_GRACE_SECONDS = 2**31 - 1  # later moments have no spelling


class DeleteOptions(Value, kw_only=True):
    """metav1.DeleteOptions, those parts that decide."""

    grace_period_seconds: int | None = None
    propagation_policy: str = ""
    uid: str = ""
    resource_version: str = ""

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> DeleteOptions:
        """From the decoded body."""
        conditions = body.get("preconditions") or {}
        orphans = body.get("orphanDependents")  # the older word for it
        older = "" if orphans is None else "Orphan" if orphans else "Background"
        policy = body.get("propagationPolicy") or older
        return cls(
            grace_period_seconds=body.get("gracePeriodSeconds"),
            propagation_policy=policy,
            uid=conditions.get("uid") or "",
            resource_version=conditions.get("resourceVersion") or "",
        )

    def to_body(self) -> JsonObject:
        """As the fields of a metav1.DeleteOptions."""
        body: JsonObject = {}
        if self.grace_period_seconds is not None:
            body["gracePeriodSeconds"] = self.grace_period_seconds
        if self.propagation_policy:
            body["propagationPolicy"] = self.propagation_policy
        given = {"uid": self.uid, "resourceVersion": self.resource_version}
        if any(given.values()):
            body["preconditions"] = {key: value for key, value in given.items() if value}
        return body

    def broken_precondition(self, obj: JsonObject) -> str:
        """What about the object is not as the client requires, or nothing."""
        meta = obj["metadata"]
        if self.uid and self.uid != meta["uid"]:
            return f"Precondition failed: UID in precondition: {self.uid}, UID in object meta: {meta['uid']}"
        if self.resource_version and self.resource_version != meta["resourceVersion"]:
            return (
                f"Precondition failed: ResourceVersion in precondition: {self.resource_version}, "
                f"ResourceVersion in object meta: {meta['resourceVersion']}"
            )
        return ""


class Grace(Value):
    """Seconds until the end; `is_shortened` when this delete changes what an earlier one had set."""

    seconds: int
    is_shortened: bool


def decide_grace(resource: Resource, obj: JsonObject, options: DeleteOptions) -> Grace:
    """How long the object may still take. Only pods take any time, and only those that run somewhere."""
    seconds = _pod_grace(obj, options) if resource is PODS else 0
    meta = obj["metadata"]
    if "deletionTimestamp" not in meta:
        return Grace(seconds, is_shortened=True)
    before = meta.get("deletionGracePeriodSeconds") or 0
    asked_for_less = options.grace_period_seconds is not None and seconds < before
    return Grace(seconds if asked_for_less else before, is_shortened=asked_for_less)


def _pod_grace(pod: JsonObject, options: DeleteOptions) -> int:
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    seconds = options.grace_period_seconds
    if seconds is None:
        seconds = spec.get("terminationGracePeriodSeconds", _DEFAULT_GRACE_SECONDS)
    if not spec.get("nodeName") or status.get("phase") in ("Succeeded", "Failed"):
        return 0  # nobody runs it, so there is nobody to wait for
    return 1 if seconds < 0 else min(int(seconds), _LONGEST_GRACE_SECONDS)


def finalizers_for(resource: Resource, obj: JsonObject, options: DeleteOptions) -> list[str]:
    """The finalizers after this delete: propagation adds or takes away the garbage collector's own two."""
    meta = obj["metadata"]
    finalizers = [name for name in meta.get("finalizers") or () if name not in (FOREGROUND, ORPHAN)]
    had = set(meta.get("finalizers") or ()) - set(finalizers)
    if resource is NAMESPACES:
        return finalizers
    match options.propagation_policy:
        case "Orphan":
            return [*finalizers, ORPHAN]
        case "Foreground":
            return [*finalizers, FOREGROUND]
        case "Background":
            return finalizers
        case _ if resource is JOBS and not had:
            return [*finalizers, ORPHAN]  # as its first version did
        case _:
            return [*finalizers, *sorted(had)]
