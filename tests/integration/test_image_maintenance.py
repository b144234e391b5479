"""Looking after a node's images: use, plan and collection by the real store; times that outlive the node; mending."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from tests.faults.pull_world import DOMAIN, World, noise, open_world

from pullet.base.errors import UsageError
from pullet.control.images import NodeImages
from pullet.control.maintenance import NodeMaintenance
from pullet.cri.services import RuntimeService
from pullet.cri.types import ImageSpec
from pullet.kit.worker_threads import WorkerThreads
from pullet.node.image_gc_manager import ImageGCManager
from pullet.node.machine import DiskSpace
from pullet.node.metrics import NodeMetrics
from pullet.oci.image_builder import BuiltLayer, build_image
from pullet.policy.image_gc import ImageGCPolicy
from pullet.policy.wording import Wording
from pullet.store.leases import LeaseKind
from pullet.store.settings import SnapshotterChoice
from pullet.testing.clock import FakeClock
from pullet.testing.fake_registry import FakeRegistry
from pullet.testing.images import plain_layer

pytestmark = pytest.mark.root


def layer(seed: str, size: int = 100_000) -> BuiltLayer:
    return plain_layer({seed: noise(size, seed)})


SHARED = layer("shared")
LAYERS = {"one": [SHARED, layer("one")], "two": [SHARED, layer("two")], "three": [layer("three")]}
IMAGES = {name: build_image(layers, defaults={"Cmd": [name]}) for name, layers in LAYERS.items()}


@dataclass
class Container:
    id: str
    image_id: str
    labels: dict[str, str] = field(default_factory=lambda: {"io.kubernetes.pod.name": "p"})
    mounts: tuple[Any, ...] = ()


@dataclass
class Containers:
    """As much of a runtime as collection looks at."""

    running: list[Container] = field(default_factory=list)

    async def list_containers(self) -> Sequence[Container]:
        return self.running

    async def container_status(self, container_id: str) -> Container:
        return next(each for each in self.running if each.id == container_id)


class NoEvents:
    def event(self, *_: object) -> None: ...


@dataclass
class Node:
    """A store with a collector and what the control socket offers of them."""

    world: World
    images: NodeImages
    collector: ImageGCManager
    maintenance: NodeMaintenance
    containers: Containers
    clock: FakeClock

    async def pull(self, *names: str) -> None:
        for name in names:
            await self.world.service.pull_image(spec(name), None)

    async def names(self) -> set[str]:
        images = await self.world.service.list_images()
        return {tag.split("/")[-1].split(":")[0] for image in images for tag in image.repo_tags}


def spec(name: str) -> ImageSpec:
    return ImageSpec(f"{DOMAIN}/team/{name}:1")


def image_id(name: str) -> str:
    return str(IMAGES[name].config_digest)


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as registry:
        for name, image in IMAGES.items():
            registry.push(image, f"team/{name}", "1")
        yield registry


@pytest.fixture
async def threads() -> AsyncIterator[WorkerThreads]:
    threads = WorkerThreads("test", 2)
    yield threads
    await threads.aclose()


@asynccontextmanager
async def open_node(
    root: Path,
    registry: FakeRegistry,
    threads: WorkerThreads,
    clock: FakeClock,
    *,
    available: int = 500,
    snapshotter: SnapshotterChoice = SnapshotterChoice.DIRECTORY,
    **policy: Any,
) -> AsyncIterator[Node]:
    containers = Containers()
    async with open_world(root, registry, clock=clock, snapshotter=snapshotter) as world:
        collector = ImageGCManager(
            images=world.service,
            runtime=cast("RuntimeService", containers),
            policy=ImageGCPolicy(**policy),
            pull_manager=None,
            events=NoEvents(),
            node={},
            wording=Wording(),
            metrics=NodeMetrics(),
            clock=clock,
            disk_space=lambda: DiskSpace(1000, available, 0),
            threads=threads,
        )
        images = NodeImages(images=world.service, clock=clock)
        maintenance = NodeMaintenance(images=images, collector=lambda: collector)
        yield Node(world, images, collector, maintenance, containers, clock)


async def test_what_was_used_when_outlives_the_node(
    tmp_path: Path, registry: FakeRegistry, threads: WorkerThreads
) -> None:
    clock = FakeClock()
    async with open_node(tmp_path, registry, threads, clock) as node:
        await node.pull("one", "three")
        await clock.advance(1000)
        node.containers.running.append(Container("c", image_id("one")))
        await node.collector.collect()
    await clock.advance(600)
    async with open_node(tmp_path, registry, threads, clock) as node:
        plan = await node.collector.plan(removes_all_unused=True)
        assert [(one.id, one.is_removed, one.why) for one in plan.verdicts] == [
            (image_id("three"), True, "never used"),
            (image_id("one"), True, "last used 600 s ago"),
        ]


async def test_age_counts_from_the_last_use_before_the_restart(
    tmp_path: Path, registry: FakeRegistry, threads: WorkerThreads
) -> None:
    clock = FakeClock()
    async with open_node(tmp_path, registry, threads, clock) as node:
        await node.pull("one", "two")
        await clock.advance(500)
        node.containers.running.append(Container("c", image_id("two")))
        await node.collector.collect()
    async with open_node(tmp_path, registry, threads, clock, max_age_seconds=1000.0) as node:
        await clock.advance(900)
        await node.collector.collect()
        assert await node.names() == {"one", "two"}  # not before the node itself has run for that long
        await clock.advance(101)
        node.containers.running.append(Container("c", image_id("two")))
        await node.collector.collect()
        assert await node.names() == {"two"}


async def test_the_plan_says_why_and_frees_exactly_what_it_says(
    tmp_path: Path, registry: FakeRegistry, threads: WorkerThreads
) -> None:
    clock = FakeClock()
    async with open_node(tmp_path, registry, threads, clock) as node:
        await node.pull("one", "two", "three")
        await node.world.service.set_pinned(spec("three"), is_pinned=True)
        await clock.advance(200)
        node.containers.running.append(Container("c", image_id("one")))
        plan = await node.maintenance.collect_images(is_plan=True, removes_all_unused=True)
        why = {each["names"][0].split("/")[-1]: (each["is_removed"], each["why"]) for each in plan["images"]}
        assert why == {
            "one:1": (False, "in use by a container of pod /p"),
            "two:1": (True, "never used"),
            "three:1": (False, "pinned"),
        }
        assert await node.names() == {"one", "two", "three"}
        before = await node.maintenance.disk_usage()
        done = await node.maintenance.collect_images(is_plan=False, removes_all_unused=True)
        after = await node.maintenance.disk_usage()
        assert await node.names() == {"one", "three"}
        assert done["removed"] == [image_id("two")]
        measured = before["layer_bytes"] + before["blob_bytes"] - after["layer_bytes"] - after["blob_bytes"]
        assert plan["freed_bytes"] == done["freed_bytes"] == measured
        assert measured < SHARED.descriptor.size + 100_000  # the shared layer stayed
        assert await asyncio.to_thread(node.world.store.check) == ()


@pytest.mark.parametrize(("available", "removed"), [(160, []), (140, ["three"])])
async def test_thresholds_decide_without_all(
    tmp_path: Path, registry: FakeRegistry, threads: WorkerThreads, available: int, removed: list[str]
) -> None:
    clock = FakeClock()
    async with open_node(tmp_path, registry, threads, clock, available=available) as node:
        await node.pull("three")
        await clock.advance(10)
        young = await node.maintenance.collect_images(is_plan=True, removes_all_unused=False)
        assert "imageMinimumGCAge is 120 s" in young["images"][0]["why"]
        await clock.advance(190)
        plan = await node.maintenance.collect_images(is_plan=True, removes_all_unused=False)
        assert plan["usage_percent"] == 100 - available // 10
        if not removed:
            assert plan["images"][0]["why"] == "the disk is 84 % full, imageGCHighThresholdPercent is 85"
        await node.maintenance.collect_images(is_plan=False, removes_all_unused=False)
        assert await node.names() == {"three"} - set(removed)


async def test_shared_and_unique_bytes(tmp_path: Path, registry: FakeRegistry, threads: WorkerThreads) -> None:
    async with open_node(tmp_path, registry, threads, FakeClock()) as node:
        await node.pull("one", "two")
        usage = await node.maintenance.disk_usage()
        one, two = usage["images"]
        assert one["shared_bytes"] == two["shared_bytes"] > 100_000
        assert one["unique_bytes"] + two["unique_bytes"] + one["shared_bytes"] == (
            usage["layer_bytes"] + usage["blob_bytes"]
        )
        assert (usage["layer_count"], usage["orphan_bytes"]) == (3, 0)


async def test_layers_with_their_sizes_and_what_is_shared(
    tmp_path: Path, registry: FakeRegistry, threads: WorkerThreads
) -> None:
    async with open_node(tmp_path, registry, threads, FakeClock()) as node:
        await node.pull("one", "three")
        alone = await node.world.service.inspect_image(spec("one"))
        await node.pull("two")
        shared, own = (await node.world.service.inspect_image(spec("one"))).layers
        assert [layer.shared_bytes for layer in alone.layers] == [0, 0]
        assert (shared.diff_id, own.diff_id) == tuple(str(layer.diff_id) for layer in LAYERS["one"])
        assert shared.compressed_bytes == SHARED.descriptor.size
        assert shared.uncompressed_bytes == shared.shared_bytes == len(SHARED.blob)  # they are not compressed
        assert (own.uncompressed_bytes > 100_000, own.shared_bytes) == (True, 0)
        assert alone.config["config"] == {"Cmd": ["one"]}


def damage(file: Path) -> None:
    """Change a byte in the middle."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)


