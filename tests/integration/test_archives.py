"""Images to archives and back, and through the hands of other tools: the same image id, the same tree."""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
import tarfile
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.faults.pull_world import DOMAIN, World, open_world

from pullet.cri.errors import InvalidArgumentError
from pullet.cri.extensions import ArchiveFormat
from pullet.cri.types import ImageSpec
from pullet.oci.digest import Digest
from pullet.oci.image_builder import BuiltLayer, build_image
from pullet.store.errors import StoreError
from pullet.store.settings import SnapshotterChoice
from pullet.testing.fake_registry import FakeRegistry
from pullet.testing.images import as_docker, zstd_layer
from pullet.testing.layer_tars import LayerTar, Line, read_tree

pytestmark = pytest.mark.root
NAME = f"{DOMAIN}/team/app:1.0"
NOWHERE = ("http://127.0.0.1:9",)
FORMS = [SnapshotterChoice.EROFS, SnapshotterChoice.DIRECTORY]


def make_layers() -> list[BuiltLayer]:
    low = LayerTar().directory("etc", mode=0o750, owner=(1, 2)).file("etc/a", b"a").file("etc/gone", b"g")
    low.directory("d").file("d/old", b"o" * 5000).file("suid", b"s" * 600, mode=0o4755).link("sym", "etc/a")
    top = LayerTar().directory("etc", mode=0o751).whiteout("etc/gone").directory("d").opaque("d").file("d/new", b"n")
    top.link("hard", "d/new", is_hard=True).file("tagged", b"t", xattrs={"user.note": b"n"})
    built = [BuiltLayer(blob.blob, blob.descriptor, Digest(blob.diff_id)) for blob in (low.blob(), top.blob())]
    return [*built, zstd_layer({"z": b"z" * 9000})]


IMAGE = build_image(make_layers())


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as registry:
        registry.push(IMAGE, "team/app", "1.0")
        yield registry


@pytest.fixture(params=FORMS)
async def world(tmp_path: Path, registry: FakeRegistry, request: pytest.FixtureRequest) -> AsyncIterator[World]:
    async with open_world(tmp_path / "store", registry, snapshotter=request.param) as world:
        await world.service.pull_image(ImageSpec(NAME), None)
        yield world


@asynccontextmanager
async def another(tmp_path: Path, form: str = "erofs") -> AsyncIterator[World]:
    """A store that no registry serves."""
    async with open_world(tmp_path / "other", urls=NOWHERE, snapshotter=SnapshotterChoice(form)) as world:
        yield world


def tree_of(world: World) -> dict[str, Line]:
    """The only image's. Blocking."""
    (record,) = world.store.images.list()
    try:
        return read_tree(world.store.snapshots.view("v", record.diff_ids).path)
    finally:
        world.store.snapshots.remove("v")


async def run(*command: object) -> str:
    words = [str(word) for word in command]
    done = await asyncio.to_thread(subprocess.run, words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words}: {done.stderr}"
    return done.stdout


@pytest.mark.parametrize("archive_format", ArchiveFormat)
async def test_there_and_back(world: World, tmp_path: Path, archive_format: ArchiveFormat) -> None:
    archive = tmp_path / "a.tar"
    await world.service.export_image([ImageSpec(NAME)], str(archive), archive_format)
    want = await asyncio.to_thread(tree_of, world)
    for form in FORMS:
        async with open_world(tmp_path / form, urls=NOWHERE, snapshotter=form) as other:
            assert await other.service.import_images(str(archive)) == [NAME]
            assert await asyncio.to_thread(tree_of, other) == want
            (image,) = await other.service.list_images()
            assert (image.id, image.repo_tags) == (str(IMAGE.config_digest), (NAME,))
            stored = await asyncio.to_thread(lambda: [digest for digest, _ in other.store.content.list()])
            assert len(stored) == 2, "manifest and config; the layers' blobs are not kept"


@pytest.mark.parametrize("archive_format", ArchiveFormat)
async def test_skopeo_and_umoci_read_what_is_exported(
    world: World, tmp_path: Path, archive_format: ArchiveFormat
) -> None:
    archive = tmp_path / "a.tar"
    await world.service.export_image([ImageSpec(NAME)], str(archive), archive_format)
    source = f"{archive_format}:{archive}:{NAME}"
    config = json.loads(await run("skopeo", "inspect", "--config", "--raw", source))
    assert config["rootfs"]["diff_ids"] == [str(layer.diff_id) for layer in make_layers()]
    await run("skopeo", "copy", "-q", source, f"oci:{tmp_path}/layout:x")
    await run("umoci", "unpack", "--image", f"{tmp_path}/layout:x", tmp_path / "bundle")
    theirs = await asyncio.to_thread(read_tree, tmp_path / "bundle" / "rootfs")
    assert theirs == await asyncio.to_thread(tree_of, world)


@pytest.fixture
def podman() -> Iterator[tuple[str, ...]]:
    """podman with a storage of its own, below a path short enough for it."""
    with tempfile.TemporaryDirectory(prefix="podman") as place:
        yield "podman", "--root", f"{place}/s", "--runroot", f"{place}/r", "--storage-driver", "vfs"


