"""How far the end of a namespace has come, as the conditions in its status tell.

Source: kubernetes pkg/controller/namespace/deletion/status_condition_utils.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pullet.base.jsonvalue import JsonObject
from pullet.kube.resource import Resource

_ALWAYS = (
    ("NamespaceDeletionDiscoveryFailure", "ResourcesDiscovered", "All resources successfully discovered"),
    ("NamespaceDeletionGroupVersionParsingFailure", "ParsedGroupVersions", "All legacy kube types successfully parsed"),
    (
        "NamespaceDeletionContentFailure",
        "ContentDeleted",
        "All content successfully deleted, may be waiting on finalization",
    ),
)


def termination_conditions(
    left: Mapping[Resource, Sequence[JsonObject]], before: Iterable[Mapping[str, str]], now: str
) -> list[JsonObject]:
    """The conditions while `left` is still there; what has not changed keeps the time of its last change."""
    texts = [f"{row.plural}.{row.group} has {len(items)} resource instances" for row, items in left.items() if items]
    finalizers: dict[str, int] = {}
    for items in left.values():
        for item in items:
            for name in (item.get("metadata") or {}).get("finalizers") or ():
                finalizers[name] = finalizers.get(name, 0) + 1
    found = [(kind, "False", reason, text) for kind, reason, text in _ALWAYS]
    if texts:
        text = f"Some resources are remaining: {', '.join(sorted(texts))}"
        found.append(("NamespaceContentRemaining", "True", "SomeResourcesRemain", text))
    else:
        found.append(("NamespaceContentRemaining", "False", "ContentRemoved", "All content successfully removed"))
    if finalizers:
        shown = ", ".join(f"{name} in {count} resource instances" for name, count in sorted(finalizers.items()))
        text = f"Some content in the namespace has finalizers remaining: {shown}"
        found.append(("NamespaceFinalizersRemaining", "True", "SomeFinalizersRemain", text))
    else:
        text = "All content-preserving finalizers finished"
        found.append(("NamespaceFinalizersRemaining", "False", "ContentHasNoFinalizers", text))
    known = {each.get("type"): each for each in before}
    conditions: list[JsonObject] = []
    for kind, status, reason, text in found:
        old = known.get(kind)
        at = old["lastTransitionTime"] if old is not None and old.get("status") == status else now
        conditions.append({"type": kind, "status": status, "lastTransitionTime": at, "reason": reason, "message": text})
    return conditions
