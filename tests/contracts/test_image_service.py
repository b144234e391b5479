"""What every ImageService does, whatever stands behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec
import pytest

from pullet.base.redact import Secret
from pullet.cri.errors import CriError, InvalidArgumentError, NotFoundError
from pullet.cri.services import ImageService
from pullet.cri.types import AuthConfig, ImageSpec
from pullet.engine.image_service import EngineImageService
from pullet.kit.clock import SystemClock
from pullet.oci.image_builder import BuiltImage
from pullet.registry.client import RegistryClient
from pullet.registry.hosts import HostsConfig, MirrorSettings
from pullet.store.store import Store
from pullet.testing.cri_fakes import FakeImageService, RemoteImage
from pullet.testing.fake_registry import FakeRegistry
from pullet.testing.images import tiny_image
from pullet.testing.registry_faults import FakeAuth

ALICE = AuthConfig(username="alice", password=Secret("s3cret"))
MISSING = f"sha256:{'0' * 64}"


@dataclass(frozen=True)
class Published:
    """An image that the world's registry has."""

    image_id: str
    digest: str  # what the tag stands for


class World(Protocol):
    """An image service and the registry it pulls from."""

    @property
    def images(self) -> ImageService:
        """The service."""
        ...

    def publish(self, image: str, text: str) -> Published:
        """Let the tag stand for an image with this content."""
        ...

    def unpublish(self, image: str) -> None:
        """The tag is gone."""
        ...


class FakeWorld:
    """The fake service has its registry inside."""

    def __init__(self, *, is_private: bool) -> None:
        self.images = FakeImageService(SystemClock())
        self._allowed = frozenset({("alice", "s3cret")}) if is_private else None

    def publish(self, image: str, text: str) -> Published:
        remote = self.images.publish(image, RemoteImage(content=text, allowed=self._allowed))
        return Published(remote.image_id, remote.digest)

    def unpublish(self, image: str) -> None:
        self.images.unpublish(image)


class EngineWorld:
    """The engine with a store of its own and the fake registry as mirror of Docker Hub."""

    def __init__(self, images: EngineImageService, registry: FakeRegistry) -> None:
        self.images, self._registry = images, registry

    def publish(self, image: str, text: str) -> Published:
        built: BuiltImage = tiny_image(text)
        name, _, tag = image.partition(":")
        digest = self._registry.push(built, f"library/{name}", tag)
        assert built.config_digest is not None
        return Published(built.config_digest, digest)

    def unpublish(self, image: str) -> None:
        name, _, tag = image.partition(":")
        self._registry.remove_manifest(f"library/{name}", tag)


@asynccontextmanager
async def engine_world(root: Path, *, is_private: bool) -> AsyncIterator[World]:
    auth = FakeAuth(scheme="basic", users={"alice": "s3cret"}) if is_private else None
    stack = ExitStack()
    try:
        registry = await asyncio.to_thread(stack.enter_context, FakeRegistry(auth=auth))
        hosts = HostsConfig(mirrors={"docker.io": MirrorSettings(endpoints=(registry.url,), is_exclusive=True)})
        client = stack.enter_context(closing(RegistryClient(hosts, clock=SystemClock())))
        store = stack.enter_context(await asyncio.to_thread(Store.open, root, clock=SystemClock()))
        async with asyncio.TaskGroup() as group:
            images = EngineImageService(store=store, registry=client, group=group, clock=SystemClock())
            stack.callback(images.close)
            yield EngineWorld(images, registry)
    finally:
        await asyncio.to_thread(stack.close)


@asynccontextmanager
async def make_world(kind: str, root: Path, *, is_private: bool) -> AsyncIterator[World]:
    if kind == "fake":
        yield FakeWorld(is_private=is_private)
    else:
        async with engine_world(root, is_private=is_private) as world:
            yield world


SERVICES = ["fake", pytest.param("engine", marks=pytest.mark.root)]


