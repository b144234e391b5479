"""Many pulls at once: shared layers, faults, leaving callers, deletions, garbage collection, kill -9.

What must hold: a blob is fetched once unless a fault or a collection is the cause; a layer that a container stands on
is never lost; when the weather clears, every image is there and whole.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.faults.pull_world import DOMAIN, World, noise, open_world

from pullet.cri.errors import CriError
from pullet.cri.types import ImageSpec
from pullet.oci.image_builder import BuiltImage, build_image
from pullet.store.leases import LeaseKind
from pullet.testing.fake_registry import FakeRegistry
from pullet.testing.images import plain_layer
from pullet.testing.registry_faults import Fault

pytestmark = pytest.mark.root

IMAGES, LAYERS, PODS = 40, 25, 100
STORM_SECONDS = 60.0


def make_images(seed: int = 1) -> list[BuiltImage]:
    """Images of two to five layers out of one pool, so that most layers belong to several."""
    chance = random.Random(seed)
    pool = [plain_layer({f"file{n}": noise(20_000, f"layer {n}")}) for n in range(LAYERS)]
    return [
        build_image(chance.sample(pool, chance.randint(2, 5)), defaults={"Cmd": [f"image {number}"]})
        for number in range(IMAGES)
    ]


def spec(number: int) -> ImageSpec:
    return ImageSpec(f"{DOMAIN}/team/app{number}:1")


@pytest.fixture(scope="module")
def images() -> list[BuiltImage]:
    return make_images()


@pytest.fixture
def registry(images: list[BuiltImage]) -> Iterator[FakeRegistry]:
    with FakeRegistry() as registry:
        for number, image in enumerate(images):
            registry.push(image, f"team/app{number}", "1")
        yield registry


def fetches(registry: FakeRegistry) -> Counter[str]:
    """GETs per blob."""
    return Counter(one.path.rpartition("/")[2] for one in registry.log if one.method == "GET" and "/blobs/" in one.path)


async def test_hundred_pods_fetch_each_blob_once(
    tmp_path: Path, registry: FakeRegistry, images: list[BuiltImage]
) -> None:
    async with open_world(tmp_path / "store", registry) as world, asyncio.timeout(STORM_SECONDS):
        async with asyncio.TaskGroup() as pods:
            for pod in range(PODS):
                pods.create_task(world.service.pull_image(spec(pod % IMAGES), None))
        blobs = {str(digest) for image in images for digest in image.blobs}
        assert fetches(registry) == dict.fromkeys(blobs, 1)
        assert len(registry.requests(method="HEAD")) <= PODS
        assert await asyncio.to_thread(world.store.check) == ()
        assert len(await world.service.list_images()) == IMAGES


async def test_a_fault_costs_its_own_blob_one_more_request(
    tmp_path: Path, registry: FakeRegistry, images: list[BuiltImage]
) -> None:
    blobs = sorted({str(digest) for image in images for digest in image.blobs})
    hit = random.Random(2).sample(blobs, 20)
    for number, blob in enumerate(hit):
        fault = {"status": 503} if number % 2 else {"cut_after": 100}
        registry.inject(Fault(path=blob, times=1, **fault))  # type: ignore[arg-type]  # both are fields of Fault
    async with open_world(tmp_path / "store", registry) as world, asyncio.timeout(STORM_SECONDS):
        async with asyncio.TaskGroup() as pods:
            for pod in range(PODS):
                pods.create_task(world.service.pull_image(spec(pod % IMAGES), None))
        assert fetches(registry) == {blob: 2 if blob in hit else 1 for blob in blobs}
        assert await asyncio.to_thread(world.store.check) == ()


@pytest.mark.parametrize("seed", range(3))
async def test_what_is_needed_survives_any_weather(
    tmp_path: Path, registry: FakeRegistry, images: list[BuiltImage], seed: int
) -> None:
    chance = random.Random(seed)
    for _ in range(60):
        registry.inject(random_fault(chance))
    async with open_world(tmp_path / "store", registry) as world, asyncio.timeout(STORM_SECONDS):
        standing: set[str] = set()
        async with asyncio.TaskGroup() as storm:
            pods = [storm.create_task(pod(world, images, chance, standing)) for _ in range(PODS)]
            cleaner = storm.create_task(clean(world, chance))
            await asyncio.wait(pods)
            cleaner.cancel()
        assert standing
        held = await asyncio.to_thread(world.store.leases.keys, LeaseKind.LAYER)
        assert standing == set(held)
        for diff_id in standing:
            assert await asyncio.to_thread(is_good, world, diff_id)
        registry.clear_faults()
        for number in range(IMAGES):
            await world.service.pull_image(spec(number), None)
        assert await asyncio.to_thread(world.store.check) == ()
        assert len(await world.service.list_images()) == IMAGES


def random_fault(chance: random.Random) -> Fault:
    path = chance.choice(("/manifests/", "/blobs/"))
    match chance.randrange(5):
        case 0:
            return Fault(path=path, times=chance.randint(1, 6), status=chance.choice((429, 500, 503)))
        case 1:
            return Fault(path=path, times=chance.randint(1, 3), is_silent=True)
        case 2:
            return Fault(path="/blobs/", times=chance.randint(1, 3), is_corrupt=True)
        case 3:
            return Fault(path=path, times=1, delay_seconds=0.3)
        case _:
            return Fault(path=path, times=chance.randint(1, 3), cut_after=chance.randint(0, 15_000))


async def pod(world: World, images: list[BuiltImage], chance: random.Random, standing: set[str]) -> None:
    """Pull until it works; some leave early, some start a container that stands on the layers for good."""
    number = chance.randrange(IMAGES)
    leaves, starts = chance.random() < 0.2, chance.random() < 0.3
    await asyncio.sleep(chance.random() * 0.5)
    while True:
        try:
            async with asyncio.timeout(chance.random() * 0.05 if leaves else STORM_SECONDS):
                await world.service.pull_image(spec(number), None)
        except TimeoutError:
            return
        except CriError:
            await asyncio.sleep(0.01)
            continue
        if not starts or await asyncio.to_thread(start_container, world, images[number], number, standing):
            return


def start_container(world: World, image: BuiltImage, number: int, standing: set[str]) -> bool:
    """As a container does: lease the layers, then look whether all are there; False: the image went meanwhile."""
    owner = f"container/{number}-{id(object())}-{len(standing)}"
    record = world.store.images.find(str(image.config_digest))
    if record is None:
        return False
    world.store.leases.acquire(owner, LeaseKind.LAYER, record.diff_ids)
    if any(world.store.layers.get(diff_id) is None for diff_id in record.diff_ids):
        world.store.leases.release(owner)
        return False
    standing |= set(record.diff_ids)
    return True


async def clean(world: World, chance: random.Random) -> None:
    """Remove random images and collect, again and again."""
    while True:
        await asyncio.sleep(chance.random() * 0.02)
        images = await world.service.list_images()
        if images:
            await world.service.remove_image(ImageSpec(chance.choice(images).id))
        await world.service.collect_garbage()


def is_good(world: World, diff_id: str) -> bool:
    found = {str(one) for one, _, _ in world.store.layers.list()}
    return diff_id in found and all(world.store.layers.verify(one) is not False for one in found if one == diff_id)


SCRIPT = """
import asyncio, sys
from pathlib import Path
from tests.faults.pull_world import open_world
from tests.faults.test_pull_storm import IMAGES, spec

