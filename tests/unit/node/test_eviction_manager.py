"""A node under pressure: condition, events, what is freed, who is evicted, who is refused."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import msgspec
from tests.unit.node.node_world import World, container

from pullet.kube.scheme import NODES
from pullet.node.eviction_signals import EvictionSignals
from pullet.node.settings import NodeSettings
from pullet.policy.eviction import EvictionSignal, Observation
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


async def test_a_condition_stays_for_the_transition_period(world: World) -> None:
    load(world, "a")
    pressed(world, {"imagefs.available": "9999Ti"})
    async with world.running() as node:
        manager = node.eviction
        assert manager is not None
        assert manager.conditions == ("DiskPressure",)
        assert condition(world, "MemoryPressure")[0] == "False"
    world.settings = NodeSettings(eviction_hard={})
    async with world.running():
        assert condition(world, "DiskPressure") == ("False", "KubeletHasNoDiskPressure")


class Disk:
    """A file system of a thousand blocks."""

    def __init__(self, available: int) -> None:
        self.available = available

    def measure(self, path: str) -> os.statvfs_result:
        if path.endswith("gone"):
            raise OSError("gone")
        figures = SimpleNamespace(f_frsize=2, f_bavail=self.available, f_blocks=1000, f_favail=900, f_files=1000)
        return cast("os.statvfs_result", figures)


def signals_of(world: World, memory: Callable[[], Observation | None], *, root: str = "") -> EvictionSignals:
    return EvictionSignals(
        root=world.root / root, images=world.images, threads=world.threads, measure=Disk(120).measure, memory=memory
    )


async def test_what_is_observed(world: World) -> None:
    found = await signals_of(world, lambda: Observation(5, 10)).observe()
    assert found[EvictionSignal.MEMORY_AVAILABLE] == Observation(5, 10)
    assert found[EvictionSignal.NODEFS_AVAILABLE] == Observation(240, 2000)
    assert found[EvictionSignal.IMAGEFS_INODES_FREE] == Observation(900, 1000)


async def test_what_cannot_be_measured_is_left_out(world: World) -> None:
    found = await signals_of(world, lambda: None, root="gone").observe()
    assert set(found) == {EvictionSignal.IMAGEFS_AVAILABLE, EvictionSignal.IMAGEFS_INODES_FREE}


async def test_memory_of_this_machine(world: World) -> None:
    real = EvictionSignals(root=world.root, images=world.images, threads=world.threads)
    memory = (await real.observe())[EvictionSignal.MEMORY_AVAILABLE]
    assert 0 < memory.available < memory.capacity
