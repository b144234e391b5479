"""A whole node in the storm: pod workers, image manager, garbage collection and a store, all real.

Only the API and the processes of containers are not: the API is in memory, and the runtime is the fake one, whose
containers here stand on root file systems of the real store, as the engine's do. Its clock is fast, so that the
kubelet's back-offs are short.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tests.faults.pull_world import World, open_world
from tests.unit.node.node_world import NAMESPACE, container, pod_object

from pullet.base.errors import PulletError
from pullet.cri.errors import CriError, NotFoundError
from pullet.cri.types import ContainerConfig, Image, PodSandboxConfig
from pullet.engine.store_images import StoreImages
from pullet.journal.journal import Journal
from pullet.kit.clock import Clock
from pullet.kit.worker_threads import WorkerThreads
from pullet.kube.scheme import PODS
from pullet.kube.status import NotFoundError as NoSuchObjectError
from pullet.node.node import Node
from pullet.node.settings import NodeSettings
from pullet.store.gc import Collected
from pullet.store.store import Store
from pullet.testing.api_fakes import FakeApi
from pullet.testing.clock import FastClock
from pullet.testing.cri_fakes import FakeRuntimeService

T = TypeVar("T")
START_SECONDS = 60.0
SPEED = 20.0
SETTINGS = NodeSettings(
    resolv_conf="/nonexistent",
    serialize_image_pulls=False,
    registry_pull_qps=0,
    image_minimum_gc_age="0s",
    event_record_qps=0,
    eviction_hard={},
)


class CountingStore(Store):
    """A store that remembers what its collections removed."""

    def __init__(self, *details: Any, **more: Any) -> None:
        self.removed: Counter[str] = Counter()
        self._counting = threading.Lock()
        super().__init__(*details, **more)

    def gc(self, *, is_plan: bool = False) -> Collected:
        found = super().gc(is_plan=is_plan)
        if not is_plan:
            with self._counting:
                self.removed.update((*found.layers, *found.blobs))
        return found


class StormRuntime(FakeRuntimeService):
    """The fake runtime over images of a store. What a container stands on is mounted while the container exists."""

    def __init__(self, clock: Clock, images: StoreImages, threads: WorkerThreads) -> None:
        super().__init__(clock, self, threads=threads)
        self._store_images, self._pool = images, threads
        self._shown: dict[str, Image] = {}
        self.roots: dict[str, Path] = {}  # by container id

    def find(self, image: str) -> Image | None:
        """What is known of the image of the container that is being created."""
        return self._shown.get(image)

    async def create_container(self, sandbox_id: str, config: ContainerConfig, sandbox_config: PodSandboxConfig) -> str:
        name = config.image.image
        image = await self._pool.run(_as_cri, lambda: self._store_images.find(name))
        if image is None:
            raise NotFoundError(f'failed to get image from containerd "{name}": image not found')
        self._shown[name] = Image(id=image.id, repo_tags=tuple(image.tags), repo_digests=tuple(image.digests))
        container_id = await super().create_container(sandbox_id, config, sandbox_config)
        try:
            self.roots[container_id] = await self._pool.run(
                _as_cri, lambda: self._store_images.prepare(container_id, image)
            )
        except CriError:
            await self.remove_container(container_id)
            raise
        return container_id

    async def remove_container(self, container_id: str) -> None:
        await super().remove_container(container_id)
        await self._release(container_id)

    async def remove_pod_sandbox(self, sandbox_id: str) -> None:
        gone = [each.id for each in await self.list_containers() if each.pod_sandbox_id == sandbox_id]
        await super().remove_pod_sandbox(sandbox_id)
        for container_id in gone:
            await self._release(container_id)

    async def _release(self, container_id: str) -> None:
        self.roots.pop(container_id, None)
        await self._pool.run(self._store_images.release, container_id)


def _as_cri(work: Callable[[], T]) -> T:
    """The image may be removed at any moment: the engine says so in the same way."""
    try:
        return work()
    except PulletError as error:
        raise CriError(f"failed to create container: {error}") from error


@dataclass(slots=True)
class StormNode:
    """A running node with what its test needs."""

    node: Node
    world: World
    store: CountingStore
    api: FakeApi
    runtime: StormRuntime
    journal: Journal
    clock: FastClock

    async def run_pod(self, name: str, *images: str) -> None:
        """Create a pod bound to the node, with a container for each image."""
        containers = [container(f"c{number}", image) for number, image in enumerate(images)]
        await self.api.create(PODS, NAMESPACE, pod_object(name, *containers, terminationGracePeriodSeconds=1))

    async def delete_pod(self, name: str) -> None:
        """Delete it gracefully, if it is still there."""
        try:
            await self.api.delete(PODS, NAMESPACE, name)
        except NoSuchObjectError:
            return

    def phases(self) -> dict[str, str]:
        """The phase of each pod."""
        return {pod["metadata"]["name"]: pod["status"].get("phase", "") for pod in self.api.objects(PODS)}

    def standing(self) -> list[str]:
        """The pods that are not being deleted."""
        every = (pod["metadata"] for pod in self.api.objects(PODS))
        return sorted(meta["name"] for meta in every if "deletionTimestamp" not in meta)

    async def converge(self, seconds: float) -> None:
        """Wait until every pod runs and none is going, within the bound."""
        async with asyncio.timeout(seconds):
            while self.phases() != dict.fromkeys(self.standing(), "Running"):
                await asyncio.sleep(0.05)


@asynccontextmanager
async def storm_node(root: Path, *urls: str) -> AsyncIterator[StormNode]:
    """A node below `root`; what containers of an earlier one, killed, stood on is let go first, as after a boot."""
    clock, threads = FastClock(SPEED), WorkerThreads("storm", 4)
    try:
        async with open_world(root / "store", urls=urls, store_type=CountingStore) as world:
            assert isinstance(world.store, CountingStore)
            images = StoreImages(world.store)
            await threads.run(images.release_others, ())
            api = FakeApi(clock)
            journal = await threads.run(Journal.open, root / "journal.db")
            try:
                runtime = StormRuntime(clock, images, threads)
                async with runtime, asyncio.TaskGroup() as group:
                    node = Node(
                        name="node1",
                        root=root / "node",
                        api=api,
                        images=world.service,
                        runtime=runtime,
                        journal=journal,
                        clock=clock,
                        settings=SETTINGS,
                        threads=threads,
                    )
                    running = group.create_task(node.run())
                    async with asyncio.timeout(START_SECONDS):
                        while node.image_gc is None:
                            await asyncio.sleep(0.01)
                    yield StormNode(node, world, world.store, api, runtime, journal, clock)
                    node.stop()
                    await running
            finally:
                await threads.run(journal.close)
    finally:
        await threads.aclose()
