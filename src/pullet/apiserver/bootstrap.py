"""What a cluster holds from its first moment, and what the server throws away by itself."""

from __future__ import annotations

import uuid
from datetime import timedelta

from pullet.apiserver.storage import Storage
from pullet.base.jsonvalue import JsonObject
from pullet.kit.clock import Clock
from pullet.kube import scheme
from pullet.kube.meta import format_time, parse_time
from pullet.policy.object_defaulting import NAMESPACE_LABEL

NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")


async def ensure_namespaces(storage: Storage, clock: Clock) -> None:
    """The four namespaces every cluster has."""
    async with storage.transaction() as transaction:
        for name in NAMESPACES:
            if transaction.get(scheme.NAMESPACES.storage_key, "", name) is None:
                transaction.put(scheme.NAMESPACES.storage_key, _namespace(name, format_time(clock.now())))


def _namespace(name: str, created: str) -> JsonObject:
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": name,
            "uid": str(uuid.uuid4()),
            "creationTimestamp": created,
            "labels": {NAMESPACE_LABEL: name},
        },
        "spec": {"finalizers": ["kubernetes"]},
        "status": {"phase": "Active"},
    }


async def expire_events(storage: Storage, clock: Clock, ttl_seconds: int) -> int:
    """Remove events last seen longer ago than the TTL; how many went."""
    limit = clock.now() - timedelta(seconds=ttl_seconds)
    async with storage.transaction() as transaction:
        old = [
            record for record in storage.list(scheme.EVENTS.storage_key) if _last_seen(record.obj) < limit.timestamp()
        ]
        for record in old:
            transaction.remove(scheme.EVENTS.storage_key, record)
    return len(old)


def _last_seen(event: JsonObject) -> float:
    series = event.get("series") or {}
    text = series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime")
    moment = parse_time(text or event["metadata"].get("creationTimestamp"))
    return moment.timestamp() if moment else 0.0
