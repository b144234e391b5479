"""Pulls in trouble on this side of the network, beside those of the grid: odd layers, disks that fill up for good."""

from __future__ import annotations

import asyncio
import gzip
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.faults.grid_cell import mount_disk, unmount_disk
from tests.faults.local_troubles import fill, layer_of
from tests.faults.network_troubles import PULL
from tests.faults.node_side import open_node_side
from tests.faults.pull_world import IMAGE, noise, open_world

from pullet.cri.errors import ResourceExhaustedError
from pullet.cri.types import ImageSpec
from pullet.oci import mediatype
from pullet.oci.image_builder import BuiltLayer, build_image
from pullet.store.errors import StoreError
from pullet.testing.fake_registry import FakeRegistry
from pullet.testing.images import plain_layer, tiny_image

pytestmark = pytest.mark.root


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as registry:
        yield registry


# --- damaged images: nothing but a new push helps ---


def short_tar() -> BuiltLayer:
    tar = plain_layer({"data": noise(50_000)}).blob[:20_000]
    return layer_of(gzip.compress(tar, mtime=0), tar)


def other_diff_id() -> BuiltLayer:
    good = plain_layer({"data": noise(1000)})
    return layer_of(good.blob, b"something else", mediatype.OCI_LAYER)


def climbing_tar() -> BuiltLayer:
    return plain_layer({"../../escape": b"x"})


@pytest.mark.parametrize("has_mirror", [False, True])
@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (short_tar, f"^{PULL}failed to extract layer sha256:.*: layer sha256:.* is corrupt: "),
        (other_diff_id, f"^{PULL}failed to extract layer .*: wrong diff id calculated on extraction"),
        (climbing_tar, f"^{PULL}failed to extract layer sha256:.*escape"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
async def test_a_damaged_image_is_refused_by_name(tmp_path: Path, layer: object, text: str, has_mirror: bool) -> None:
    assert callable(layer)
    image = build_image([layer()])
    async with FakeRegistry() as registry, FakeRegistry() as mirror:
        for each in (registry, mirror):
            each.push(image, "team/app", "1.0")
        async with open_world(tmp_path / "store", *([mirror, registry] if has_mirror else [registry])) as world:
            result = await world.pull()
            assert result.error is not None
            assert re.search(text, result.error.message), result.error.message
            assert result.error.cause
            await asyncio.to_thread(world.assert_clean)
            assert not (tmp_path.parent / "escape").exists()
            # the blob is what it claims to be, so that no other endpoint could give a better one
            assert len(registry.requests(path="/blobs/")) + len(mirror.requests(path="/blobs/")) == 2


# --- a disk that fills up, or takes nothing ---


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own."""
    path = tmp_path / "disk"
    path.mkdir()
    mount_disk(path)
    yield path
    unmount_disk(path)


async def test_a_disk_that_fills_up_with_images_gives_room_when_one_goes(disk: Path, registry: FakeRegistry) -> None:
    async with open_world(disk / "store", registry) as world:
        pulled = 0
        while True:
            registry.push(build_image([plain_layer({"data": noise(600_000, str(pulled))})]), "team/app", "1.0")
            if (result := await world.pull()).error is not None:
                break
            pulled += 1
        assert isinstance(result.error, ResourceExhaustedError)
        assert pulled >= 2
        images = await world.service.list_images()
        assert len(images) == pulled
        victim = next(image for image in images if not image.repo_tags)
        await world.service.remove_image(ImageSpec(victim.id))
        assert (await world.pull()).error is None
        await asyncio.to_thread(world.assert_tidy)


async def test_a_store_on_a_read_only_disk_does_not_open(disk: Path, registry: FakeRegistry) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with pytest.raises(StoreError, match=r"the store at .*/store cannot be opened: Read-only file system"):
        async with open_world(disk / "store", registry):
            pass


async def test_a_node_whose_own_disk_is_full_begins_no_pull_and_says_so(
    tmp_path: Path, disk: Path, registry: FakeRegistry
) -> None:
    """Who may use an image could not be recorded; the journal, which may not stand in the way, loses the entry."""
    registry.push(tiny_image(), "team/app", "1.0")
    async with (
        open_world(tmp_path / "store", registry) as world,
        open_node_side(disk / "node", world.service) as node,
    ):
        filler = await asyncio.to_thread(fill, disk, 0)
        failure = await node.ensure()
        assert failure is not None
        reason, image = failure.waiting_reason, f'container image "{IMAGE.image}"'
        assert re.fullmatch(rf"{disk}/node/image_manager/pulling/sha256-\w+: No space left on device", reason)
        assert failure.message == f"Failed to record image pull intent for {image}: {reason}"
        assert await node.events() == []
        assert registry.requests() == []
        await asyncio.to_thread(filler.unlink)
        assert node.records("pulling") == node.records("pulled") == []
        assert await node.ensure() is None
        assert [event.partition(": ")[0] for event in await node.events()] == ["Normal Pulling", "Normal Pulled"]