@pytest.mark.parametrize("part", ["layer", "config", "manifest"])
async def test_only_what_is_bad_is_fetched_again(
    tmp_path: Path, registry: FakeRegistry, threads: WorkerThreads, part: str
) -> None:
    own = LAYERS["one"][1]
    digest = {
        "layer": str(own.diff_id),
        "config": image_id("one"),
        "manifest": str(IMAGES["one"].descriptor.digest),
    }[part]
    async with open_node(tmp_path, registry, threads, FakeClock(), snapshotter=SnapshotterChoice.EROFS) as node:
        await node.pull("one", "two")
        directory = "layers" if part == "layer" else "content"
        await asyncio.to_thread(damage, tmp_path / directory / "sha256" / digest.removeprefix("sha256:"))
        found = await node.maintenance.check_store(repair=False)
        assert [(one["key"], one["is_repaired"]) for one in found["findings"]] == [(digest, False)]
        registry.clear_log()
        mended = await node.maintenance.check_store(repair=True)
        assert all(one["is_repaired"] for one in mended["findings"])
        assert [one["image"] for one in mended["mended"]] == [image_id("one")]
        blobs = registry.requests(method="GET", path="/blobs/")
        assert [one.rpartition("/")[2] for one in blobs] == ([digest] if part != "manifest" else [])
        assert (await node.maintenance.check_store(repair=False))["findings"] == []
        assert await node.names() == {"one", "two"}


