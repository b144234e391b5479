"""The node's own object: registration, status, and the lease that says it lives.

Source: kubernetes pkg/kubelet/{kubelet_node_status,nodestatus/setters,util/nodelease}.go; kubelet-images spec 18.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from pullet.base.jsonvalue import JsonObject
from pullet.base.values import Value
from pullet.cri.types import Image, VersionResponse
from pullet.kit.clock import Clock
from pullet.kube import reasons
from pullet.kube.meta import format_micro_time, format_time
from pullet.kube.scheme import LEASES, NODES
from pullet.kube.status import AlreadyExistsError, ApiError, NotFoundError
from pullet.kubeclient.client import ApiClient
from pullet.node.events import EventSink
from pullet.node.machine import DiskSpace, Machine
from pullet.node.settings import NodeSettings
from pullet.policy.eviction import DISK_PRESSURE, MEMORY_PRESSURE

log = logging.getLogger(__name__)

LEASE_NAMESPACE = "kube-node-lease"
MAX_NAMES_PER_IMAGE = 5
MEMORY_EVICTION_BYTES = 100 << 20
RETRY_SECONDS = 1.0


class NodeIdentity(Value, kw_only=True):
    """Who the node is. `port` is where its server listens."""

    name: str
    host_ips: tuple[str, ...]
    port: int
    version: str  # of the node itself, e.g. v1.36.0+pullet-0.1.0
    runtime: VersionResponse


class NodeHealth(Value, kw_only=True):
    """What changes. `problems` are why the node is not ready, worded as the kubelet does."""

    problems: tuple[str, ...]
    disk: DiskSpace
    images: Sequence[Image]
    pressures: Sequence[str] = ()  # conditions such as DiskPressure


def node_object(identity: NodeIdentity, machine: Machine, settings: NodeSettings) -> JsonObject:
    """The object to register."""
    labels = {
        "beta.kubernetes.io/arch": machine.architecture,
        "beta.kubernetes.io/os": "linux",
        "kubernetes.io/arch": machine.architecture,
        "kubernetes.io/hostname": identity.name,
        "kubernetes.io/os": "linux",
        **settings.node_labels,
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": identity.name, "labels": labels},
        "spec": {},
    }


def node_status(
    identity: NodeIdentity,
    machine: Machine,
    settings: NodeSettings,
    health: NodeHealth,
    *,
    old: JsonObject,
    now: datetime,
) -> JsonObject:
    """The whole status; heartbeat and transition times follow `old`."""
    return {
        "addresses": [
            *({"type": "InternalIP", "address": ip} for ip in identity.host_ips),
            {"type": "Hostname", "address": identity.name},
        ],
        "capacity": _resources(machine, settings, health.disk.capacity_bytes, machine.memory_bytes),
        "allocatable": _resources(
            machine,
            settings,
            health.disk.capacity_bytes * 9 // 10,
            max(machine.memory_bytes - MEMORY_EVICTION_BYTES, 0),
        ),
        "conditions": _conditions(health, old=old.get("conditions") or (), now=format_time(now)),
        "daemonEndpoints": {"kubeletEndpoint": {"Port": identity.port}},
        "nodeInfo": {
            "architecture": machine.architecture,
            "bootID": machine.boot_id,
            "containerRuntimeVersion": f"{identity.runtime.runtime_name}://{identity.runtime.runtime_version}",
            "kernelVersion": machine.kernel_version,
            "kubeProxyVersion": "",
            "kubeletVersion": identity.version,
            "machineID": machine.machine_id,
            "operatingSystem": "linux",
            "osImage": machine.os_image,
            "systemUUID": machine.system_uuid,
        },
        "images": node_images(health.images, settings.node_status_max_images),
    }


def node_images(images: Sequence[Image], maximum: int) -> list[JsonObject]:
    """Biggest first, at most `maximum` (−1: all), five names each (spec 18)."""
    ordered = sorted(images, key=lambda image: (image.size_bytes, image.id), reverse=True)
    shown = ordered if maximum < 0 else ordered[:maximum]
    return [
        {"names": [*image.repo_digests, *image.repo_tags][:MAX_NAMES_PER_IMAGE], "sizeBytes": image.size_bytes}
        for image in shown
    ]


def _resources(machine: Machine, settings: NodeSettings, disk_bytes: int, memory_bytes: int) -> JsonObject:
    return {
        "cpu": str(machine.cpus),
        "ephemeral-storage": str(disk_bytes),
        "hugepages-1Gi": "0",
        "hugepages-2Mi": "0",
        "memory": f"{memory_bytes // 1024}Ki",
        "pods": str(settings.max_pods),
    }


def _conditions(health: NodeHealth, *, old: Sequence[JsonObject], now: str) -> list[JsonObject]:
    is_disk_low, is_memory_low = DISK_PRESSURE in health.pressures, MEMORY_PRESSURE in health.pressures
    ready_message = "kubelet is posting ready status"
    if health.problems:
        ready_message = f"[{', '.join(health.problems)}]" if len(health.problems) > 1 else health.problems[0]
    wanted = [
        (
            MEMORY_PRESSURE,
            is_memory_low,
            "KubeletHasInsufficientMemory" if is_memory_low else "KubeletHasSufficientMemory",
            f"kubelet has {'in' if is_memory_low else ''}sufficient memory available",
        ),
        (
            DISK_PRESSURE,
            is_disk_low,
            "KubeletHasDiskPressure" if is_disk_low else "KubeletHasNoDiskPressure",
            "kubelet has disk pressure" if is_disk_low else "kubelet has no disk pressure",
        ),
        ("PIDPressure", False, "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ("Ready", not health.problems, "KubeletNotReady" if health.problems else "KubeletReady", ready_message),
    ]
    before = {each["type"]: each for each in old}
    conditions = []
    for kind, is_true, reason, message in wanted:
        status = "True" if is_true else "False"
        previous = before.get(kind, {})
        changed_at = previous.get("lastTransitionTime") if previous.get("status") == status else None
        conditions.append(
            {
                "type": kind,
                "status": status,
                "lastHeartbeatTime": now,
                "lastTransitionTime": changed_at or now,
                "reason": reason,
                "message": message,
            }
        )
    foreign = [dict(each) for each in old if each["type"] not in {kind for kind, *_ in wanted}]
    return [*foreign, *conditions]


class NodeStatusUpdater:
    """Registers the node and keeps its status and lease."""

    def __init__(
        self,
        *,
        api: ApiClient,
        identity: NodeIdentity,
        machine: Machine,
        settings: NodeSettings,
        health: Callable[[], NodeHealth],
        events: EventSink,
        clock: Clock,
    ) -> None:
        self._api, self._identity, self._machine, self._settings = api, identity, machine, settings
        self._health, self._events, self._clock = health, events, clock
        self._written: JsonObject = {}
        self._written_at = float("-inf")
        self._uid = ""

    @property
    def reference(self) -> JsonObject:
        """The involvedObject of events about the node; its uid is the name, as the kubelet has it."""
        return {"kind": "Node", "apiVersion": "v1", "name": self._identity.name, "uid": self._identity.name}

    @property
    def allocatable(self) -> dict[str, str]:
        """What pods may ask for."""
        return dict(self._written.get("allocatable") or {})

    async def register(self) -> None:
        """Make the node object exist with our labels and a first status; tries until the API server answers."""
        while True:
            try:
                await self._register()
                return
            except ApiError as error:
                log.warning("node not registered yet", extra={"node": self._identity.name, "error": str(error)})
            await self._clock.sleep(RETRY_SECONDS)

    async def run_status(self) -> None:
        """Write the status when it changed, and every report period all the same; until cancelled."""
        while True:
            await self._clock.sleep(self._settings.node_status_update_seconds)
            try:
                await self.update()
            except NotFoundError:
                await self.register()
            except ApiError as error:
                log.warning("node status not written", extra={"node": self._identity.name, "error": str(error)})

    async def run_lease(self) -> None:
        """Renew the lease four times per duration, until cancelled."""
        period = self._settings.node_lease_duration_seconds / 4
        while True:
            try:
                await self._renew_lease()
            except ApiError as error:
                log.warning("node lease not renewed", extra={"node": self._identity.name, "error": str(error)})
            await self._clock.sleep(period)

    async def announce(self) -> None:
        """Write a status that changed at once; what fails is tried again with the next turn."""
        try:
            await self.update()
        except ApiError as error:
            log.warning("node status not written", extra={"node": self._identity.name, "error": str(error)})

    async def update(self) -> None:
        """Write the status if it is due.

        Raises:
            ApiError: it was not written.
        """
        now = self._clock.monotonic()
        status = node_status(
            self._identity,
            self._machine,
            self._settings,
            self._health(),
            old=self._written,
            now=self._clock.now(),
        )
        is_same = _without_heartbeats(status) == _without_heartbeats(self._written)
        if is_same and now - self._written_at < self._settings.node_status_report_seconds:
            return
        await self._api.patch(NODES, None, self._identity.name, {"status": status}, kind="merge", subresource="status")
        self._report_changes(status)
        self._written, self._written_at = status, now

    async def _register(self) -> None:
        wanted = node_object(self._identity, self._machine, self._settings)
        try:
            node = await self._api.create(NODES, None, wanted)
        except AlreadyExistsError:
            labels = {"metadata": {"labels": wanted["metadata"]["labels"]}}
            node = await self._api.patch(NODES, None, self._identity.name, labels, kind="merge")
        self._uid = str(node["metadata"].get("uid", ""))
        self._written = dict(node.get("status") or {})
        self._written_at = float("-inf")
        self._events.event(self.reference, reasons.NORMAL, reasons.STARTING, "Starting kubelet.")
        await self.update()

    def _report_changes(self, status: JsonObject) -> None:
        texts = {
            ("MemoryPressure", "False"): reasons.NODE_HAS_SUFFICIENT_MEMORY,
            ("MemoryPressure", "True"): reasons.NODE_HAS_INSUFFICIENT_MEMORY,
            ("DiskPressure", "False"): reasons.NODE_HAS_NO_DISK_PRESSURE,
            ("DiskPressure", "True"): reasons.NODE_HAS_DISK_PRESSURE,
            ("PIDPressure", "False"): reasons.NODE_HAS_SUFFICIENT_PID,
            ("Ready", "True"): reasons.NODE_READY,
            ("Ready", "False"): reasons.NODE_NOT_READY,
        }
        before = {each["type"]: each["status"] for each in self._written.get("conditions") or ()}
        for condition in status["conditions"]:
            key = (condition["type"], condition["status"])
            if before.get(key[0]) != key[1] and key in texts:
                text = f"Node {self._identity.name} status is now: {texts[key]}"
                self._events.event(self.reference, reasons.NORMAL, texts[key], text)

    async def _renew_lease(self) -> None:
        name = self._identity.name
        spec: dict[str, Any] = {
            "holderIdentity": name,
            "leaseDurationSeconds": self._settings.node_lease_duration_seconds,
            "renewTime": format_micro_time(self._clock.now()),
        }
        try:
            await self._api.patch(LEASES, LEASE_NAMESPACE, name, {"spec": spec}, kind="merge")
        except NotFoundError:
            owner = {"apiVersion": "v1", "kind": "Node", "name": name, "uid": self._uid}
            lease = {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": name, "namespace": LEASE_NAMESPACE, "ownerReferences": [owner]},
                "spec": spec,
            }
            await self._api.create(LEASES, LEASE_NAMESPACE, lease)


def _without_heartbeats(status: JsonObject) -> JsonObject:
    conditions = [
        {key: value for key, value in each.items() if key != "lastHeartbeatTime"}
        for each in status.get("conditions") or ()
    ]
    return {**status, "conditions": conditions}
