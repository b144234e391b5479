"""What becomes of an object whose owners are gone, or going. Pure.

    every owner gone ──────────────────────────────► delete it
    some owners gone ──────────────────────────────► forget those
    an owner waits for its dependents (foreground) ─► delete it, in the foreground if it has dependents itself
Source: kubernetes pkg/controller/garbagecollector/garbagecollector.go, attemptToDeleteItem.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

from pullet.base.jsonvalue import JsonObject
from pullet.base.values import Value
from pullet.kube.meta import is_deleting, metadata

FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"
Propagation: TypeAlias = Literal["Background", "Foreground", "Orphan"]
OwnerState: TypeAlias = Literal["present", "absent", "waiting"]


class Keep(Value):
    """Nothing to do."""


class Delete(Value):
    """Delete the object."""

    propagation: Propagation


class Disown(Value):
    """Keep the object, with these owner references only."""

    owner_references: list[JsonObject]


Fate: TypeAlias = Keep | Delete | Disown


def finalizers_of(obj: Mapping[str, Any]) -> Sequence[str]:
    """metadata.finalizers."""
    return metadata(obj).get("finalizers") or ()


def is_waiting_for_dependents(obj: Mapping[str, Any]) -> bool:
    """Whether the object's deletion ends when its dependents are gone."""
    return is_deleting(obj) and FOREGROUND in finalizers_of(obj)


def is_orphaning(obj: Mapping[str, Any]) -> bool:
    """Whether the object's deletion leaves its dependents alone."""
    return is_deleting(obj) and ORPHAN in finalizers_of(obj)


def decide_fate(obj: JsonObject, owners: Mapping[str, OwnerState], *, has_dependents: bool) -> Fate:
    """What to do with an object, given the state of each owner by uid."""
    if is_deleting(obj) and not is_waiting_for_dependents(obj):
        return Keep()
    references: Sequence[JsonObject] = metadata(obj).get("ownerReferences") or []
    if not references:
        return Keep()
    present = [ref for ref in references if owners.get(ref["uid"]) == "present"]
    waiting = [ref for ref in references if owners.get(ref["uid"]) == "waiting"]
    if present:
        gone = [ref for ref in references if ref not in present]
        return Disown(present) if gone else Keep()
    if is_deleting(obj):
        return Keep()
    if waiting and has_dependents:
        return Delete("Foreground")
    if ORPHAN in finalizers_of(obj):
        return Delete("Orphan")
    return Delete("Foreground" if FOREGROUND in finalizers_of(obj) else "Background")


def blocking_dependents(owner: JsonObject, dependents: Sequence[JsonObject]) -> list[JsonObject]:
    """The dependents that hold up the owner's foreground deletion."""
    uid = metadata(owner).get("uid")
    return [
        item
        for item in dependents
        if any(
            ref.get("uid") == uid and ref.get("blockOwnerDeletion")
            for ref in metadata(item).get("ownerReferences") or ()
        )
    ]
