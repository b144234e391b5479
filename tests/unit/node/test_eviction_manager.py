"""A node under pressure: condition, events, what is freed, who is evicted, who is refused."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import msgspec
from tests.unit.node.node_world import World, container

from pullet.cri.errors import CriError
from pullet.kit.tasks import Supervisor
from pullet.kube.scheme import NODES
from pullet.node.container_gc import ContainerGC
from pullet.node.eviction_manager import EvictionManager
from pullet.node.eviction_signals import EvictionSignals, PodUses
from pullet.node.metrics import NodeMetrics
from pullet.node.pod_cache import PodCache
from pullet.node.pod_paths import PodPaths
from pullet.node.pod_workers import PodWorkers
from pullet.node.settings import NodeSettings
from pullet.policy.eviction import DEFAULT_EVICTION_HARD, EvictionSignal, Observation, parse_thresholds
from pullet.testing.cri_fakes import RemoteImage

MIB = 1 << 20
ALWAYS_SHORT = {"imagefs.available": "9999Ti"}
SHORT = "Threshold quantity: 9999Ti, available: "


def condition(world: World, kind: str) -> tuple[str, str]:
    (node,) = world.api.objects(NODES)
    (found,) = [each for each in node["status"]["conditions"] if each["type"] == kind]
    return found["status"], found["reason"]


def pressed(world: World, hard: dict[str, str] = ALWAYS_SHORT, **settings: Any) -> None:
    world.settings = msgspec.structs.replace(NodeSettings(), eviction_hard=hard, **settings)


def load(world: World, *names: str) -> None:
    for name in names:
        world.images.load(f"{name}:1.0", RemoteImage(name, size_bytes=2000))


async def test_the_node_says_so_and_removes_unused_images(world: World) -> None:
    load(world, "used", "unused")
    pressed(world)
    async with world.running():
        await world.apply("vital", container("c", "used:1.0"), priority=2_000_000_000)
        assert condition(world, "DiskPressure") == ("True", "KubeletHasDiskPressure")
        assert {"EvictionThresholdMet", "NodeHasDiskPressure"} <= {event[2] for event in world.events("node1")}
        await world.clock.advance(130)  # beyond the minimal age of images
        names = [tag for image in await world.images.list_images() for tag in image.repo_tags]
        assert names == ["docker.io/library/used:1.0"]
        assert list(world.runtime.running()) == ["c"]


async def test_the_greediest_pod_goes_first_and_one_at_a_time(world: World) -> None:
    load(world, "a", "b")
    world.settings = NodeSettings()
    async with world.running():
        await world.apply("modest", container("small", "a:1.0"))
        await world.apply("greedy", container("big", "b:1.0"))
        await world.apply("vital", container("needed", "a:1.0"), priority=2_000_000_000)
        world.runtime.used = {"small": (MIB, 0), "big": (50 * MIB, 0), "needed": (900 * MIB, 0)}
    pressed(world)
    async with world.running():
        await world.clock.advance(0)
        status = world.status("greedy")
        assert (status["phase"], status["reason"]) == ("Failed", "Evicted")
        assert status["message"].startswith(f"The node was low on resource: ephemeral-storage. {SHORT}")
        used = r"Container big was using (50Mi|\d+Ki), request is 0, has larger consumption of ephemeral-storage\. $"
        assert re.search(used, status["message"]), "its layer and its log"
        (target,) = [each for each in status["conditions"] if each["type"] == "DisruptionTarget"]
        assert (target["status"], target["reason"]) == ("True", "TerminationByKubelet")
        assert target["message"] == status["message"]
        assert [(each[1], each[2]) for each in world.events("greedy")][-2:] == [
            ("Warning", "Evicted"),
            ("Normal", "Killing"),
        ]
        assert world.status("modest")["phase"] == "Running"
        await world.clock.advance(5)
        assert world.status("modest")["reason"] == "Evicted"
        await world.clock.advance(60)
        assert world.status("vital")["phase"] == "Running"
        left = [each.metadata.name for each in await world.runtime.list_containers()]
        assert left == ["needed"], "what the evicted wrote is gone with their containers"


async def test_new_pods_are_refused_and_running_ones_are_not_asked_again(world: World) -> None:
    load(world, "a")
    pressed(world, {"imagefs.available": "9999Ti"})
    async with world.running():
        await world.apply("vital", container("c", "a:1.0"), priority=2_000_000_000)
        await world.apply("late", container("c", "a:1.0"))
        status = world.status("late")
        assert (status["phase"], status["reason"]) == ("Failed", "Evicted")
        assert status["message"] == "Pod was rejected: The node had condition: [DiskPressure]. "
        assert [each[1:3] + each[4:] for each in world.events("late")] == [
            ("Warning", "Evicted", "The node had condition: [DiskPressure]. ")
        ]
        assert world.status("vital")["phase"] == "Running"
        assert "containerStatuses" not in status
        assert "late" not in {each.metadata.name for each in await world.runtime.list_pod_sandbox()}


async def test_memory_is_not_freed_by_removing_images_but_by_ending_who_uses_most_of_it(world: World) -> None:
    load(world, "a", "b", "unused")
    world.settings = NodeSettings(eviction_hard={})
    async with world.running():
        await world.apply("asked", container("frugal", "a:1.0", resources={"requests": {"memory": "64Mi"}}))
        await world.apply("idle", container("little", "a:1.0"))
        await world.apply("hungry", container("much", "b:1.0"))
        world.runtime.used = {"frugal": (900 * MIB, 60 * MIB), "little": (0, MIB), "much": (0, 50 * MIB)}
        await world.clock.advance(130)
    pressed(world, {"memory.available": "9999Ti"})
    async with world.running():
        assert condition(world, "MemoryPressure") == ("True", "KubeletHasInsufficientMemory")
        assert condition(world, "DiskPressure")[0] == "False"
        status = world.status("hungry")
        assert status["reason"] == "Evicted"
        assert status["message"].startswith(
            "The node was low on resource: memory. Threshold quantity: 9999Ti, available: "
        )
        assert status["message"].endswith(
            "Container much was using 50Mi, request is 0, has larger consumption of memory. "
        )
        await world.clock.advance(5)
        assert world.status("idle")["reason"] == "Evicted"
        names = {tag for image in await world.images.list_images() for tag in image.repo_tags}
        assert "docker.io/library/unused:1.0" in names
        await world.apply("besteffort", container("c", "a:1.0"))
        assert world.status("besteffort")["message"].endswith("The node had condition: [MemoryPressure]. ")


class Disk:
    """A file system of a thousand blocks of two bytes."""

    def __init__(self, available: int) -> None:
        self.available = available

    def measure(self, path: str) -> os.statvfs_result:
        if path.endswith("gone"):
            raise OSError("gone")
        figures = SimpleNamespace(f_frsize=2, f_bavail=self.available, f_blocks=1000, f_favail=900, f_files=1000)
        return cast("os.statvfs_result", figures)


class Events:
    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    def event(self, involved: dict[str, Any], event_type: str, reason: str, message: str, /) -> None:
        self.seen.append((reason, message))


@asynccontextmanager
async def manager_of(
    world: World, disk: Disk, events: Events, *reclaim: Callable[[], Any]
) -> AsyncIterator[EvictionManager]:
    """A manager for a node without pods; it announces changes of its conditions as events."""
    cache = PodCache(runtime=world.runtime, threads=world.threads)
    container_gc = ContainerGC(
        runtime=world.runtime, cache=cache, threads=world.threads, clock=world.clock, log_max_bytes=1, log_max_files=2
    )

    async def announce() -> None:
        events.seen.append(("announced", ""))

    async with Supervisor(clock=world.clock) as supervisor:
        yield EvictionManager(
            signals=signals_of(world, disk),
            thresholds=parse_thresholds(DEFAULT_EVICTION_HARD),
            transition_seconds=300,
            reclaim=reclaim,
            workers=PodWorkers(sync=cast("Any", None), supervisor=supervisor, clock=world.clock, random=lambda: 0.5),
            uses=PodUses(runtime=world.runtime, cache=cache, paths=PodPaths(world.root), threads=world.threads),
            container_gc=container_gc,
            announce=announce,
            events=events,
            node={"kind": "Node", "name": "node1"},
            metrics=NodeMetrics(),
            clock=world.clock,
        )


def signals_of(
    world: World, disk: Disk, memory: Callable[[], Observation | None] = lambda: None, *, root: str = ""
) -> EvictionSignals:
    return EvictionSignals(
        root=world.root / root, images=world.images, threads=world.threads, measure=disk.measure, memory=memory
    )


async def test_a_short_disk_is_freed_and_remembered_for_the_transition_period(world: World) -> None:
    disk, events = Disk(120), Events()

    async def free() -> None:
        disk.available = 400

    async with manager_of(world, disk, events, free) as manager:
        assert await manager.synchronize() is None
        reclaiming = ("EvictionThresholdMet", "Attempting to reclaim ephemeral-storage")
        assert events.seen == [("announced", ""), reclaiming]
        await manager.synchronize()
        assert len(events.seen) == 2
        remembered = []
        for seconds in (0, 299, 1):
            await world.clock.advance(seconds)
            remembered.append(manager.conditions)
        assert remembered == [("DiskPressure",), ("DiskPressure",), ()]


async def test_a_disk_with_room_is_left_alone(world: World) -> None:
    events = Events()

    async def free() -> None:
        raise AssertionError("nothing was to be freed")

    async with manager_of(world, Disk(160), events, free) as manager:
        assert await manager.synchronize() is None
        assert manager.conditions == ()
    assert events.seen == []


async def test_what_fails_to_free_does_not_keep_the_rest_from_it(world: World) -> None:
    disk = Disk(120)

    async def fail() -> None:
        raise CriError("no space left on device")

    async def free() -> None:
        disk.available = 400

    async with manager_of(world, disk, Events(), fail, free) as manager:
        await manager.synchronize()
    assert disk.available == 400


async def test_what_is_observed(world: World) -> None:
    found = await signals_of(world, Disk(120), lambda: Observation(5, 10)).observe()
    assert found[EvictionSignal.MEMORY_AVAILABLE] == Observation(5, 10)
    assert found[EvictionSignal.NODEFS_AVAILABLE] == Observation(240, 2000)
    assert found[EvictionSignal.IMAGEFS_INODES_FREE] == Observation(900, 1000)


async def test_what_cannot_be_measured_is_left_out(world: World) -> None:
    found = await signals_of(world, Disk(120), root="gone").observe()
    assert set(found) == {EvictionSignal.IMAGEFS_AVAILABLE, EvictionSignal.IMAGEFS_INODES_FREE}


async def test_memory_of_this_machine(world: World) -> None:
    real = EvictionSignals(root=world.root, images=world.images, threads=world.threads)
    memory = (await real.observe())[EvictionSignal.MEMORY_AVAILABLE]
    assert 0 < memory.available < memory.capacity
