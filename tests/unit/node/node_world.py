"""A node on fakes and fake time: API, images and runtime in memory, files in a temporary directory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp

from pullet.base.jsonvalue import JsonObject
from pullet.journal.pass_record import PassRecord
from pullet.kit.worker_threads import WorkerThreads
from pullet.kube.scheme import EVENTS, PODS
from pullet.node.node import Node
from pullet.node.settings import NodeSettings
from pullet.policy.image_pull import default_pull_policy
from pullet.testing.api_fakes import FakeApi
from pullet.testing.clock import FakeClock
from pullet.testing.cri_fakes import FakeRuntimeService
from pullet.testing.cri_image_fakes import FakeImageService

NAMESPACE = "shop"


@dataclass(slots=True)
class ListJournal:
    entries: list[PassRecord] = field(default_factory=list)

    async def append(self, record: PassRecord) -> None:
        self.entries.append(record)


@dataclass(slots=True)
class World:
    clock: FakeClock
    api: FakeApi
    images: FakeImageService
    runtime: FakeRuntimeService
    journal: ListJournal
    root: Path
    settings: NodeSettings
    threads: WorkerThreads
    jitter: float = 0.5
    serve: Callable[[ASGIApp], Coroutine[Any, Any, None]] | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Node]:
        """The node, running for the block and stopped at its end."""
        node = Node(
            name="node1",
            root=self.root,
            api=self.api,
            images=self.images,
            runtime=self.runtime,
            journal=self.journal,
            clock=self.clock,
            settings=self.settings,
            host_ips=("10.99.0.1",),
            random=lambda: self.jitter,
            serve=self.serve,
            threads=self.threads,
        )
        async with asyncio.TaskGroup() as group:
            running = group.create_task(node.run())
            await self.clock.advance(0.0)
            try:
                yield node
            finally:
                node.stop()
                await self.clock.advance(0.0)
                await running

    async def apply(self, name: str, *containers: JsonObject, **spec: Any) -> JsonObject:
        """Create a pod bound to the node, defaulted as the API server would."""
        pod = await self.api.create(PODS, NAMESPACE, pod_object(name, *containers, **spec))
        await self.clock.advance(0.0)
        return pod

    async def read(self, path: str) -> str:
        return await self.threads.run(Path(path).read_text)

    def pod(self, name: str) -> JsonObject | None:
        found = [each for each in self.api.objects(PODS) if each["metadata"]["name"] == name]
        return found[0] if found else None

    def status(self, name: str) -> JsonObject:
        pod = self.pod(name)
        assert pod is not None, f"pod {name} is gone"
        return pod.get("status") or {}

    def state(self, name: str, container: str = "c") -> JsonObject:
        status = self.status(name)
        every = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
        return next(each["state"] for each in every if each["name"] == container)

    def waiting(self, name: str, container: str = "c") -> tuple[str, str]:
        waiting = self.state(name, container)["waiting"]
        return waiting["reason"], waiting.get("message", "")

    def events(self, name: str) -> list[tuple[int, str, str, str, str]]:
        """(count, type, reason, field path, message) of the events about an object, in order of creation."""
        return [
            (
                each["count"],
                each["type"],
                each["reason"],
                each["involvedObject"].get("fieldPath", ""),
                each["message"],
            )
            for each in self.api.objects(EVENTS)
            if each["involvedObject"]["name"] == name
        ]

    def event_log(self, name: str) -> list[tuple[float, int, str, str]]:
        """(second, count, reason, message) of every write of an event about the object."""
        start = self.clock.now() - self.clock_elapsed
        return [
            (round((at - start).total_seconds(), 2), obj["count"], obj["reason"], obj["message"])
            for at, _, plural, obj in self.api.history
            if plural == "events" and obj["involvedObject"]["name"] == name
        ]

    @property
    def clock_elapsed(self) -> timedelta:
        return timedelta(seconds=self.clock.monotonic())


def container(name: str = "c", image: str = "nginx:1.17.1", **more: Any) -> JsonObject:
    """A container as the API server would have defaulted it."""
    return {"name": name, "image": image, "imagePullPolicy": str(default_pull_policy(image)), **more}


def pod_object(
    name: str, *containers: JsonObject, annotations: dict[str, str] | None = None, **spec: Any
) -> JsonObject:
    return {
        "metadata": {"name": name, "namespace": NAMESPACE, "annotations": annotations or {}, "labels": {"app": name}},
        "spec": {
            "nodeName": "node1",
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 30,
            "containers": list(containers) or [container()],
            **spec,
        },
        "status": {"phase": "Pending", "qosClass": "BestEffort"},
    }