@pytest.fixture(params=SERVICES)
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async with make_world(request.param, tmp_path / "store", is_private=False) as world:
        yield world


@pytest.fixture(params=SERVICES)
async def private_world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async with make_world(request.param, tmp_path / "store", is_private=True) as world:
        yield world


async def test_a_pulled_image_is_found_by_every_name_it_has(world: World) -> None:
    published = world.publish("nginx:1.17.1", "one")
    image_id = await world.images.pull_image(ImageSpec("nginx:1.17.1"), None)
    assert image_id == published.image_id
    names = [
        "nginx:1.17.1",
        "docker.io/library/nginx:1.17.1",
        f"nginx@{published.digest}",
        f"nginx:9.9.9@{published.digest}",
        image_id,
        image_id.removeprefix("sha256:"),
    ]
    for name in names:
        image = await world.images.image_status(ImageSpec(name))
        assert image is not None, name
        assert image.id == image_id
        assert image.repo_tags == ("docker.io/library/nginx:1.17.1",)
        assert image.repo_digests == (f"docker.io/library/nginx@{published.digest}",)
        assert image.size_bytes > 0
        assert not image.is_pinned
        assert await world.images.list_images() == [image]


async def test_what_was_not_pulled_is_absent(world: World) -> None:
    world.publish("nginx:1.17.1", "one")
    assert await world.images.image_status(ImageSpec("nginx:1.17.1")) is None
    assert await world.images.image_status(ImageSpec(f"nginx@{MISSING}")) is None
    assert await world.images.image_status(ImageSpec(MISSING)) is None
    assert list(await world.images.list_images()) == []


async def test_no_tag_is_latest(world: World) -> None:
    published = world.publish("nginx:latest", "one")
    assert await world.images.pull_image(ImageSpec("nginx"), None) == published.image_id
    assert await world.images.image_status(ImageSpec("nginx:latest")) is not None


async def test_pulling_again_changes_nothing(world: World) -> None:
    world.publish("nginx:1.17.1", "one")
    first = await world.images.pull_image(ImageSpec("nginx:1.17.1"), None)
    before = await world.images.list_images()
    assert await world.images.pull_image(ImageSpec("nginx:1.17.1"), None) == first
    assert await world.images.list_images() == before


async def test_a_pull_by_digest_gives_no_tag(world: World) -> None:
    published = world.publish("nginx:1.17.1", "one")
    image_id = await world.images.pull_image(ImageSpec(f"nginx:other@{published.digest}"), None)
    image = await world.images.image_status(ImageSpec(image_id))
    assert image is not None
    assert image.repo_tags == ()
    assert image.repo_digests == (f"docker.io/library/nginx@{published.digest}",)
    assert await world.images.image_status(ImageSpec("nginx:1.17.1")) is None


async def test_a_moved_tag_moves_at_the_next_pull_and_leaves_the_old_image(world: World) -> None:
    old = world.publish("nginx:latest", "old")
    await world.images.pull_image(ImageSpec("nginx:latest"), None)
    new = world.publish("nginx:latest", "new")
    present = await world.images.image_status(ImageSpec("nginx:latest"))
    assert present is not None
    assert present.id == old.image_id
    assert await world.images.pull_image(ImageSpec("nginx:latest"), None) == new.image_id
    moved = await world.images.image_status(ImageSpec("nginx:latest"))
    assert moved is not None
    assert moved.id == new.image_id
    left = await world.images.image_status(ImageSpec(old.image_id))
    assert left is not None
    assert left.repo_tags == ()


async def test_two_names_of_one_image_are_one_image(world: World) -> None:
    published = world.publish("nginx:1", "one")
    world.publish("nginx:1.17", "one")
    await world.images.pull_image(ImageSpec("nginx:1"), None)
    await world.images.pull_image(ImageSpec("nginx:1.17"), None)
    (image,) = await world.images.list_images()
    assert image.id == published.image_id
    assert sorted(image.repo_tags) == ["docker.io/library/nginx:1", "docker.io/library/nginx:1.17"]
    assert len(image.repo_digests) == 1


