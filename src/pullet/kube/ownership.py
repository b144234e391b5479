"""Who manages which field of an object: metadata.managedFields kept up by updates, and server-side apply.

    update:  what changed belongs to the writer from now on, and to nobody else
    apply:   the applier owns just what its configuration states; what it stated before and no longer does, and no other
             applier owns, is removed; changing what another owns is a conflict unless forced
Pure: objects in, objects out. Source: structured-merge-diff merge/update.go, apimachinery pkg/util/managedfields.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from pullet.base.errors import PulletError
from pullet.base.jsonvalue import JsonObject
from pullet.base.values import Value
from pullet.kube.field_sets import FieldPath, FieldSet, FieldWalker, Schema, from_fields_v1, path_text, to_fields_v1

MAX_UPDATE_MANAGERS = 10
ANCIENT = "ancient-changes"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_KUBECTL = "kubectl"
_GO_ESCAPES = str.maketrans({character: f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"})
_META = "f:metadata"
# what the server sets, and what names the object, belongs to nobody
_UNOWNED: frozenset[FieldPath] = frozenset(
    {(_META,)}
    | {
        (_META, f"f:{name}")
        for name in (
            "name", "namespace", "creationTimestamp", "selfLink", "uid", "clusterName", "generation", "managedFields",
            "resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds",
        )
    }
)  # fmt: skip


_NEVER_OWNED = frozenset({("f:apiVersion",), ("f:kind",)})


class ApplyConflictError(PulletError):
    """An apply would change fields that other managers own."""

    reason = "Conflict"

    def __init__(self, conflicts: Sequence[tuple[str, FieldPath]]) -> None:
        self.conflicts = tuple(conflicts)
        self.facts = [(manager, path_text(path)) for manager, path in conflicts]
        by_manager: dict[str, list[str]] = {}
        for manager, path in self.conflicts:
            by_manager.setdefault(manager, []).append(path_text(path))
        count = len(self.conflicts)
        if count == 1:
            manager, path = self.conflicts[0]
            super().__init__(f"Apply failed with 1 conflict: conflict with {manager}: {path_text(path)}")
            return
        details = "\n".join(
            f"conflicts with {manager}:\n" + "\n".join(f"- {text}" for text in texts)
            for manager, texts in sorted(by_manager.items())
        )
        super().__init__(f"Apply failed with {count} conflicts: {details}")


class Manager(Value):
    """One entry of managedFields."""

    name: str
    operation: str
    api_version: str
    subresource: str
    time: str
    fields: FieldSet

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What tells entries apart; an applier keeps its entry over versions."""
        version = "" if self.operation == "Apply" else self.api_version
        return self.name, self.operation, version, self.subresource

    @property
    def described(self) -> str:
        """As conflict messages name the manager."""
        text = f'"{self.name}"'
        if self.subresource:
            text += f' with subresource "{self.subresource}"'
        return text if self.operation == "Apply" else f"{text} using {self.api_version}"

    def to_entry(self) -> JsonObject:
        """metav1.ManagedFieldsEntry."""
        entry: JsonObject = {
            "manager": self.name,
            "operation": self.operation,
            "apiVersion": self.api_version,
            "time": self.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": to_fields_v1(self.fields),
        }
        if self.subresource:
            entry["subresource"] = self.subresource
        return entry


def managers_of(obj: Mapping[str, Any]) -> list[Manager]:
    """The entries; none if one of them cannot be read."""
    entries = (obj.get("metadata") or {}).get("managedFields") or ()
    try:
        return [
            Manager(
                name=entry.get("manager") or "",
                operation=entry["operation"],
                api_version=entry.get("apiVersion") or "",
                subresource=entry.get("subresource") or "",
                time=entry.get("time") or "",
                fields=from_fields_v1(entry.get("fieldsV1") or {}),
            )
            for entry in entries
            if isinstance(entry, Mapping) and entry.get("operation") in ("Apply", "Update")
        ]
    except (ValueError, RecursionError):
        return []


