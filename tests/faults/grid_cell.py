"""One cell of the grid: a pod wants an image, a trouble strikes, and what must hold before and after it passed."""

from __future__ import annotations

import asyncio
import re
import subprocess
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.faults.node_side import FIRST_BACKOFF_SECONDS, NodeSide, open_node_side
from tests.faults.pull_world import (
    DOMAIN,
    IMAGE,
    REPOSITORY,
    TAG,
    Endpoints,
    Target,
    World,
    make_image,
    only,
    open_world,
)
from tests.faults.troubles import DISK_BYTES, Lane, Site, Trouble, pick

from pullet.journal.pass_record import PassOutcome, PassRecord
from pullet.kit.tasks import one_error
from pullet.node.container_errors import ImageError
from pullet.oci.image_builder import BuiltImage
from pullet.testing.fake_registry import FakeRegistry

MAX_TRIES = 10  # requests for one part of the image in one pull, however bad the endpoint is


@dataclass(frozen=True, slots=True)
class Cell:
    """What is tried."""

    trouble: Trouble
    target: Target
    endpoints: Endpoints

    def __str__(self) -> str:
        return f"{self.trouble.name} × {self.target} × {self.endpoints}"

    @property
    def fails(self) -> bool:
        """Whether the first pull fails."""
        return self.trouble.fails(self.endpoints)


@dataclass(slots=True)
class Scene:
    """The cell with its parts open."""

    cell: Cell
    image: BuiltImage
    bad: FakeRegistry
    good: FakeRegistry
    world: World
    node: NodeSide
    bad_url: str

    @property
    def image_bytes(self) -> int:
        return len(self.image.raw) + sum(map(len, self.image.blobs.values()))


async def run_cell(cell: Cell, lane: Lane, directory: Path) -> None:
    """Play the cell; raises AssertionError for whatever is not as it must be. Leaves nothing on the machine."""
    with one_error():
        await _play(cell, lane, directory)


async def _play(cell: Cell, lane: Lane, directory: Path) -> None:
    async with AsyncExitStack() as stack:
        bad, good = await stack.enter_async_context(FakeRegistry()), await stack.enter_async_context(FakeRegistry())
        image = make_image(cell.target)
        for registry in (bad, good):
            registry.push(image, REPOSITORY, TAG)
        is_elsewhere = cell.trouble.lane and cell.target == "manifest"
        bad_url = getattr(lane, cell.trouble.lane) if is_elsewhere else bad.url
        urls = {"no mirror": [bad_url], "good mirror": [good.url, bad_url], "bad mirror first": [bad_url, good.url]}
        await asyncio.to_thread(directory.mkdir)
        disk = directory / "disk"
        await asyncio.to_thread(disk.mkdir)
        if cell.trouble.has_own_disk:
            await asyncio.to_thread(mount_disk, disk)
            stack.push_async_callback(asyncio.to_thread, unmount_disk, disk)
        world = await stack.enter_async_context(
            open_world(disk / "store", urls=tuple(urls[cell.endpoints]), settings=cell.trouble.settings)
        )
        node = await stack.enter_async_context(open_node_side(directory / "node", world.service))
        scene = Scene(cell, image, bad, good, world, node, bad_url)
        site = Site(target=cell.target, image=image, bad=bad, lane=lane, store=world.store)
        relieve = await asyncio.to_thread(cell.trouble.strike, site)
        try:
            failure = await node.ensure()
            if cell.fails:
                await check_failure(scene, failure)
                await check_wait(scene, failure)
            else:
                await check_success(scene, failure)
            check_requests(scene, site)
        finally:
            await asyncio.to_thread(relieve)
            world.mirrors[DOMAIN] = only(bad.url, good.url)
        await check_healing(scene)


async def check_failure(scene: Scene, failure: ImageError | None) -> None:
    """The runtime's words reach event, container and journal; the cause and the next step are plain."""
    trouble, target = scene.cell.trouble, scene.cell.target
    assert failure is not None, "the pull succeeded"
    assert failure.waiting_reason == "ErrImagePull"
    matches(trouble.text, target, failure.message)
    assert await scene.node.events() == [
        f'Normal Pulling: Pulling image "{IMAGE.image}"',
        f'Warning Failed: Failed to pull image "{IMAGE.image}": {failure.message}',
    ]
    entry = await scene.node.entry()
    assert (entry.outcome, entry.decision, entry.reason) == (PassOutcome.FAILED, "Pull", "ErrImagePull")
    assert (entry.error, entry.image_ref, entry.credential) == (failure.message, "", "")
    matches(trouble.cause, target, entry.cause)
    matches(trouble.step, target, entry.next_step)
    check_exchanges(scene, entry)


