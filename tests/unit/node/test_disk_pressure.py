"""Disk pressure of a node: condition, event, what is freed, and how long it is remembered."""

from __future__ import annotations

import os
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import msgspec
from tests.unit.node.node_world import World, container

from pullet.kube.scheme import NODES
from pullet.node.disk_pressure import DiskPressure
from pullet.node.settings import NodeSettings
from pullet.policy.eviction import DEFAULT_EVICTION_HARD, parse_thresholds
from pullet.testing.cri_fakes import RemoteImage


class Disk:
    """A file system of a thousand blocks."""

    def __init__(self, available: int) -> None:
        self.available = available

    def measure(self, _: str) -> os.statvfs_result:
        figures = SimpleNamespace(f_frsize=1, f_bavail=self.available, f_blocks=1000, f_favail=900, f_files=1000)
        return cast("os.statvfs_result", figures)


class Events:
    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    def event(self, involved: dict[str, Any], event_type: str, reason: str, message: str, /) -> None:
        self.seen.append((reason, message))


def pressure_of(world: World, disk: Disk, events: Events, *reclaim: Callable[[], Any]) -> DiskPressure:
    return DiskPressure(
        root=str(world.root),
        images=world.images,
        thresholds=parse_thresholds(DEFAULT_EVICTION_HARD),
        transition_seconds=300,
        reclaim=reclaim,
        events=events,
        node={"kind": "Node", "name": "node1"},
        threads=world.threads,
        clock=world.clock,
        measure=disk.measure,
    )


async def test_a_short_disk_is_reclaimed_and_remembered_for_the_transition_period(world: World) -> None:
    disk, events = Disk(120), Events()

    async def free() -> None:
        disk.available = 400

    pressure = pressure_of(world, disk, events, free)
    await pressure.synchronize()
    assert events.seen == [("EvictionThresholdMet", "Attempting to reclaim ephemeral-storage")]
    assert disk.available == 400
    await pressure.synchronize()
    assert len(events.seen) == 1
    remembered = []
    for seconds in (0, 299, 1):
        await world.clock.advance(seconds)
        remembered.append(pressure.is_present)
    assert remembered == [True, True, False]


async def test_a_disk_with_room_is_left_alone(world: World) -> None:
    events = Events()

    async def free() -> None:
        raise AssertionError("nothing was to be freed")

    pressure = pressure_of(world, Disk(160), events, free)
    await pressure.synchronize()
    assert not pressure.is_present
    assert events.seen == []


async def test_the_node_says_so_and_removes_unused_images_first(world: World) -> None:
    world.settings = msgspec.structs.replace(NodeSettings(), eviction_hard={"imagefs.available": "9999Ti"})
    world.images.load("used:1.0", RemoteImage("used", size_bytes=2000))
    world.images.load("unused:1.0", RemoteImage("unused", size_bytes=2000))
    async with world.running():
        await world.apply("p", container("c", "used:1.0"))
        (node,) = world.api.objects(NODES)
        (condition,) = [each for each in node["status"]["conditions"] if each["type"] == "DiskPressure"]
        assert (condition["status"], condition["reason"]) == ("True", "KubeletHasDiskPressure")
        assert [event[2] for event in world.events("node1")].count("EvictionThresholdMet") == 1
        await world.clock.advance(130)  # beyond the minimal age of images
        names = [tag for image in await world.images.list_images() for tag in image.repo_tags]
        assert names == ["docker.io/library/used:1.0"]
        assert list(world.runtime.running()) == ["c"]