def is_reset(obj: Mapping[str, Any]) -> bool:
    """Whether the writer asks for managedFields to be forgotten: a list of one empty entry."""
    return (obj.get("metadata") or {}).get("managedFields") == [{}]


class Writer(Value):
    """Who writes, through which version and subresource, and when.

    `has_status`: the status is written apart; `has_structs`: parts like the spec are there even when empty.
    """

    manager: str
    api_version: str
    subresource: str
    time: str
    has_status: bool = True
    has_structs: bool = True


def track_update(
    old: Mapping[str, Any] | None, new: JsonObject, writer: Writer, schema: Schema, walker: FieldWalker
) -> None:
    """Set `new`'s managedFields after an update (or create, with `old` None)."""
    if old is not None and is_reset(new):
        new["metadata"].pop("managedFields", None)
        return
    managers = managers_of(new) or managers_of(old or {})
    structs = _STRUCTS if writer.has_structs else {"metadata": {}}
    before_it = _bare(old) if old is not None else _empty_like(new, structs)
    comparison = walker.compare(before_it, _bare(new), schema)
    changed = _owned(comparison.changed, writer)
    managers = _without(managers, changed, comparison.removed)
    mine = Manager(writer.manager, "Update", writer.api_version, writer.subresource, writer.time, changed)
    before = next((each for each in managers if each.key == mine.key), None)
    if before is not None:
        managers.remove(before)
        fields = before.fields | changed
        mine = msgspec.structs.replace(mine, fields=fields, time=writer.time if changed else before.time)
    if mine.fields:
        managers.append(mine)
    _store(new, _capped(managers))


def apply_configuration(
    live: Mapping[str, Any], config: JsonObject, writer: Writer, schema: Schema, walker: FieldWalker, *, force: bool
) -> JsonObject:
    """`live` with `config` applied and managedFields told anew.

    Raises:
        ApplyConflictError: other managers own what would change, and `force` is not set.
        DuplicateItemError: the configuration names an item of a list twice.
    """
    walker.check_unique(_bare(config), schema)
    managers = managers_of(live)
    fields = _owned(walker.collect(_bare(config), schema), writer)
    mine = Manager(writer.manager, "Apply", writer.api_version, writer.subresource, writer.time, fields)
    before = next((each for each in managers if each.key == mine.key), None)
    others = [each for each in managers if each.key != mine.key]
    bare_live = _bare(live)
    merged = walker.merge(bare_live, _bare(config), schema)
    if before is not None:
        # appliers alone keep what this one no longer states, updaters do not
        kept = frozenset().union(fields, *(each.fields for each in others if each.operation == "Apply"))
        merged = walker.remove(merged, before.fields - kept, kept, schema) or {}
    comparison = walker.compare(bare_live, merged, schema)
    changed = _owned(comparison.changed, writer)
    conflicts = [(other.described, path) for other in others for path in sorted(other.fields & changed)]
    if conflicts and not force and writer.manager == _KUBECTL:
        handed_over = _last_applied(bare_live, schema, walker)
        conflicts = [(manager, path) for manager, path in conflicts if path not in handed_over]
    if conflicts and not force:
        raise ApplyConflictError(conflicts)
    others = _without(others, changed, comparison.removed)
    if before is not None and before.fields == fields and not changed and not comparison.removed:
        mine = msgspec.structs.replace(mine, time=before.time)
    result: JsonObject = {**merged, "metadata": {**live.get("metadata", {}), **merged.get("metadata", {})}}
    for name in ("labels", "annotations", "finalizers", "ownerReferences"):
        if name not in merged.get("metadata", {}):
            result["metadata"].pop(name, None)
    if writer.manager == _KUBECTL and (result["metadata"].get("annotations") or {}).get(LAST_APPLIED):
        annotations = {**result["metadata"]["annotations"], LAST_APPLIED: _as_last_applied(config)}
        result["metadata"]["annotations"] = annotations
    _store(result, _capped([*others, mine] if mine.fields else others))
    return result


