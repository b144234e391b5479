"""A control plane for tests: the real API server and controllers, with a kubelet that only pretends to run pods."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

from pullet.apiserver.server import ApiServer
from pullet.apiserver.settings import ApiServerSettings
from pullet.base.jsonvalue import JsonObject
from pullet.controllers.controller_manager import ControllerManager
from pullet.kit.clock import SystemClock
from pullet.kit.worker_threads import WorkerThreads
from pullet.kube.meta import format_time, is_deleting, name_of, namespace_of, uid_of
from pullet.kube.scheme import EVENTS, NODES, PODS, SERVICEACCOUNTS, Resource
from pullet.kube.status import ConflictError, NotFoundError
from pullet.kubeclient.client import ApiClient

CLOCK = SystemClock()


class PretendKubelet:
    """Reports bound pods as running and ready (or as `outcome` says), and lets deleted ones go."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client
        self.outcome: Callable[[JsonObject], str] = lambda pod: "Running"

    async def run(self) -> None:
        """Pretend until cancelled."""
        while True:
            async with aclosing(self._client.watch(PODS)) as events:
                async for event in events:
                    if event.type in ("ADDED", "MODIFIED"):
                        try:
                            await self._look(event.object)
                        except (NotFoundError, ConflictError):
                            continue

    async def _look(self, pod: JsonObject) -> None:
        namespace, name = namespace_of(pod), name_of(pod)
        if not pod["spec"].get("nodeName"):
            return
        if is_deleting(pod):
            await self._client.delete(PODS, namespace, name, grace_period_seconds=0, uid=uid_of(pod))
            return
        phase = self.outcome(pod)
        if (pod.get("status") or {}).get("phase") == phase:
            return
        stamp = format_time(CLOCK.now())
        ready = "True" if phase == "Running" else "False"
        status: JsonObject = {
            "phase": phase,
            "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": stamp}],
        }
        patch: JsonObject = {"metadata": {"uid": uid_of(pod)}, "status": status}
        await self._client.patch(PODS, namespace, name, patch, kind="strategic", subresource="status")


class ControlPlane:
    """What a test works with."""

    def __init__(self, client: ApiClient, kubelet: PretendKubelet) -> None:
        self.client = client
        self.kubelet = kubelet

    async def add_node(self, name: str = "n1", **spec: Any) -> None:
        """A Ready node with 4 CPUs and 8 GiB."""
        room = {"cpu": "4", "memory": "8Gi", "pods": "110"}
        stamp = format_time(CLOCK.now())
        condition = {"type": "Ready", "status": "True", "reason": "KubeletReady", "lastHeartbeatTime": stamp}
        status = {"capacity": room, "allocatable": room, "conditions": [condition]}
        node: JsonObject = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": spec}
        await self.client.create(NODES, None, node)
        await self.client.patch(NODES, None, name, {"status": status}, subresource="status")

    async def until(self, what: str, check: Callable[[], Any], seconds: float = 15.0) -> Any:
        """Wait for an awaited check to answer something true."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    try:
                        found = await check()
                    except NotFoundError:
                        found = None
                    if found:
                        return found
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"waited {seconds} s in vain: {what}") from None

    async def until_status(
        self, resource: Resource, name: str, namespace: str = "default", **wanted: Any
    ) -> JsonObject:
        """Wait until the status has these members."""
        last: JsonObject = {}

        async def check() -> JsonObject | None:
            nonlocal last
            obj = await self.client.get(resource, namespace, name)
            last = obj.get("status") or {}
            generation = obj["metadata"].get("generation", 0)
            is_seen = last.get("observedGeneration", generation) >= generation  # jobs do not say
            return obj if is_seen and all(last.get(field, 0) == value for field, value in wanted.items()) else None

        try:
            return await self.until(f"{resource} {name} to have {wanted}", check)  # type: ignore[no-any-return]  # checked
        except AssertionError as error:
            raise AssertionError(f"{error}; it has {last}") from None

    async def events(self, name: str, kind: str = "", namespace: str = "default") -> list[str]:
        """`Reason message` of the events about an object, oldest first."""
        items = (await self.client.list(EVENTS, namespace)).items
        items.sort(key=lambda item: item["metadata"]["name"])
        return [
            f"{item['reason']} {item['message']}"
            for item in items
            if item["involvedObject"]["name"] == name and kind in ("", item["involvedObject"]["kind"])
        ]

    async def pods(self, namespace: str = "default") -> list[JsonObject]:
        """The pods of a namespace."""
        return (await self.client.list(PODS, namespace)).items


@asynccontextmanager
async def running_control_plane(root: Path) -> AsyncIterator[ControlPlane]:
    """API server and controllers with their state below `root`, ready when the block begins."""
    settings = ApiServerSettings(port=0)
    threads = WorkerThreads("test-kubeconfig", 1)
    async with ApiServer(root=root, settings=settings, clock=CLOCK) as server, asyncio.TaskGroup() as group:
        serving = group.create_task(server.run())
        client = await ApiClient.open(server.kubeconfig_path, threads=threads)
        manager = ControllerManager(client=client, clock=CLOCK, root_ca="PEM", instance="host")
        kubelet = PretendKubelet(client)
        controlling = group.create_task(manager.run())
        pretending = group.create_task(kubelet.run())
        try:
            cluster = ControlPlane(client, kubelet)
            await cluster.until("the default ServiceAccount", lambda: client.get(SERVICEACCOUNTS, "default", "default"))
            yield cluster
        finally:
            for task in (pretending, controlling):
                task.cancel()
            await asyncio.wait([pretending, controlling])
            await client.aclose()
            await threads.aclose()
            serving.cancel()
