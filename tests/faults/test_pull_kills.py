"""kill -9 of a node that pulls, at each named point of a pull × endpoints: the next start has all or nothing of it.

What was whole and in its place is not fetched again, and who may use the image is known no less strictly than before.
"""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.faults.node_side import NodeSide, open_node_side
from tests.faults.pull_world import ENDPOINTS, IMAGE, REPOSITORY, TAG, World, layer_digest, make_image, open_world
from tests.faults.victim import die_pulling

from pullet.journal.pass_record import PassOutcome
from pullet.oci.image_builder import BuiltImage
from pullet.testing.fake_registry import FakeRegistry
from pullet.testing.registry_faults import Fault

pytestmark = pytest.mark.root


@dataclass(frozen=True, slots=True)
class Point:
    """Where the node dies, and what the next pull has to fetch then."""

    name: str
    missing: frozenset[str]  # of manifest, config and layer
    hit: int = 1
    is_recorded: bool = False  # the image can be looked up
    is_proven: bool = False  # so is who may use it

    def __str__(self) -> str:
        return f"{self.name}:{self.hit}"


ALL = frozenset({"manifest", "config", "layer"})
LAYER = frozenset({"layer"})
POINTS = (
    Point("intent.recorded", ALL),
    Point("content.stored", ALL - {"manifest"}),
    Point("content.stored", LAYER, hit=2),
    Point("layer.verified", LAYER),
    Point("layer.metadata", LAYER),
    Point("layer.rename", LAYER),
    Point("layer.renamed", LAYER),
    Point("pull.before_record", frozenset()),
    Point("pull.recorded", frozenset(), is_recorded=True),
    Point("access.recorded", frozenset(), is_recorded=True, is_proven=True),
)


@pytest.mark.parametrize("point", POINTS, ids=str)
async def test_a_killed_pull_is_finished_by_the_next(tmp_path: Path, point: Point, subtests: pytest.Subtests) -> None:
    """With its three ways to the image at the same time."""
    outcomes = await asyncio.gather(
        *(play(point, endpoints, tmp_path / endpoints) for endpoints in ENDPOINTS), return_exceptions=True
    )
    for endpoints, outcome in zip(ENDPOINTS, outcomes, strict=True):
        with subtests.test(endpoints):
            if outcome is not None:
                raise outcome


async def play(point: Point, endpoints: str, directory: Path) -> None:
    image = make_image()
    async with AsyncExitStack() as stack:
        bad, good = await stack.enter_async_context(FakeRegistry()), await stack.enter_async_context(FakeRegistry())
        for registry in (bad, good):
            registry.push(image, REPOSITORY, TAG)
        if endpoints != "no mirror":
            bad.inject(Fault(status=503))
        urls = {"no mirror": (bad.url,), "good mirror": (good.url, bad.url), "bad mirror first": (bad.url, good.url)}
        await asyncio.to_thread(directory.mkdir)
        code = await asyncio.to_thread(die_pulling, f"{point.name}=kill:{point.hit}", directory, urls[endpoints])
        assert code == -signal.SIGKILL, f"{point} was not reached: {code}"
        for registry in (bad, good):
            registry.clear_log()
        world = await stack.enter_async_context(open_world(directory / "store", urls=urls[endpoints]))
        node = await stack.enter_async_context(open_node_side(directory / "node", world.service))
        assert bool(await world.service.list_images()) == point.is_recorded
        assert len(node.records("pulling")) == (0 if point.is_recorded else 1), "recovered where the image is here"
        assert await node.ensure() is None
        await check_told(node, point)
        assert fetched(image, bad, good) == {part: int(part in point.missing) for part in ALL}
        await asyncio.to_thread(world.assert_whole, image)
        assert node.records("pulling") == []
        assert len(node.records("pulled")) == 1
        await check_gone(world)


async def check_told(node: NodeSide, point: Point) -> None:
    """Events and journal of the pass after the start; the pass that died left no word."""
    entry = await node.entry()
    events = [event.partition(": ")[0] for event in await node.events()]
    if point.is_proven:
        assert (entry.outcome, events) == (PassOutcome.USED_LOCAL, ["Normal Pulled"])
        return
    assert (entry.outcome, events) == (PassOutcome.PULLED, ["Normal Pulling", "Normal Pulled"])
    assert entry.must_verify == point.is_recorded, "an image pulled by nobody knows whom is no free gift"
    assert entry.is_present == point.is_recorded


def fetched(image: BuiltImage, *registries: FakeRegistry) -> dict[str, int]:
    """Answered GETs by part of the image."""
    digests = {"manifest": image.descriptor.digest, "config": image.config_digest, "layer": layer_digest(image)}
    answered = [one.path for each in registries for one in each.log if one.method == "GET" and one.status == 200]
    return {part: sum(path.endswith(str(digest)) for path in answered) for part, digest in digests.items()}


async def check_gone(world: World) -> None:
    """Nothing is left of it that removing the image does not take away."""
    await world.service.remove_image(IMAGE)
    await asyncio.to_thread(world.assert_clean)