def _last_applied(live: Mapping[str, Any], schema: Schema, walker: FieldWalker) -> FieldSet:
    """What client-side apply stated last and is still so: kubectl takes it over when the server applies."""
    text = (live["metadata"].get("annotations") or {}).get(LAST_APPLIED)
    try:
        stated = msgspec.json.decode(text or "null")
    except (msgspec.DecodeError, RecursionError):
        return frozenset()
    if not isinstance(stated, dict) or stated.get("apiVersion") != live.get("apiVersion"):
        return frozenset()
    bare = _bare(stated)
    comparison = walker.compare(bare, live, schema)
    return walker.collect(bare, schema) - comparison.changed - frozenset(comparison.removed)


def _as_last_applied(config: JsonObject) -> str:
    """The configuration as the annotation holds it, in Go's way, so that client-side apply goes on from here."""
    bare = {**config, "metadata": dict(config["metadata"])}
    if bare["metadata"].get("annotations"):
        given = bare["metadata"]["annotations"]
        bare["metadata"]["annotations"] = {name: value for name, value in given.items() if name != LAST_APPLIED}
    return msgspec.json.encode(bare, order="sorted").decode().translate(_GO_ESCAPES) + "\n"


# parts that are there even in an empty object, so that nobody is the one who made them
_STRUCTS: JsonObject = {
    "metadata": {},
    "spec": {"template": {"metadata": {}, "spec": {}}, "strategy": {}, "updateStrategy": {}},
    "status": {},
}


def _empty_like(obj: Mapping[str, Any], structs: JsonObject) -> JsonObject:
    return {name: _empty_like(obj[name], inner) for name, inner in structs.items() if isinstance(obj.get(name), dict)}


def _bare(obj: Mapping[str, Any]) -> JsonObject:
    """The object without managedFields."""
    meta = {key: value for key, value in (obj.get("metadata") or {}).items() if key != "managedFields"}
    return {**obj, "metadata": meta}


def _owned(paths: Iterable[FieldPath], writer: Writer) -> FieldSet:
    """The paths that somebody can own: through /status the status alone, elsewhere anything but it."""
    is_status = writer.subresource == "status"
    return frozenset(
        path
        for path in paths
        if path[:2] not in _UNOWNED
        and (path[0],) not in _NEVER_OWNED
        and (path[0] == _META or not writer.has_status or (path[0] == "f:status") == is_status)
    )


def _without(managers: Iterable[Manager], changed: FieldSet, removed: Iterable[FieldPath]) -> list[Manager]:
    """The managers after others' fields changed hands or went; those left with nothing are dropped."""
    gone = changed | frozenset(removed)
    left = []
    for manager in managers:
        fields = manager.fields - gone
        if fields:
            left.append(manager if fields == manager.fields else msgspec.structs.replace(manager, fields=fields))
    return left


def _capped(managers: list[Manager]) -> list[Manager]:
    """At most ten updaters: the oldest become one."""
    updaters = sorted((each for each in managers if each.operation == "Update"), key=lambda each: each.time)
    if len(updaters) <= MAX_UPDATE_MANAGERS:
        return managers
    old = updaters[: len(updaters) - MAX_UPDATE_MANAGERS + 1]
    fields: FieldSet = frozenset().union(*(each.fields for each in old))
    merged = msgspec.structs.replace(old[-1], name=ANCIENT, subresource="", fields=fields)
    return [*(each for each in managers if each not in old), merged]


def _store(obj: JsonObject, managers: list[Manager]) -> None:
    ordered = sorted(
        managers, key=lambda each: (each.operation, each.time, each.name, each.api_version, each.subresource)
    )
    if ordered:
        obj["metadata"]["managedFields"] = [each.to_entry() for each in ordered]
    else:
        obj["metadata"].pop("managedFields", None)