async def test_what_cannot_be_fetched_again_is_forgotten(
    tmp_path: Path, registry: FakeRegistry, threads: WorkerThreads
) -> None:
    async with open_node(tmp_path, registry, threads, FakeClock()) as node:
        await node.pull("one", "two")
        config = image_id("one")
        await asyncio.to_thread(damage, tmp_path / "content" / "sha256" / config.removeprefix("sha256:"))
        registry.remove_blob(config)
        mended = await node.maintenance.check_store(repair=True)
        (how,) = [one["how"] for one in mended["mended"]]
        assert how.startswith("forgotten, the next pod that needs it pulls it: ")
        assert (await node.maintenance.check_store(repair=True))["findings"] == []
        assert await node.names() == {"two"}


async def test_an_image_without_its_config_is_not_there(
    tmp_path: Path, registry: FakeRegistry, threads: WorkerThreads
) -> None:
    """So that a pod pulls it again, and the other images can be seen."""
    async with open_node(tmp_path, registry, threads, FakeClock()) as node:
        await node.pull("one", "two")
    await asyncio.to_thread(damage, tmp_path / "content" / "sha256" / image_id("one").removeprefix("sha256:"))
    async with open_node(tmp_path, registry, threads, FakeClock()) as node:
        assert await node.names() == {"two"}
        assert await node.world.service.image_status(spec("one")) is None
        await node.pull("one")
        assert await node.names() == {"one", "two"}