async def test_a_missing_tag_is_not_found(world: World) -> None:
    with pytest.raises(NotFoundError) as caught:
        await world.images.pull_image(ImageSpec("nginx:1.17.5"), None)
    assert str(caught.value).startswith(
        'rpc error: code = NotFound desc = failed to pull and unpack image "docker.io/library/nginx:1.17.5": '
    )
    assert str(caught.value).endswith("docker.io/library/nginx:1.17.5: not found")
    assert list(await world.images.list_images()) == []


async def test_a_missing_digest_is_not_found(world: World) -> None:
    world.publish("nginx:1.17.1", "one")
    with pytest.raises(NotFoundError, match=f"docker.io/library/nginx@{MISSING}: not found"):
        await world.images.pull_image(ImageSpec(f"nginx:1.17.1@{MISSING}"), None)


async def test_a_tag_that_vanished_leaves_the_image(world: World) -> None:
    published = world.publish("nginx:1.17.1", "one")
    await world.images.pull_image(ImageSpec("nginx:1.17.1"), None)
    world.unpublish("nginx:1.17.1")
    with pytest.raises(NotFoundError):
        await world.images.pull_image(ImageSpec("nginx:1.17.1"), None)
    image = await world.images.image_status(ImageSpec("nginx:1.17.1"))
    assert image is not None
    assert image.id == published.image_id


@pytest.mark.parametrize("image", ["Nginx:1.17.1", "nginx:-bad", "nginx@sha256:abc", ""])
async def test_names_that_do_not_parse(world: World, image: str) -> None:
    with pytest.raises(CriError, match=r"failed to parse image reference .*invalid reference format"):
        await world.images.pull_image(ImageSpec(image), None)
    with pytest.raises(InvalidArgumentError, match="invalid reference format"):
        await world.images.image_status(ImageSpec(image))


async def test_removing_forgets_the_image_with_all_its_names(world: World) -> None:
    world.publish("nginx:1", "one")
    world.publish("nginx:1.17", "one")
    other = world.publish("nginx:2", "two")
    await world.images.pull_image(ImageSpec("nginx:1"), None)
    await world.images.pull_image(ImageSpec("nginx:1.17"), None)
    await world.images.pull_image(ImageSpec("nginx:2"), None)
    await world.images.remove_image(ImageSpec("nginx:1"))
    assert await world.images.image_status(ImageSpec("nginx:1.17")) is None
    assert [image.id for image in await world.images.list_images()] == [other.image_id]
    await world.images.remove_image(ImageSpec("nginx:1"))
    await world.images.remove_image(ImageSpec(MISSING))
    assert await world.images.pull_image(ImageSpec("nginx:1"), None)


async def test_a_private_image_wants_the_right_credential(private_world: World) -> None:
    published = private_world.publish("nginx:1", "one")
    wrong = msgspec.structs.replace(ALICE, password=Secret("nope"))
    for auth in (None, wrong):
        with pytest.raises(CriError) as caught:
            await private_world.images.pull_image(ImageSpec("nginx:1"), auth)
        assert "401 Unauthorized" in str(caught.value) or "authorization failed" in str(caught.value)
        assert "nope" not in str(caught.value)
    assert await private_world.images.pull_image(ImageSpec("nginx:1"), ALICE) == published.image_id
    with pytest.raises(CriError):  # present or not: each pull asks the registry with its own credential
        await private_world.images.pull_image(ImageSpec("nginx:1"), None)


async def test_the_file_system_is_told(world: World) -> None:
    world.publish("nginx:1", "one")
    (before,) = await world.images.image_fs_info()
    await world.images.pull_image(ImageSpec("nginx:1"), None)
    (after,) = await world.images.image_fs_info()
    assert after.mountpoint == before.mountpoint
    assert after.used_bytes > before.used_bytes
    assert after.inodes_used > before.inodes_used
    assert after.timestamp >= before.timestamp > 0