async def test_podman_loads_what_is_exported_and_gives_it_back(
    world: World, tmp_path: Path, podman: tuple[str, ...]
) -> None:
    await world.service.export_image([ImageSpec(NAME)], str(tmp_path / "a.tar"), ArchiveFormat.DOCKER)
    assert NAME in await run(*podman, "load", "-i", tmp_path / "a.tar")
    want = await asyncio.to_thread(tree_of, world)
    for archive_format in ArchiveFormat:
        saved = tmp_path / f"{archive_format}.tar"
        await run(*podman, "save", "-q", "--format", archive_format, "-o", saved, NAME)
        async with another(tmp_path / archive_format, "directory") as other:
            assert await other.service.import_images(str(saved)) == [NAME]
            assert await asyncio.to_thread(tree_of, other) == want  # under a config that podman wrote anew


async def test_a_layout_directory_by_the_name_it_is_given(world: World, tmp_path: Path) -> None:
    await world.service.export_image([ImageSpec(NAME)], str(tmp_path / "a.tar"), ArchiveFormat.OCI)
    await run("skopeo", "copy", "-q", f"oci-archive:{tmp_path}/a.tar:{NAME}", f"oci:{tmp_path}/layout:1.0")
    async with another(tmp_path) as other:
        with pytest.raises(InvalidArgumentError, match=r"only the tag '1\.0': say what .* with --name"):
            await other.service.import_images(str(tmp_path / "layout"))
        imported = await other.service.import_images(str(tmp_path / "layout"), "example.org/app:2")
        assert imported == ["example.org/app:2"]
        assert await asyncio.to_thread(tree_of, other) == await asyncio.to_thread(tree_of, world)


async def test_several_images_share_their_layers_in_the_archive(
    world: World, registry: FakeRegistry, tmp_path: Path
) -> None:
    second = as_docker(build_image(make_layers()[:2], defaults={"Cmd": ["second"]}))
    registry.push(second, "team/second", "1")
    names = [NAME, f"{DOMAIN}/team/second:1"]
    await world.service.pull_image(ImageSpec(names[1]), None)
    for archive_format in ArchiveFormat:
        archive = tmp_path / f"{archive_format}.tar"
        await world.service.export_image([ImageSpec(name) for name in names], str(archive), archive_format)
        with tarfile.open(archive) as tar:
            members = tar.getnames()
        assert len(members) == len(set(members))
        async with another(tmp_path / archive_format) as other:
            assert sorted(await other.service.import_images(str(archive))) == sorted(names)
            assert {image.id for image in await other.service.list_images()} == {
                str(IMAGE.config_digest),
                str(second.config_digest),
            }


async def test_by_its_id_an_image_has_no_name_in_the_archive(world: World, tmp_path: Path) -> None:
    for archive_format in ArchiveFormat:
        archive = tmp_path / f"{archive_format}.tar"
        spec = ImageSpec(str(IMAGE.config_digest)[:20])
        await world.service.export_image([spec], str(archive), archive_format)
        async with another(tmp_path / archive_format) as other:
            with pytest.raises(InvalidArgumentError, match="--name"):
                await other.service.import_images(str(archive))
            assert await other.service.import_images(str(archive), "app:1") == ["docker.io/library/app:1"]


async def test_a_damaged_layer_is_not_exported(world: World, tmp_path: Path) -> None:
    diff_id = str(make_layers()[0].diff_id).removeprefix("sha256:")
    erofs, tree = (tmp_path / "store" / part / "sha256" / diff_id for part in ("layers", "trees"))

    def damage() -> None:
        victim = tree / "tree" / "d" / "old" if tree.exists() else erofs
        with victim.open("r+b") as file:
            file.seek(victim.stat().st_size // 2)
            file.write(b"!")

    await asyncio.to_thread(damage)
    with pytest.raises(StoreError, match="damaged"):
        await world.service.export_image([ImageSpec(NAME)], str(tmp_path / "a.tar"), ArchiveFormat.OCI)
    assert [path.name for path in tmp_path.iterdir() if "tar" in path.name] == []


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({}, "holds no images"),
        ({"manifest.json": b"[]"[:1]}, "manifest.json of the archive is not valid"),
        ({"manifest.json": b'[{"Config": "c.json", "RepoTags": ["a:1"], "Layers": []}]'}, "c.json is missing"),
        ({"manifest.json": b'[{"Config": "c.json", "RepoTags": null, "Layers": []}]', "c.json": b"{}"}, "no name"),
        (
            {
                "oci-layout": b"{}",
                "index.json": b'{"schemaVersion": 2, "manifests": []}',
                f"blobs/sha256/{'0' * 64}": b"not that",
            },
            f"blobs/sha256/{'0' * 64} is damaged",
        ),
    ],
)
async def test_what_is_no_archive_is_said(tmp_path: Path, members: dict[str, bytes], said: str) -> None:
    archive = tmp_path / "a.tar"
    with tarfile.open(archive, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    async with another(tmp_path) as other:
        with pytest.raises(InvalidArgumentError, match=said):
            await other.service.import_images(str(archive))
        assert await other.service.list_images() == []
        await asyncio.to_thread(archive.write_bytes, b"no tar")
        with pytest.raises(InvalidArgumentError, match="not a readable archive"):
            await other.service.import_images(str(archive))
        await asyncio.to_thread(other.assert_clean)
