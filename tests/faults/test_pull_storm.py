"""Many pods at once: shared layers, faults, deletions, garbage collection, kill -9; see `storm_node` for what is real.

What must hold: a blob is fetched once unless something is the cause that can be named; what a container stands on is
never lost; when the weather clears, every pod runs, and every image is there and whole.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from tests.faults.pull_world import DOMAIN, noise, open_world
from tests.faults.storm_node import StormNode, storm_node
from tests.faults.victim import kill_in_storm

from pullet.cri.types import ImageSpec
from pullet.journal.pass_record import PassOutcome
from pullet.node.image_gc_manager import ImageGCError
from pullet.oci.image_builder import BuiltImage, build_image
from pullet.store.mounts import mounts_below, unmount_all_below
from pullet.testing.fake_registry import FakeRegistry
from pullet.testing.images import plain_layer
from pullet.testing.registry_faults import Fault

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

IMAGES, LAYERS, PODS = 40, 25, 100
STORM_SECONDS = 200.0  # the bound of every wait
LAYER_BYTES = 20_000


def make_images(seed: int = 1) -> list[BuiltImage]:
    """Images of two to five layers out of one pool, so that most layers belong to several."""
    chance = random.Random(seed)
    pool = [plain_layer({f"file{n}": content_of(f"file{n}")}) for n in range(LAYERS)]
    return [
        build_image(chance.sample(pool, chance.randint(2, 5)), defaults={"Cmd": [f"image {number}"]})
        for number in range(IMAGES)
    ]


@cache
def content_of(name: str) -> bytes:
    """What is in a file of these images."""
    return noise(LAYER_BYTES, name)


def name_of(number: int) -> str:
    return f"{DOMAIN}/team/app{number}:1"


@pytest.fixture(scope="module")
def images() -> list[BuiltImage]:
    return make_images()


@pytest.fixture
def registry(images: list[BuiltImage]) -> Iterator[FakeRegistry]:
    with FakeRegistry() as registry:
        for number, image in enumerate(images):
            registry.push(image, f"team/app{number}", "1")
        yield registry


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A node's directory; what a killed node left mounted below it goes at the end."""
    yield tmp_path
    unmount_all_below(tmp_path)


def fetches(registry: FakeRegistry) -> Counter[str]:
    """GETs per blob."""
    return Counter(one.path.rpartition("/")[2] for one in registry.log if one.method == "GET" and "/blobs/" in one.path)


async def test_a_hundred_pods_fetch_each_blob_once_and_a_fault_costs_its_own_blob_one_more_request(
    root: Path, registry: FakeRegistry, images: list[BuiltImage]
) -> None:
    blobs = sorted({str(digest) for image in images for digest in image.blobs})
    hit = random.Random(2).sample(blobs, 20)
    for number, blob in enumerate(hit):
        fault = Fault(path=blob, times=1, status=503) if number % 2 else Fault(path=blob, times=1, cut_after=100)
        registry.inject(fault)
    async with storm_node(root, registry.url) as storm:
        for number in range(PODS):
            await storm.run_pod(f"pod{number}", name_of(number % IMAGES))
        await storm.converge(STORM_SECONDS)
        assert fetches(registry) == {blob: 2 if blob in hit else 1 for blob in blobs}
        assert len(registry.requests(method="HEAD")) <= PODS
        assert await asyncio.to_thread(storm.world.store.check) == ()
        await asyncio.to_thread(assert_all_can_be_read, storm, PODS)


@pytest.mark.parametrize("seed", range(2))
async def test_what_is_needed_survives_any_weather(
    root: Path, registry: FakeRegistry, images: list[BuiltImage], seed: int
) -> None:
    chance = random.Random(seed)
    hits = inject_faults(registry, images, chance)
    async with storm_node(root, registry.url) as storm:
        for number in range(PODS):
            await storm.run_pod(f"pod{number}", *random_images(chance))
        async with asyncio.timeout(STORM_SECONDS):
            for number in range(60):
                await meddle(storm, chance, f"late{number}")
                if number % 12 == 0:
                    await asyncio.to_thread(assert_all_can_be_read, storm, 0)
        await storm.converge(STORM_SECONDS)
        await storm.world.service.collect_garbage()
        assert len(storm.phases()) == PODS
        await asyncio.to_thread(assert_all_can_be_read, storm, PODS)
        assert await asyncio.to_thread(storm.world.store.check) == ()
        await assert_every_fetch_has_its_cause(storm, registry, images, hits)


def inject_faults(registry: FakeRegistry, images: list[BuiltImage], chance: random.Random) -> dict[str, Fault]:
    """Faults of all kinds on random manifests and blobs, some longer than a pull's patience; by what they hit."""
    targets = sorted({str(digest) for image in images for digest in (image.descriptor.digest, *image.blobs)})
    return {target: registry.inject(random_fault(target, chance)) for target in chance.sample(targets, 60)}


