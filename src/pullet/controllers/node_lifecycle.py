"""Notices nodes that stopped reporting, and keeps the taints that follow from a node's condition.

    lease or heartbeat unchanged for 50 s ──► conditions Unknown ──► taint unreachable ──► taint_eviction
    Ready False ──► taint not-ready;  cordoned ──► taint unschedulable;  pressure ──► its taint
Source: kubernetes pkg/controller/nodelifecycle/node_lifecycle_controller.go.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pullet.base.jsonvalue import JsonObject
from pullet.controllers.informers import BY_NODE, Informers
from pullet.controllers.pods import condition_of, is_ready
from pullet.controllers.reconciler import Reconciler, Source, same_key
from pullet.kit.clock import Clock
from pullet.kube.meta import (
    format_time,
    is_deleting,
    metadata,
    name_of,
    namespace_of,
    object_reference,
    resource_version_of,
    uid_of,
)
from pullet.kube.scheme import LEASES, NODES, PODS
from pullet.kube.status import ConflictError, NotFoundError
from pullet.kubeclient.client import ApiClient
from pullet.kubeclient.event_recorder import EventRecorder
from pullet.kubeclient.object_cache import Key

log = logging.getLogger(__name__)

GRACE_SECONDS = 50.0
LEASE_NAMESPACE = "kube-node-lease"
NOT_READY, UNREACHABLE = "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"
_UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
_PRESSURE = {
    "MemoryPressure": "node.kubernetes.io/memory-pressure",
    "DiskPressure": "node.kubernetes.io/disk-pressure",
    "PIDPressure": "node.kubernetes.io/pid-pressure",
    "NetworkUnavailable": "node.kubernetes.io/network-unavailable",
}
_OURS = {NOT_READY, UNREACHABLE, _UNSCHEDULABLE, *_PRESSURE.values()}
_WATCHED_CONDITIONS = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")


def ready_status(node: Mapping[str, Any]) -> str:
    """True, False or Unknown; Unknown when nobody has said."""
    return str((condition_of(node, "Ready") or {}).get("status") or "Unknown")


def wanted_taints(node: Mapping[str, Any], now: datetime) -> list[JsonObject]:
    """The node's taints as its conditions and `unschedulable` ask for; foreign taints stay as they are."""
    spec = node.get("spec") or {}
    wanted: list[tuple[str, str]] = []
    status = ready_status(node)
    if status != "True":
        key = NOT_READY if status == "False" else UNREACHABLE
        wanted += [(key, "NoSchedule"), (key, "NoExecute")]
    wanted += [
        (key, "NoSchedule")
        for kind, key in _PRESSURE.items()
        if (condition_of(node, kind) or {}).get("status") == "True"
    ]
    if spec.get("unschedulable"):
        wanted.append((_UNSCHEDULABLE, "NoSchedule"))
    present: Sequence[JsonObject] = spec.get("taints") or []
    kept = [
        taint for taint in present if taint.get("key") not in _OURS or (taint.get("key"), taint.get("effect")) in wanted
    ]
    have = {(taint.get("key"), taint.get("effect")) for taint in kept}
    added: list[JsonObject] = []
    for key, effect in wanted:
        if (key, effect) not in have:
            added.append({"key": key, "effect": effect, "timeAdded": format_time(now)})
    return [*kept, *added]


def unknown_conditions(node: Mapping[str, Any], now: datetime) -> list[JsonObject]:
    """The conditions to patch when the node has fallen silent."""
    stamp = format_time(now)
    patched: list[JsonObject] = []
    for kind in _WATCHED_CONDITIONS:
        current = condition_of(node, kind)
        if current is None:
            created = metadata(node).get("creationTimestamp")
            reason, message = "NodeStatusNeverUpdated", "Kubelet never posted node status."
            patched.append(
                {"type": kind, "status": "Unknown", "reason": reason, "message": message,
                 "lastHeartbeatTime": created, "lastTransitionTime": stamp}
            )  # fmt: skip
        elif current.get("status") != "Unknown":
            reason, message = "NodeStatusUnknown", "Kubelet stopped posting node status."
            patched.append(
                {"type": kind, "status": "Unknown", "reason": reason, "message": message,
                 "lastHeartbeatTime": current.get("lastHeartbeatTime"), "lastTransitionTime": stamp}
            )  # fmt: skip
    return patched


