"""Names of images: aliases of registries.conf, and what there is instead of a missing tag."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.integration.image_world import ALICE, open_service, push

from pullet.base.redact import Secret
from pullet.cli.progress import PullDisplay
from pullet.cli.pulling import show_pull
from pullet.control.images import NodeImages
from pullet.control.tag_advice import add_nearest_tags
from pullet.cri.errors import CriError, NotFoundError
from pullet.cri.types import AuthConfig, ImageSpec
from pullet.engine.image_service import EngineImageService
from pullet.kit.clock import SystemClock
from pullet.registry.short_names import ShortNames
from pullet.testing.fake_registry import FakeRegistry
from pullet.testing.images import tiny_image
from pullet.testing.registry_faults import FakeAuth, Fault

pytestmark = pytest.mark.root
MISSING = f"sha256:{'0' * 64}"
BOB = AuthConfig(username="bob", password=Secret("wr0ng"))


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as registry:
        yield registry


@pytest.fixture
async def service(tmp_path: Path, registry: FakeRegistry) -> AsyncIterator[EngineImageService]:
    async with open_service(tmp_path / "store", registry) as service:
        yield service


def missing_tag(container: str, *, tag: str = "1.17.5", next_step: str = "", pod: str = "u") -> dict[str, Any]:
    """A pass as `why` gets it."""
    text = f'Back-off pulling image "nginx:{tag}": ErrImagePull: ...: docker.io/library/nginx:{tag}: not found'
    return {"pod_uid": pod, "container": container, "image": f"nginx:{tag}", "error": text, "next_step": next_step}


async def no_credentials(_pod_uid: str, _repository: str) -> Sequence[AuthConfig]:
    return ()


class TestNearestTags:
    async def test_what_there_is_instead(self, service: EngineImageService, registry: FakeRegistry) -> None:
        for tag in ("1.17.1", "1.17.2", "1.16", "stable"):
            push(registry, tiny_image(), tag)
        assert list(await service.nearest_tags(ImageSpec("nginx:1.17.5"), None)) == ["1.17.1", "1.17.2", "1.16"]
        assert list(await service.nearest_tags(ImageSpec("nginx:1.17.1"), None)) == []
        assert list(await service.nearest_tags(ImageSpec(f"nginx@{MISSING}"), None)) == []
        assert registry.requests() == ["GET /v2/library/nginx/tags/list"] * 2

    @pytest.mark.parametrize("fault", [Fault(status=401), Fault(status=404), Fault(body=b"<html>", status=200)])
    async def test_it_never_fails(self, service: EngineImageService, registry: FakeRegistry, fault: Fault) -> None:
        registry.inject(fault)
        assert list(await service.nearest_tags(ImageSpec("nginx:1.17.5"), None)) == []
        assert list(await service.nearest_tags(ImageSpec("Nginx:1.17.5"), None)) == []

    async def test_who_asks_waits_no_longer_than_a_moment(
        self, service: EngineImageService, registry: FakeRegistry
    ) -> None:
        registry.inject(Fault(delay_seconds=30))
        async with asyncio.timeout(5):
            assert list(await service.nearest_tags(ImageSpec("nginx:1.17.5"), None)) == []

    async def test_the_pull_command_names_them(self, service: EngineImageService, registry: FakeRegistry) -> None:
        push(registry, tiny_image())
        images = NodeImages(images=service, clock=SystemClock())
        with pytest.raises(NotFoundError) as caught:
            [message async for message in images.pull("nginx:1.17.5")]
        assert caught.value.next_step == (
            "check the name and tag, or push the image; the nearest tags there are 1.17.1"
        )

    async def test_why_names_them_beside_the_newest_pass(
        self, service: EngineImageService, registry: FakeRegistry
    ) -> None:
        push(registry, tiny_image())
        passes = [
            missing_tag("a", next_step="check"),
            missing_tag("a", next_step="check"),
            missing_tag("b"),
            missing_tag("c", tag="1.17.6", next_step="wait") | {"error": "no answer"},
        ]
        await add_nearest_tags(passes, service, no_credentials)
        sentence = "the nearest tags there are 1.17.1"
        assert [one["next_step"] for one in passes] == [f"check; {sentence}", "check", sentence, "wait"]
        assert len(registry.log) == 1

    async def test_why_asks_a_private_repository_with_the_credentials_of_the_pod(
        self, service: EngineImageService, registry: FakeRegistry
    ) -> None:
        push(registry, tiny_image())
        registry.auth = FakeAuth(scheme="basic", users={"alice": "s3cret"})
        asked: list[tuple[str, str]] = []

        async def of_pod(pod_uid: str, repository: str) -> Sequence[AuthConfig]:
            asked.append((pod_uid, repository))
            return [BOB, ALICE] if pod_uid == "hers" else ()

        passes = [missing_tag("a", pod="hers"), missing_tag("b", pod="nobody's")]
        await add_nearest_tags(passes, service, of_pod)
        assert [one["next_step"] for one in passes] == ["the nearest tags there are 1.17.1", ""]
        assert asked == [("hers", "docker.io/library/nginx"), ("nobody's", "docker.io/library/nginx")]

    async def test_the_pull_command_tells_what_became_of_each_login(
        self, service: EngineImageService, registry: FakeRegistry
    ) -> None:
        push(registry, tiny_image())
        registry.auth = FakeAuth(scheme="basic", users={"alice": "s3cret"})

        async def logins(_repository: str) -> Sequence[AuthConfig]:
            return [BOB, ALICE]

        images = NodeImages(images=service, clock=SystemClock(), credentials=logins)
        with pytest.raises(CriError) as caught:
            [message async for message in images.pull("nginx:1.17.5")]
        first, second = caught.value.message[1:-1].split(", rpc error: code = NotFound desc = ")
        assert "401 Unauthorized" in first
        assert second.endswith("docker.io/library/nginx:1.17.5: not found")
        assert caught.value.next_step.endswith("the nearest tags there are 1.17.1")


class TestShortNames:
    @pytest.fixture
    async def service(self, tmp_path: Path, registry: FakeRegistry) -> AsyncIterator[EngineImageService]:
        conf = tmp_path / "registries.conf"
        conf.write_text(f'[aliases]\ncentos = "{registry.host}/team/centos"\n')
        async with open_service(tmp_path / "store", registry, short_names=ShortNames(conf)) as service:
            yield service

    async def test_an_alias_is_what_is_pulled_and_found(
        self, service: EngineImageService, registry: FakeRegistry
    ) -> None:
        image = tiny_image()
        registry.push(image, "team/centos", "7")
        assert await service.pull_image(ImageSpec("centos:7"), None) == image.config_digest
        found = await service.image_status(ImageSpec("centos:7"))
        assert found is not None
        assert found.repo_tags == (f"{registry.host}/team/centos:7",)
        await service.remove_image(ImageSpec("centos:7"))
        assert await service.list_images() == []

    async def test_a_pull_by_alias_is_shown_like_any_other(
        self, service: EngineImageService, registry: FakeRegistry
    ) -> None:
        """Its layers, `Digest:` and `Status:`; the second time they exist already, though nobody saw it on its way."""
        image = tiny_image()
        registry.push(image, "team/centos", "7")
        images = NodeImages(images=service, clock=SystemClock())
        for phase, status in (("Pull complete", "Downloaded newer image"), ("Already exists", "Image is up to date")):
            out = io.StringIO()
            with PullDisplay(out) as display:
                async for message in images.pull("centos:7"):
                    show_pull(display, dict(message), "centos:7")
            lines = out.getvalue().splitlines()
            assert [line.partition(": ")[2] for line in lines[:-3]] == [phase] * (len(image.blobs) - 1)
            assert lines[-3:-1] == [f"Digest: {image.descriptor.digest}", f"Status: {status} for centos:7"]
            assert lines[-1].startswith(f"{registry.host}/team/centos:7 (")

    @pytest.mark.parametrize("server", ["", "docker.io", "its own"])
    async def test_a_credential_goes_where_it_was_meant_to(
        self, service: EngineImageService, registry: FakeRegistry, server: str
    ) -> None:
        registry.push(tiny_image(), "team/centos", "7")
        registry.auth = FakeAuth(scheme="basic", users={"alice": "s3cret"})
        address = registry.host if server == "its own" else server
        auth = AuthConfig(username="alice", password=Secret("s3cret"), server_address=address)
        if server == "its own":
            await service.pull_image(ImageSpec("centos:7"), auth)
        else:
            with pytest.raises(CriError, match="no basic auth credentials"):
                await service.pull_image(ImageSpec("centos:7"), auth)
            assert all("authorization" not in one.headers for one in registry.log)

    async def test_a_wrong_file(self, service: EngineImageService, tmp_path: Path) -> None:
        await asyncio.to_thread((tmp_path / "registries.conf").write_text, "[aliases")
        with pytest.raises(CriError, match=r"registries\.conf: ") as caught:
            await service.pull_image(ImageSpec("centos:7"), None)
        assert caught.value.next_step == "correct the file or setting named above"