def random_fault(path: str, chance: random.Random) -> Fault:
    times = chance.randint(1, 3)
    match chance.randrange(5):
        case 0:
            return Fault(path=path, times=times, status=chance.choice((429, 500, 503)))
        case 1:
            return Fault(path=path, times=times, is_silent=True)
        case 2:
            return Fault(path=path, times=times, is_corrupt=True)
        case 3:
            return Fault(path=path, times=times, delay_seconds=0.1)
        case _:
            return Fault(path=path, times=times, cut_after=chance.randint(0, LAYER_BYTES))


def random_images(chance: random.Random) -> list[str]:
    """Images of one pod's containers."""
    return [name_of(number) for number in chance.sample(range(IMAGES), chance.randint(1, 2))]


async def meddle(storm: StormNode, chance: random.Random, name: str) -> None:
    """Something that disturbs: a pod goes and another comes, an image is removed, garbage is collected."""
    await asyncio.sleep(chance.random() * 0.03)
    match chance.randrange(4):
        case 0 | 1:
            await storm.delete_pod(chance.choice(storm.standing()))
            await storm.run_pod(name, *random_images(chance))
        case 2:
            present = await storm.world.service.list_images()
            if present:
                await storm.world.service.remove_image(ImageSpec(chance.choice(present).id))
        case _:
            assert storm.node.image_gc is not None
            try:
                await storm.node.image_gc.delete_unused_images()
            except ImageGCError:
                return


def assert_all_can_be_read(storm: StormNode, at_least: int) -> None:
    """Every file that a container stands on has its bytes; containers that are removed meanwhile do not count.

    Blocking.
    """
    read = 0
    for container, place in dict(storm.runtime.roots).items():
        try:
            found = {path.name: path.read_bytes() for path in place.iterdir()}
        except OSError:
            found = {}
        if container in storm.runtime.roots:
            assert found
            assert all(data == content_of(name) for name, data in found.items())
            read += 1
    assert read >= at_least


async def assert_every_fetch_has_its_cause(
    storm: StormNode, registry: FakeRegistry, images: list[BuiltImage], hits: dict[str, Fault]
) -> None:
    """A blob was fetched once, and once more for each fault, removal, and pull that was given up half-way."""
    given_up: Counter[str] = Counter()
    for entry in await storm.journal.recent(limit=10_000):
        if entry.outcome in (PassOutcome.FAILED, PassOutcome.STOPPED):
            number = next(number for number in range(IMAGES) if name_of(number) == entry.image)
            given_up.update(str(digest) for digest in images[number].blobs)
    for blob, count in fetches(registry).items():
        faults = hits[blob].hits if blob in hits else 0
        causes = {"faults": faults, "removals": storm.store.removed[blob], "given up": given_up[blob]}
        assert count <= 1 + sum(causes.values()), f"{blob} was fetched {count} times: {causes}"


async def storm_without_end(root: Path, url: str, seed: int) -> None:
    """What the killed process does."""
    chance = random.Random(seed)
    async with storm_node(root, url) as storm:
        for number in range(PODS):
            await storm.run_pod(f"pod{number}", *random_images(chance))
        for number in range(10_000):
            await meddle(storm, chance, f"late{number}")


async def test_kill_9_in_the_middle_loses_nothing_that_was_done(
    root: Path, registry: FakeRegistry, images: list[BuiltImage]
) -> None:
    chance = random.Random(7)
    present: set[str] = set()
    for seed in range(3):
        inject_faults(registry, images, chance)
        registry.inject(Fault(path="/blobs/", delay_seconds=0.01))
        await asyncio.to_thread(kill_in_storm, root, registry, seed, chance.randint(5, 60))
        await asyncio.to_thread(registry.settle)
        registry.clear_faults()
        async with open_world(root / "store", registry) as world:
            found = await asyncio.to_thread(world.store.check)
            assert {finding.kind.value for finding in found} <= {"orphan layer", "orphan blob"}
            registry.clear_log()
            recorded = {image.id for image in await world.service.list_images()}
            for number in (n for n, image in enumerate(images) if str(image.config_digest) in recorded):
                await world.service.pull_image(ImageSpec(name_of(number)), None)
            assert fetches(registry) == {}
            present = {str(one) for one, _, _ in await asyncio.to_thread(world.store.layers.list)}
    async with storm_node(root, registry.url) as storm:
        registry.clear_log()
        for number in range(PODS):
            await storm.run_pod(f"pod{number}", name_of(number % IMAGES))
        await storm.converge(STORM_SECONDS)
        fetched = fetches(registry)
        assert max(fetched.values(), default=0) <= 1
        assert not present & fetched.keys()  # plain layers: a blob has the digest of its tar
        await asyncio.to_thread(assert_all_can_be_read, storm, PODS)
        assert await asyncio.to_thread(storm.world.store.check) == ()
        for name in storm.phases():
            await storm.delete_pod(name)
        await storm.converge(STORM_SECONDS)
        assert storm.phases() == {}
        assert await asyncio.to_thread(mounts_below, root / "store" / "mounts") == ()
