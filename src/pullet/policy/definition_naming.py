"""Whose names are whose: which names of a definition are accepted, and the conditions that tell of it.

The first to ask for a name in its group gets it; when a definition goes, its names are free for those that wait.
Source: apiextensions-apiserver pkg/controller/{status/naming_controller.go,establish,apiapproval,finalizer}.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pullet.base.jsonvalue import JsonObject
from pullet.kube.custom_rows import ESTABLISHED, NAMES_ACCEPTED, TERMINATING, condition_of, is_condition_true
from pullet.kube.field_error import quote
from pullet.kube.meta import annotations_of, name_of
from pullet.policy.definition_validation import APPROVAL

_APPROVED = "KubernetesAPIApprovalPolicyConformant"
_RESOURCE_NAMES = (("plural", "PluralConflict"), ("singular", "SingularConflict"))
_KIND_NAMES = (("kind", "KindConflict"), ("listKind", "ListKindConflict"))
CLEANUP_FINALIZER = "customresourcecleanup.apiextensions.k8s.io"
_PENDING = (
    "True", "InstanceDeletionPending",
    "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
)  # fmt: skip
DELETING = ("True", "InstanceDeletionInProgress", "CustomResource deletion is in progress")
DELETED = ("False", "InstanceDeletionCompleted", "removed all instances")
OVERLAPPING = ("False", "OverlappingBuiltInResource", "instances overlap with built-in resources in storage")
NEVER_ESTABLISHED = ("False", "NeverEstablished", "resource was never established")


def named_status(definition: JsonObject, others: Iterable[JsonObject], now: str) -> JsonObject:
    """The status of a definition beside the others as they are: accepted names and conditions."""
    group = definition["spec"]["group"]
    taken = [
        _accepted(each) for each in others if each["spec"]["group"] == group and name_of(each) != name_of(definition)
    ]
    names, why = _accept(definition["spec"]["names"], _accepted(definition), taken)
    status: JsonObject = {**(definition.get("status") or {}), "acceptedNames": names}
    accepted = ("False", *why) if why else ("True", "NoConflicts", "no conflicts found")
    conditions = with_condition(status.get("conditions") or [], NAMES_ACCEPTED, accepted, now)
    if not is_condition_true(definition, ESTABLISHED):
        established = (
            ("False", "NotAccepted", "not all names are accepted")
            if why
            else ("True", "InitialNamesAccepted", "the initial names have been accepted")
        )
        conditions = with_condition(conditions, ESTABLISHED, established, now)
    approval = annotations_of(definition).get(APPROVAL) or ""
    if approval.startswith("unapproved"):
        facts = ("False", "UnapprovedAnnotation", f"not approved: {quote(approval)}")
        conditions = with_condition(conditions, _APPROVED, facts, now)
    elif approval:
        conditions = with_condition(
            conditions, _APPROVED, ("True", "ApprovedAnnotation", f"approved in {approval}"), now
        )
    return {**status, "conditions": conditions}


def ending_status(definition: JsonObject, facts: tuple[str, str, str], now: str) -> JsonObject:
    """The status of a definition on its way out."""
    status = definition.get("status") or {}
    return {**status, "conditions": with_condition(status.get("conditions") or [], TERMINATING, facts, now)}


def end_definition(definition: JsonObject) -> None:
    """Mark a definition that is deleted for the first time, in place: its objects end before it does."""
    meta = definition["metadata"]
    finalizers = meta.get("finalizers") or []
    if not is_condition_true(definition, TERMINATING):
        if CLEANUP_FINALIZER not in finalizers:
            meta["finalizers"] = [*finalizers, CLEANUP_FINALIZER]
        definition["status"] = ending_status(definition, _PENDING, meta["deletionTimestamp"])


def with_condition(
    conditions: Iterable[JsonObject], kind: str, facts: tuple[str, str, str], now: str
) -> list[JsonObject]:
    """The conditions with one set; it keeps its time while its status stays."""
    status, reason, message = facts
    known = list(conditions)
    old = condition_of({"status": {"conditions": known}}, kind) or {}
    at = old.get("lastTransitionTime") if old.get("status") == status else now
    new = {"type": kind, "status": status, "lastTransitionTime": at or now, "reason": reason, "message": message}
    made = [new if each.get("type") == kind else each for each in known]
    return made if old else [*made, new]


def _accepted(definition: Mapping[str, Any]) -> Mapping[str, Any]:
    return (definition.get("status") or {}).get("acceptedNames") or {}


def _accept(
    asked: Mapping[str, Any], mine: Mapping[str, Any], taken: Iterable[Mapping[str, Any]]
) -> tuple[JsonObject, tuple[str, str] | None]:
    """The names that are accepted now, and the last conflict found: its reason and text."""
    others = list(taken)
    resources = {
        name for each in others for name in (each.get("plural"), each.get("singular"), *(each.get("shortNames") or ()))
    }
    kinds = {name for each in others for name in (each.get("kind"), each.get("listKind"))}
    names, why = {"kind": "", "plural": "", **mine}, None
    for rows, used in ((_RESOURCE_NAMES, resources), (_KIND_NAMES, kinds)):
        for part, reason in rows:
            name = asked.get(part)
            if name == mine.get(part) or name not in used:
                names[part] = name
            else:
                why = (reason, _in_use(name))
        if rows is _RESOURCE_NAMES:
            short = [name for name in asked.get("shortNames") or () if name not in (mine.get("shortNames") or ())]
            clashes = [name for name in short if name in resources]
            if clashes:
                texts = [_in_use(name) for name in clashes]
                why = ("ShortNamesConflict", texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]")
            else:
                _set_list(names, asked, "shortNames")
    _set_list(names, asked, "categories")
    return names, why


def _in_use(name: Any) -> str:
    return f"{quote(str(name))} is already in use"


def _set_list(names: JsonObject, asked: Mapping[str, Any], part: str) -> None:
    names.pop(part, None)
    if asked.get(part):
        names[part] = asked[part]