async def check_wait(scene: Scene, failure: ImageError | None) -> None:
    """The next pass waits, asks nobody, and goes on telling why."""
    assert failure is not None
    told, asked = await scene.node.entry(), len(scene.bad.log) + len(scene.good.log)
    waiting = await scene.node.ensure()
    assert waiting is not None
    back_off = f'Back-off pulling image "{IMAGE.image}"'
    assert waiting.waiting_reason == "ImagePullBackOff"
    assert waiting.message == f"{back_off}: ErrImagePull: {failure.message}"
    assert await scene.node.events() == [f"Normal BackOff: {back_off}"]
    entry = await scene.node.entry()
    assert (entry.outcome, entry.reason) == (PassOutcome.WAITING, "ImagePullBackOff")
    assert entry.backoff_remaining_seconds == FIRST_BACKOFF_SECONDS
    assert (entry.cause, entry.next_step) == (told.cause, told.next_step)
    assert len(scene.bad.log) + len(scene.good.log) == asked
    assert scene.node.records("pulling") == scene.node.records("pulled") == []


async def check_success(scene: Scene, failure: ImageError | None) -> None:
    """All of the image is here; nothing was fetched twice without a cause."""
    assert failure is None, failure
    await check_pulled(scene)
    entry = await scene.node.entry()
    check_exchanges(scene, entry)
    again = entry.downloaded_bytes - scene.image_bytes
    allowed = scene.cell.trouble.again_bytes if scene.cell.endpoints != "good mirror" else 0
    assert 0 <= again <= allowed, f"{again} bytes were fetched twice"


async def check_pulled(scene: Scene) -> None:
    """What a pull that succeeded leaves and says."""
    shown = await scene.world.service.image_status(IMAGE)
    assert shown is not None
    size = f"{shown.size_bytes} bytes"
    pulled = f'Successfully pulled image "{IMAGE.image}" in 0s (0s including waiting). Image size: {size}.'
    assert await scene.node.events() == [
        f'Normal Pulling: Pulling image "{IMAGE.image}"',
        f"Normal Pulled: {pulled}",
    ]
    entry = await scene.node.entry()
    assert (entry.outcome, entry.decision, entry.reason, entry.error) == (PassOutcome.PULLED, "Pull", "", "")
    assert (entry.cause, entry.next_step) == ("", "")
    assert entry.image_ref == scene.image.config_digest
    assert entry.manifest_digest == scene.image.descriptor.digest
    assert entry.endpoint in {scene.bad.host, scene.good.host}
    await asyncio.to_thread(scene.world.assert_whole, scene.image)
    assert scene.node.records("pulling") == []
    assert len(scene.node.records("pulled")) == 1


def check_exchanges(scene: Scene, entry: PassRecord) -> None:
    """The journal keeps every exchange: those with the bad endpoint, and that the good one helped."""
    cell, trouble = scene.cell, scene.cell.trouble
    with_bad = [f"{one.status} {one.error}" for one in entry.endpoints if one.url.startswith(scene.bad_url)]
    elsewhere = [f"{one.status} {one.error}" for one in entry.endpoints if scene.good.host not in one.url]
    with_good = [one for one in entry.endpoints if scene.good.host in one.url and one.status in (200, 206)]
    if cell.endpoints == "good mirror" and not cell.fails:
        assert with_bad == []
    elif cell.endpoints != "good mirror":
        assert any(re.search(pick(trouble.attempt, cell.target), one) for one in elsewhere), elsewhere
    if cell.endpoints == "bad mirror first" and not cell.fails and trouble.text:
        assert with_good, "nobody helped"


def check_requests(scene: Scene, site: Site) -> None:
    """Whatever is not hit is fetched at most once, and what is hit is not asked for again and again."""
    answered = [one for registry in (scene.bad, scene.good) for one in registry.log if one.status in (200, 206)]
    for digest in (scene.image.descriptor.digest, *scene.image.blobs):
        got = [one for one in answered if one.method == "GET" and one.path.endswith(str(digest))]
        if not re.search(site.path, f"/blobs/{digest}") and scene.cell.target != "manifest":
            assert len(got) <= 1, [str(one) for one in got]
    for registry in (scene.bad, scene.good):
        assert len(registry.requests(path=site.path)) <= MAX_TRIES
    if scene.cell.endpoints == "good mirror" and not scene.cell.fails:
        assert scene.bad.requests() == []


async def check_healing(scene: Scene) -> None:
    """When the trouble is over, the next pass has the image; nothing of the failure is left before or after it."""
    if not scene.cell.fails:
        assert await scene.node.ensure() is None
        present = f'Container image "{IMAGE.image}" already present on machine and can be accessed by the pod'
        assert await scene.node.events() == [f"Normal Pulled: {present}"]
        assert (await scene.node.entry()).outcome is PassOutcome.USED_LOCAL
        return
    await asyncio.to_thread(scene.world.assert_clean)
    await scene.node.clock.advance(FIRST_BACKOFF_SECONDS)
    failure = await scene.node.ensure()
    assert failure is None, failure
    await check_pulled(scene)


def matches(texts: object, target: Target, found: str) -> None:
    """The text is as the trouble says, and says something."""
    pattern = pick(texts, target)  # type: ignore[arg-type]  # Texts
    assert found
    assert re.search(pattern, found, re.DOTALL), f"{found!r} is not {pattern!r}"


def mount_disk(place: Path) -> None:
    """A small file system of its own. Blocking."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "none", str(place)], check=True)


def unmount_disk(place: Path) -> None:
    """Take it away. Blocking."""
    subprocess.run(["umount", "-l", str(place)], check=True)