async def main() -> None:
    async with open_world(Path(sys.argv[1]), urls=(sys.argv[2],)) as world, asyncio.TaskGroup() as pods:
        print("open", flush=True)
        for number in range(IMAGES):
            pods.create_task(world.service.pull_image(spec(number), None))

asyncio.run(main())
"""


async def test_kill_9_in_the_middle_loses_nothing_that_was_done(
    tmp_path: Path, registry: FakeRegistry, images: list[BuiltImage]
) -> None:
    chance = random.Random(7)
    registry.inject(Fault(path="/blobs/", delay_seconds=0.02))
    layers: set[str] = set()
    for _ in range(3):
        await asyncio.to_thread(storm_and_kill, tmp_path / "store", registry, chance.uniform(0.02, 0.3))
        async with open_world(tmp_path / "store", registry) as world:
            found = await asyncio.to_thread(world.store.check)
            assert {finding.kind.value for finding in found} <= {"orphan layer", "orphan blob"}
            done = {image.id for image in await world.service.list_images()}
            registry.clear_log()
            for number in (n for n, image in enumerate(images) if str(image.config_digest) in done):
                await world.service.pull_image(spec(number), None)
            assert fetches(registry) == {}
            layers = {str(one) for one, _, _ in await asyncio.to_thread(world.store.layers.list)}
    registry.clear_faults()
    async with open_world(tmp_path / "store", registry) as world:
        registry.clear_log()
        for number in range(IMAGES):
            await world.service.pull_image(spec(number), None)
        assert max(fetches(registry).values(), default=0) <= 1
        tars = {re.sub("^sha256:", "", layer) for layer in layers}
        assert not tars & {re.sub("^sha256:", "", blob) for blob in fetches(registry)}  # plain layers: blob = tar
        assert await asyncio.to_thread(world.store.check) == ()


def storm_and_kill(root: Path, registry: FakeRegistry, after_seconds: float) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(root), registry.url],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        env=dict(os.environ),
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"open\n"
        try:
            child.wait(after_seconds)
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