async def test_an_image_that_lacks_a_layer_is_not_there_until_that_layer_is_fetched(
    tmp_path: Path, registry: FakeRegistry, threads: WorkerThreads
) -> None:
    async with open_node(tmp_path, registry, threads, FakeClock(), snapshotter=SnapshotterChoice.EROFS) as node:
        await node.pull("one", "two")
        own = LAYERS["one"][1]
        lost = tmp_path / "layers" / "sha256" / str(own.diff_id).removeprefix("sha256:")
        await asyncio.to_thread(lost.unlink)
        assert await node.world.service.image_status(spec("one")) is None
        assert await node.world.service.image_status(spec("two")) is not None
        registry.clear_log()
        await node.pull("one")
        blobs = registry.requests(method="GET", path="/blobs/")
        assert [one.rpartition("/")[2] for one in blobs] == [str(own.descriptor.digest)]
        assert await node.world.service.image_status(spec("one")) is not None


@pytest.mark.parametrize("part", ["layer", "config"])
async def test_an_image_that_lacks_a_part_can_be_removed(
    tmp_path: Path, registry: FakeRegistry, threads: WorkerThreads, part: str
) -> None:
    async with open_node(tmp_path, registry, threads, FakeClock(), snapshotter=SnapshotterChoice.EROFS) as node:
        await node.pull("one", "two")
        digest = str(LAYERS["one"][1].diff_id) if part == "layer" else image_id("one")
        directory = "layers" if part == "layer" else "content"
        lost = tmp_path / directory / "sha256" / digest.removeprefix("sha256:")
        await asyncio.to_thread(lost.unlink)
        removed = await node.images.remove(f"{DOMAIN}/team/one:1")
        assert (removed["id"], removed["repo_tags"]) == (image_id("one"), [f"{DOMAIN}/team/one:1"])
        assert await node.names() == {"two"}
        assert (await node.maintenance.check_store(repair=False))["findings"] == []
        with pytest.raises(UsageError, match="there is no image"):
            await node.images.remove(f"{DOMAIN}/team/one:1")


async def test_snapshots_of_containers_that_are_gone_are_found_and_removed(
    tmp_path: Path, registry: FakeRegistry, threads: WorkerThreads
) -> None:
    async with open_node(tmp_path / "store", registry, threads, FakeClock()) as node:
        await node.pull("one")
        store = node.world.store

        def mount() -> None:
            layers = store.images.list()[0].diff_ids
            store.leases.acquire("container/alive", LeaseKind.SNAPSHOT, ["alive"])
            store.leases.acquire("container/alive", LeaseKind.LAYER, layers)
            for key in ("alive", "dead"):
                store.snapshots.prepare(key, layers)

        await asyncio.to_thread(mount)
        try:
            found = await node.maintenance.check_store(repair=False)
            assert [(one["kind"], one["key"], one["detail"]) for one in found["findings"]] == [
                ("orphan snapshot", "dead", "mounted, and no container has it")
            ]
            await node.maintenance.check_store(repair=True)
            (left,) = await asyncio.to_thread(store.snapshots.list)
            assert (left.key, left.is_mounted) == ("alive", True)
            assert (await node.maintenance.check_store(repair=False))["findings"] == []
        finally:
            await asyncio.to_thread(store.snapshots.cleanup_stale, ())
