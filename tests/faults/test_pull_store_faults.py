"""Pulls in trouble on this side of the network: damaged layers, a full disk, a read-only store, kill -9."""

from __future__ import annotations

import asyncio
import gzip
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.faults.pull_world import IMAGE, TARGETS, Target, World, layer_digest, make_image, noise, open_world

from pullet.cri.errors import ResourceExhaustedError
from pullet.cri.types import ImageSpec
from pullet.oci import mediatype
from pullet.oci.descriptor import Descriptor
from pullet.oci.digest import Digest
from pullet.oci.image_builder import BuiltImage, BuiltLayer, build_image
from pullet.store.errors import StoreError
from pullet.testing.fake_registry import FakeRegistry
from pullet.testing.images import plain_layer

pytestmark = pytest.mark.root

PULL = 'failed to pull and unpack image "r.example.com/team/app:1.0": '
DISK_BYTES = 4 << 20


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as registry:
        yield registry


# --- damaged images: nothing but a new push helps ---


def layer_of(blob: bytes, tar: bytes, media_type: str = mediatype.OCI_LAYER_GZIP) -> BuiltLayer:
    descriptor = Descriptor(media_type=media_type, digest=Digest.of(blob), size=len(blob))
    return BuiltLayer(blob, descriptor, Digest.of(tar))


def truncated_gzip() -> BuiltLayer:
    tar = plain_layer({"data": noise(50_000)}).blob
    return layer_of(gzip.compress(tar, mtime=0)[:-3000], tar)


def bad_tar() -> BuiltLayer:
    tar = b"this is no tar" * 100
    return layer_of(gzip.compress(tar, mtime=0), tar)


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
        (truncated_gzip, f"^{PULL}failed to extract layer sha256:.*: layer sha256:.* is corrupt: "),
        (bad_tar, f"^{PULL}failed to extract layer sha256:.*: layer sha256:.* is corrupt: "),
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
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "none", str(path)], check=True)
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


def fill(disk: Path, left_bytes: int) -> Path:
    """Fill the disk up to `left_bytes`; removing the file makes room again."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        with suppress(OSError):
            while True:
                file.write(b"x" * 4096)
        assert os.statvfs(disk).f_bavail == 0
        file.truncate(max(0, file.tell() - left_bytes))
    return filler


@pytest.mark.parametrize("left_bytes", [0, 64 << 10, 200 << 10])
async def test_a_full_disk_is_said_and_survived(disk: Path, registry: FakeRegistry, left_bytes: int) -> None:
    image = make_image()
    registry.push(image, "team/app", "1.0")
    async with open_world(disk / "store", registry) as world:
        filler = await asyncio.to_thread(fill, disk, left_bytes)
        result = await world.pull()
        assert isinstance(result.error, ResourceExhaustedError), result.error
        assert "no space left on device" in result.error.message
        assert "remove unused images" in result.error.next_step
        await asyncio.to_thread(filler.unlink)
        await asyncio.to_thread(world.assert_clean)
        assert (await world.pull()).error is None
        await asyncio.to_thread(world.assert_whole, image)


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


@pytest.mark.parametrize("target", TARGETS)
async def test_a_read_only_store_is_said_and_survived(disk: Path, registry: FakeRegistry, target: Target) -> None:
    """The directories of the store turn read-only with a part of the image still missing."""
    image = make_image()
    registry.push(image, "team/app", "1.0")
    async with open_world(disk / "store", registry) as world:
        await asyncio.to_thread(keep_only_before, world, image, target)
        await asyncio.to_thread(protect, disk / "store")
        result = await world.pull()
        assert result.error is not None
        assert re.search("read-?only", result.error.message, re.IGNORECASE), result.error.message
        assert "writable" in result.error.next_step
        await asyncio.to_thread(unprotect, disk / "store")
        assert (await world.pull()).error is None
        await asyncio.to_thread(world.assert_whole, image)


def keep_only_before(world: World, image: BuiltImage, target: Target) -> None:
    """Put into the store what a pull fetches before the target."""
    parts = {"manifest": [], "config": [image.raw], "layer": [image.raw, image.blobs[Digest(str(image.config_digest))]]}
    for raw in parts[target]:
        world.store.content.put(Digest.of(raw), raw)


def protect(store: Path) -> None:
    for path in (path for path in store.iterdir() if path.is_dir()):
        subprocess.run(["mount", "--bind", str(path), str(path)], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", str(path)], check=True)


def unprotect(store: Path) -> None:
    for path in (path for path in store.iterdir() if path.is_dir()):
        subprocess.run(["umount", str(path)], check=True)


async def test_a_store_on_a_read_only_disk_does_not_open(disk: Path, registry: FakeRegistry) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with pytest.raises(StoreError, match=r"the store at .*/store cannot be opened: Read-only file system"):
        async with open_world(disk / "store", registry):
            pass


# --- kill -9 ---

SCRIPT = """
import asyncio, sys
from pathlib import Path
from tests.faults.pull_world import open_world

async def main() -> None:
    async with open_world(Path(sys.argv[1]), urls=(sys.argv[2],)) as world:
        print((await world.pull()).error or "pulled")

asyncio.run(main())
"""
POINTS = ("layer.verified", "layer.metadata", "layer.rename", "layer.renamed", "pull.before_record")


@pytest.mark.parametrize("point", POINTS)
async def test_a_killed_pull_is_finished_by_the_next(tmp_path: Path, registry: FakeRegistry, point: str) -> None:
    image = make_image()
    registry.push(image, "team/app", "1.0")
    killed = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", SCRIPT, str(tmp_path / "store"), registry.url],
        env={**os.environ, "PULLET_FAULTS": f"{point}=kill"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stdout + killed.stderr
    async with open_world(tmp_path / "store", registry) as world:
        assert await world.service.list_images() == []
        registry.clear_log()
        assert (await world.pull()).error is None
        await asyncio.to_thread(world.assert_whole, image)
        # what was verified and in its place before the kill is not fetched again
        wanted = 0 if point == "pull.before_record" else 1
        assert len(registry.requests(method="GET", path=layer_digest(image))) == wanted
        assert registry.requests(method="GET", path=f"{image.config_digest}") == []
        await world.service.remove_image(IMAGE)
        await asyncio.to_thread(world.assert_clean)
