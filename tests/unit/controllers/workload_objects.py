"""Pods as the tests of controllers need them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from pullet.base.jsonvalue import JsonObject
from pullet.kube.meta import format_time, name_of

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def pod(name: str, phase: str = "Running", *, ready: bool = True, deleting: bool = False, **more: Any) -> JsonObject:
    meta: JsonObject = {
        "name": name,
        "namespace": "ns",
        "uid": f"uid-{name}",
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }
    meta |= more.get("meta", {})
    if deleting:
        meta["deletionTimestamp"] = "2026-01-01T11:59:00Z"
    since = format_time(NOW - timedelta(seconds=more.get("ready_for", 3600)))
    condition = {
        "type": "Ready",
        "status": "True" if ready and phase == "Running" else "False",
        "lastTransitionTime": since,
    }
    return {
        "metadata": meta,
        "spec": {"nodeName": more.get("node", "n1")},
        "status": {"phase": phase, "conditions": [condition]} | more.get("status", {}),
    }


def names(pods: list[JsonObject]) -> list[str]:
    return [name_of(item) for item in pods]
