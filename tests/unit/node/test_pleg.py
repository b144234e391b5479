"""What wakes a pod's worker: what its last sync has not seen, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.unit.node.node_world import World

from pullet.cri.types import (
    ContainerConfig,
    ContainerMetadata,
    ImageSpec,
    PodSandboxConfig,
    PodSandboxMetadata,
)
from pullet.node.pleg import RELIST_SECONDS, Pleg
from pullet.node.pod_cache import PodCache
from pullet.policy.runtime_status import LABEL_CONTAINER_NAME, LABEL_POD_UID

LABELS = {LABEL_POD_UID: "u", LABEL_CONTAINER_NAME: "c"}
SANDBOX = PodSandboxConfig(metadata=PodSandboxMetadata("a", "u", "ns", 0), labels=LABELS)
IMAGE = "busybox:1.36"


@dataclass(kw_only=True)
class Watched:
    """A pod's runtime, and what its worker and its probes were told."""

    world: World
    cache: PodCache
    wakes: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)

    async def start(self) -> str:
        """What a sync does: a sandbox, a container in it."""
        runtime = self.world.runtime
        sandbox = await runtime.run_pod_sandbox(SANDBOX)
        config = ContainerConfig(metadata=ContainerMetadata("c", 0), image=ImageSpec(IMAGE), labels=LABELS)
        container = await runtime.create_container(sandbox, config, SANDBOX)
        await runtime.start_container(container)
        return container

    async def settle(self, seconds: float = 0.0) -> None:
        await self.world.clock.advance(seconds)


@asynccontextmanager
async def watched(world: World) -> AsyncIterator[Watched]:
    world.images.load(IMAGE)
    cache = PodCache(runtime=world.runtime, threads=world.threads)
    seen = Watched(world=world, cache=cache)
    pleg = Pleg(
        runtime=world.runtime, cache=cache, clock=world.clock, notice=seen.notices.append, wake=seen.wakes.append
    )
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(pleg.run_events()), group.create_task(pleg.run_relist())]
        await seen.settle()
        try:
            yield seen
        finally:
            for task in tasks:
                task.cancel()


async def test_a_start_that_no_sync_has_seen_wakes(world: World) -> None:
    async with watched(world) as seen:
        await seen.cache.look("u")
        await seen.start()
        await seen.settle()
        assert "u" in seen.wakes


async def test_events_that_come_after_a_sync_has_looked_wake_nobody(world: World) -> None:
    """A pod's start costs one sync more, however late the events of it arrive (golden 17: `Pulled` twice)."""
    async with watched(world) as seen:
        await seen.start()
        await seen.cache.look("u")  # the sync is faster than the events
        await seen.settle()
        assert (seen.wakes, set(seen.notices)) == ([], {"u"})  # probes are told all the same
        await seen.settle(2 * RELIST_SECONDS)
        assert seen.wakes == []


async def test_an_end_wakes(world: World) -> None:
    async with watched(world) as seen:
        container = await seen.start()
        await seen.settle()
        await seen.cache.look("u")
        seen.wakes.clear()
        world.runtime.finish(container, 1)
        await seen.settle()
        assert seen.wakes == ["u"]


async def test_a_running_container_that_vanished_wakes_but_a_dead_one_removed_does_not(world: World) -> None:
    async with watched(world) as seen:
        container = await seen.start()
        await seen.settle()
        await seen.cache.look("u")
        seen.wakes.clear()
        world.runtime.finish(container)
        await seen.settle()
        await seen.cache.look("u")
        seen.wakes.clear()
        await world.runtime.remove_container(container)
        await seen.settle(2 * RELIST_SECONDS)
        assert seen.wakes == []
        await world.runtime.remove_pod_sandbox((await world.runtime.list_pod_sandbox())[0].id)
        await seen.settle(2 * RELIST_SECONDS)
        assert seen.wakes