class NodeLifecycleController:
    """Runs until cancelled; events are node-controller's."""

    def __init__(
        self,
        *,
        client: ApiClient,
        informers: Informers,
        recorder: EventRecorder,
        clock: Clock,
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        self._client = client
        self._clock = clock
        self._recorder = recorder
        self._grace_seconds = grace_seconds
        self._nodes = informers.of(NODES)
        self._pods = informers.of(PODS)
        leases = informers.of(LEASES, namespace=LEASE_NAMESPACE)
        self._leases = leases
        self._last_sign: dict[str, tuple[object, float]] = {}  # what the node said last, and when we saw it
        self._was_ready: dict[str, str] = {}
        self._reconciler = Reconciler(
            name="node-lifecycle",
            clock=clock,
            reconcile=self.reconcile,
            sources=(Source(self._nodes, same_key), Source(leases, lambda change: (("", change.key[1]),))),
            needs=(self._pods,),
        )

    async def run(self) -> None:
        """Reconcile until cancelled."""
        await self._reconciler.run()

    async def reconcile(self, key: Key) -> float | None:
        """Look at one node."""
        name = key[1]
        node = self._nodes.get(*key)
        if node is None:
            self._last_sign.pop(name, None)
            self._was_ready.pop(name, None)
            return None
        if name not in self._last_sign:
            message = f"Node {name} event: Registered Node {name} in Controller"
            self._recorder.event(_node_reference(node), "Normal", "RegisteredNode", message)
        silent_seconds = self._silent_seconds(node)
        if silent_seconds >= self._grace_seconds:
            node = await self._mark_unknown(node)
        await self._follow_ready(node)
        await self._write_taints(node)
        return max(self._grace_seconds - silent_seconds, self._grace_seconds / 10)

    def _silent_seconds(self, node: JsonObject) -> float:
        name, now = name_of(node), self._clock.monotonic()
        lease = self._leases.get(LEASE_NAMESPACE, name) or {}
        ready = condition_of(node, "Ready") or {}
        sign = ((lease.get("spec") or {}).get("renewTime"), ready.get("lastHeartbeatTime"), uid_of(node))
        known = self._last_sign.get(name)
        if known is None or known[0] != sign:
            self._last_sign[name] = (sign, now)
            return 0.0
        return now - known[1]

    async def _mark_unknown(self, node: JsonObject) -> JsonObject:
        conditions = unknown_conditions(node, self._clock.now())
        if not conditions:
            return node
        log.warning("node fell silent", extra={"node": name_of(node)})
        patch: JsonObject = {"metadata": {"uid": uid_of(node)}, "status": {"conditions": conditions}}
        written = await self._client.patch(NODES, None, name_of(node), patch, kind="strategic", subresource="status")
        self._nodes.observe(written)
        return written

    async def _follow_ready(self, node: JsonObject) -> None:
        """On the way from Ready to anything else, say so and take the node's pods out of service."""
        name, status = name_of(node), ready_status(node)
        before = self._was_ready.get(name)
        if before == "True" and status != "True":
            message = f"Node {name} status is now: NodeNotReady"
            self._recorder.event(_node_reference(node), "Normal", "NodeNotReady", message)
            for pod in self._pods.by_index(BY_NODE, name):
                if is_ready(pod) and not is_deleting(pod):
                    await self._mark_unready(pod)
        self._was_ready[name] = status

    async def _mark_unready(self, pod: JsonObject) -> None:
        condition = dict(condition_of(pod, "Ready") or {}) | {
            "status": "False",
            "lastTransitionTime": format_time(self._clock.now()),
        }
        self._recorder.event(object_reference(pod), "Warning", "NodeNotReady", "Node is not ready")
        patch: JsonObject = {"metadata": {"uid": uid_of(pod)}, "status": {"conditions": [condition]}}
        try:
            await self._client.patch(
                PODS, namespace_of(pod), name_of(pod), patch, kind="strategic", subresource="status"
            )
        except (NotFoundError, ConflictError):
            return

    async def _write_taints(self, node: JsonObject) -> None:
        taints = wanted_taints(node, self._clock.now())
        if taints == ((node.get("spec") or {}).get("taints") or []):
            return
        meta = {"resourceVersion": resource_version_of(node)}
        patch: JsonObject = {"metadata": meta, "spec": {"taints": taints or None}}
        self._nodes.observe(await self._client.patch(NODES, None, name_of(node), patch))


def _node_reference(node: JsonObject) -> JsonObject:
    """How node events name their node: without a resourceVersion."""
    return {"kind": "Node", "name": name_of(node), "uid": uid_of(node), "apiVersion": "v1"}
