"""Pulls of the engine: real store, fake registry with faults, the requests counted."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest
from tests.integration.image_world import ALICE, NGINX, open_service, push

from pullet.cri.errors import CriError, FailedPreconditionError, NotFoundError
from pullet.cri.extensions import LayerPhase, PullProgressUpdate, PullReport
from pullet.cri.types import ImageSpec
from pullet.engine.image_service import EngineImageService
from pullet.kit.clock import SystemClock
from pullet.oci import mediatype
from pullet.oci.descriptor import Descriptor
from pullet.oci.digest import Digest
from pullet.oci.image_builder import BuiltLayer, build_image, build_index
from pullet.oci.image_config import ImageConfig, RootFS
from pullet.oci.manifest import Manifest, encode_json
from pullet.oci.platform import parse_platform
from pullet.store.store import Store
from pullet.testing.fake_registry import FakeRegistry
from pullet.testing.images import as_docker, file_layer, plain_layer, tiny_image, zstd_layer
from pullet.testing.registry_faults import FakeAuth, Fault

pytestmark = pytest.mark.root
MISSING = f"sha256:{'0' * 64}"


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as registry:
        yield registry


@pytest.fixture
async def service(tmp_path: Path, registry: FakeRegistry) -> AsyncIterator[EngineImageService]:
    async with open_service(tmp_path / "store", registry) as service:
        yield service


def noise(size: int) -> bytes:
    """Bytes that do not compress, the same each time."""
    return b"".join(bytes.fromhex(Digest.of(b"%d" % number).hex) for number in range(size // 32))


class TestRequests:
    async def test_cold_index(self, service: EngineImageService, registry: FakeRegistry) -> None:
        image = tiny_image()
        index = push(registry, build_index([tiny_image("arm", platform=parse_platform("linux/arm64")), image]))
        await service.pull_image(NGINX, None)
        config, *layers = image.blobs
        base = "/v2/library/nginx"
        requests = registry.requests()
        assert requests[:4] == [
            f"HEAD {base}/manifests/1.17.1",
            f"GET {base}/manifests/{index.descriptor.digest}",
            f"GET {base}/manifests/{image.descriptor.digest}",
            f"GET {base}/blobs/{config}",
        ]
        assert sorted(requests[4:]) == sorted(f"GET {base}/blobs/{layer}" for layer in layers)
        assert {one.query for one in registry.log} == {"ns=docker.io"}

    async def test_an_unchanged_tag_is_one_head(self, service: EngineImageService, registry: FakeRegistry) -> None:
        push(registry, tiny_image())
        await service.pull_image(NGINX, None)
        registry.clear_log()
        await service.pull_image(NGINX, None)
        assert registry.requests() == ["HEAD /v2/library/nginx/manifests/1.17.1"]

    async def test_another_name_of_present_content_is_one_head(
        self, service: EngineImageService, registry: FakeRegistry
    ) -> None:
        image = push(registry, tiny_image())
        push(registry, image, "stable")
        await service.pull_image(ImageSpec(f"nginx@{image.descriptor.digest}"), None)
        registry.clear_log()
        await service.pull_image(ImageSpec("nginx:stable"), None)
        assert registry.requests() == ["HEAD /v2/library/nginx/manifests/stable"]

    async def test_only_missing_layers_are_requested(self, service: EngineImageService, registry: FakeRegistry) -> None:
        base, old, new = file_layer({"base": "b"}), file_layer({"app": "1"}), file_layer({"app": "2"})
        push(registry, build_image([base, old]), "1")
        push(registry, build_image([base, new]), "2")
        await service.pull_image(ImageSpec("nginx:1"), None)
        registry.clear_log()
        await service.pull_image(ImageSpec("nginx:2"), None)
        assert registry.requests(method="GET", path="/blobs/")[1:] == [
            f"GET /v2/library/nginx/blobs/{new.descriptor.digest}"
        ]
        assert len(registry.log) == 4  # HEAD, manifest, config, layer

    async def test_a_missing_tag_is_one_head(self, service: EngineImageService, registry: FakeRegistry) -> None:
        for _ in range(2):
            with pytest.raises(NotFoundError):
                await service.pull_image(NGINX, None)
        assert registry.requests() == ["HEAD /v2/library/nginx/manifests/1.17.1"] * 2

    async def test_pulls_of_one_image_at_once_are_one_pull(
        self, service: EngineImageService, registry: FakeRegistry
    ) -> None:
        push(registry, tiny_image())
        registry.inject(Fault(delay_seconds=0.05))
        async with asyncio.TaskGroup() as group:
            for _ in range(20):
                group.create_task(service.pull_image(NGINX, None))
        assert len(registry.log) == 5

    async def test_images_that_share_a_layer_fetch_it_once(
        self, service: EngineImageService, registry: FakeRegistry
    ) -> None:
        shared = file_layer({"shared": noise(200_000)})
        for number in range(5):
            push(registry, build_image([shared, file_layer({"own": str(number)})]), str(number))
        registry.inject(Fault(path="/blobs/", delay_seconds=0.05))
        async with asyncio.TaskGroup() as group:
            for number in range(5):
                group.create_task(service.pull_image(ImageSpec(f"nginx:{number}"), None))
        assert len(registry.requests(path=f"/blobs/{shared.descriptor.digest}")) == 1
        assert len(await service.list_images()) == 5

    async def test_each_credential_asks_for_itself(self, tmp_path: Path) -> None:
        auth = FakeAuth(scheme="basic", users={"alice": "s3cret"})
        async with FakeRegistry(auth=auth) as registry:
            push(registry, tiny_image())
            async with open_service(tmp_path, registry) as service:
                good, bad = await asyncio.gather(
                    service.pull_image(NGINX, ALICE), service.pull_image(NGINX, None), return_exceptions=True
                )
        assert isinstance(good, str)
        assert isinstance(bad, CriError)


class TestKinds:
    @pytest.mark.parametrize(
        "layers",
        [
            [zstd_layer({"a": "1"}), plain_layer({"b": "2"}), file_layer({"c": "3"})],
            [],
            [file_layer({"a": "1"}), file_layer({"a": "1"})],
            [file_layer({f"f{number}": "x"}) for number in range(40)],
        ],
        ids=["compressions", "no layers", "one layer twice", "many"],
    )
    async def test_layers(self, service: EngineImageService, registry: FakeRegistry, layers: list[BuiltLayer]) -> None:
        image = push(registry, build_image(layers))
        assert await service.pull_image(NGINX, None) == image.config_digest
        found = await service.image_status(NGINX)
        assert found is not None
        manifest_size = sum(layer.descriptor.size for layer in layers)
        assert image.config_digest is not None
        assert found.size_bytes == manifest_size + len(image.blobs[image.config_digest])

    async def test_docker_schema_2(self, service: EngineImageService, registry: FakeRegistry) -> None:
        image = push(registry, as_docker(tiny_image()))
        assert await service.pull_image(NGINX, None) == image.config_digest

    async def test_foreign_layers_come_from_their_urls(
        self, service: EngineImageService, registry: FakeRegistry
    ) -> None:
        layer = file_layer({"a": "far"})
        async with FakeRegistry() as elsewhere:
            elsewhere.add_blob("vendor", layer.blob)
            foreign = msgspec.structs.replace(
                layer.descriptor,
                media_type=mediatype.DOCKER_FOREIGN_LAYER_GZIP,
                urls=(f"{elsewhere.url}/v2/vendor/blobs/{layer.descriptor.digest}",),
            )
            image = push(registry, build_image([BuiltLayer(layer.blob, foreign, layer.diff_id)]))
            registry.remove_blob(layer.descriptor.digest)
            assert await service.pull_image(NGINX, ALICE) == image.config_digest
            assert "authorization" not in elsewhere.log[0].headers

    async def test_sha512_all_the_way(self, service: EngineImageService, registry: FakeRegistry) -> None:
        layer = file_layer({"a": "long"})
        blob = msgspec.structs.replace(layer.descriptor, digest=Digest.of(layer.blob, "sha512"))
        config = encode_json(
            ImageConfig(architecture="amd64", os="linux", rootfs=RootFS(diff_ids=(Digest(layer.diff_id),)))
        )
        config_digest = Digest.of(config, "sha512")
        manifest = Manifest(
            schema_version=2,
            media_type=mediatype.OCI_MANIFEST,
            config=Descriptor(media_type=mediatype.OCI_CONFIG, digest=config_digest, size=len(config)),
            layers=(blob,),
        )
        raw = encode_json(manifest)
        for digest, content in ((config_digest, config), (blob.digest, layer.blob)):
            registry.add_blob("library/nginx", content, digest)
        registry.add_manifest("library/nginx", raw, mediatype.OCI_MANIFEST, Digest.of(raw, "sha512"))
        image = ImageSpec(f"nginx@{Digest.of(raw, 'sha512')}")
        assert await service.pull_image(image, None) == config_digest
        found = await service.image_status(image)
        assert found is not None
        assert found.id == config_digest

    async def test_a_nested_index(self, service: EngineImageService, registry: FakeRegistry) -> None:
        image = tiny_image()
        inner = build_index([image])
        outer = build_index([inner])
        registry.push(inner, "library/nginx")
        push(registry, outer)
        assert await service.pull_image(NGINX, None) == image.config_digest

    @pytest.mark.parametrize(
        ("host", "chosen"),
        [("linux/amd64", "linux/amd64"), ("linux/arm64", "linux/arm64"), ("linux/arm/v7", "linux/arm/v6")],
    )
    async def test_the_platform_of_the_machine(
        self, tmp_path: Path, registry: FakeRegistry, host: str, chosen: str
    ) -> None:
        images = {
            name: tiny_image(name, platform=parse_platform(name))
            for name in ("linux/arm/v6", "linux/s390x", "linux/arm64", "linux/amd64")
        }
        push(registry, build_index(list(images.values())))
        async with open_service(tmp_path, registry, platform=host) as service:
            assert await service.pull_image(NGINX, None) == images[chosen].config_digest

    async def test_no_such_platform(self, service: EngineImageService, registry: FakeRegistry) -> None:
        push(registry, build_index([tiny_image("arm", platform=parse_platform("linux/arm64"))]))
        with pytest.raises(NotFoundError) as caught:
            await service.pull_image(NGINX, None)
        assert caught.value.message == (
            'failed to pull and unpack image "docker.io/library/nginx:1.17.1": '
            "no match for platform in manifest: not found"
        )
        assert caught.value.cause == "the image is there for linux/arm64, this node needs linux/amd64"

    async def test_artifacts_are_refused(self, service: EngineImageService, registry: FakeRegistry) -> None:
        config = b"{}"
        registry.add_blob("library/nginx", config)
        manifest = Manifest(
            schema_version=2,
            media_type=mediatype.OCI_MANIFEST,
            artifact_type="application/vnd.example.chart",
            config=Descriptor(media_type=mediatype.OCI_EMPTY, digest=Digest.of(config), size=len(config)),
            layers=(),
        )
        registry.add_manifest("library/nginx", encode_json(manifest), mediatype.OCI_MANIFEST, "1.17.1")
        with pytest.raises(CriError, match=r"not a container image but an artifact of type application/vnd.example"):
            await service.pull_image(NGINX, None)

    async def test_schema_1_is_refused(self, service: EngineImageService, registry: FakeRegistry) -> None:
        raw = b'{"schemaVersion": 1, "fsLayers": []}'
        registry.add_manifest("library/nginx", raw, mediatype.DOCKER_SCHEMA1_SIGNED, "1.17.1")
        with pytest.raises(CriError, match="Docker schema 1"):
            await service.pull_image(NGINX, None)

    async def test_users_of_images(self, service: EngineImageService, registry: FakeRegistry) -> None:
        for tag, user in {"1": "1000:1000", "2": "nobody:nogroup", "3": ""}.items():
            push(registry, build_image([file_layer({"a": tag})], defaults={"User": user}), tag)
            await service.pull_image(ImageSpec(f"nginx:{tag}"), None)
        found = [await service.image_status(ImageSpec(f"nginx:{tag}")) for tag in "123"]
        assert [(one.uid, one.username) for one in found if one is not None] == [
            (1000, ""),
            (None, "nobody"),
            (None, ""),
        ]


def layers_left(root: Path) -> list[str]:
    """Files of layers and unfinished work below a store."""
    return [name for _, _, files in os.walk(root / "store" / "layers") for name in files]


class TestDamage:
    async def test_a_corrupt_layer(self, service: EngineImageService, registry: FakeRegistry, tmp_path: Path) -> None:
        image = push(registry, tiny_image(layers=1))
        config, layer = image.blobs
        registry.inject(Fault(path=f"/blobs/{layer}", is_corrupt=True))
        with pytest.raises(FailedPreconditionError) as caught:
            await service.pull_image(NGINX, None)
        assert caught.value.message.startswith(
            'failed to pull and unpack image "docker.io/library/nginx:1.17.1": '
            f'failed commit on ref "layer-{layer}": unexpected commit digest sha256:'
        )
        assert caught.value.message.endswith(f", expected {layer}: failed precondition")
        assert await service.list_images() == []
        assert await asyncio.to_thread(layers_left, tmp_path) == []
        registry.clear_faults()
        assert await service.pull_image(NGINX, None) == config

    @pytest.mark.parametrize("what", ["manifest", "config"])
    async def test_a_corrupt_document(self, service: EngineImageService, registry: FakeRegistry, what: str) -> None:
        image = push(registry, tiny_image())
        digest = image.descriptor.digest if what == "manifest" else image.config_digest
        registry.inject(Fault(method="GET", path=f"/{digest}", is_corrupt=True))
        with pytest.raises(FailedPreconditionError, match=f'failed commit on ref "{what}-{digest}": unexpected'):
            await service.pull_image(NGINX, None)

    async def test_a_lying_mirror_costs_time_only(self, tmp_path: Path, registry: FakeRegistry) -> None:
        async with FakeRegistry() as liar:
            image = push(registry, tiny_image())
            push(liar, image)
            liar.inject(Fault(path="/blobs/", is_corrupt=True))
            async with open_service(tmp_path, liar, registry) as service:
                assert await service.pull_image(NGINX, None) == image.config_digest
                assert len(await service.list_images()) == 1

    async def test_a_lie_is_found_though_an_honest_host_ended_it(self, tmp_path: Path, registry: FakeRegistry) -> None:
        async with FakeRegistry() as liar:
            image = push(registry, build_image([file_layer({"big": noise(300_000)})]))
            push(liar, image)
            _, layer = image.blobs
            liar.add_blob("library/nginx", bytes(len(image.blobs[layer])), layer)
            liar.inject(Fault(path=f"/blobs/{layer}", cut_after=50_000, times=1))
            liar.inject(Fault(path=f"/blobs/{layer}", status=500))
            async with open_service(tmp_path, liar, registry) as service:
                assert await service.pull_image(NGINX, None) == image.config_digest
            assert [one.headers.get("range") for one in registry.log] == ["bytes=50000-", None]

    async def test_a_missing_blob(self, service: EngineImageService, registry: FakeRegistry) -> None:
        image = push(registry, tiny_image(layers=1))
        _, layer = image.blobs
        registry.remove_blob(layer)
        with pytest.raises(NotFoundError) as caught:
            await service.pull_image(NGINX, None)
        assert caught.value.message == (
            'failed to pull and unpack image "docker.io/library/nginx:1.17.1": failed to copy: httpReadSeeker: '
            f"failed open: could not fetch content descriptor {layer} "
            "(application/vnd.oci.image.layer.v1.tar+gzip) from remote: not found"
        )

    async def test_a_layer_that_is_not_what_the_config_says(
        self, service: EngineImageService, registry: FakeRegistry
    ) -> None:
        right, wrong = file_layer({"a": "1"}), file_layer({"a": "2"})
        push(registry, build_image([BuiltLayer(right.blob, right.descriptor, wrong.diff_id)]))
        with pytest.raises(CriError, match="wrong diff id calculated on extraction"):
            await service.pull_image(NGINX, None)
        assert await service.list_images() == []

    async def test_cut_connections_are_resumed(self, service: EngineImageService, registry: FakeRegistry) -> None:
        image = push(registry, build_image([file_layer({"big": noise(400_000)})]))
        registry.inject(Fault(path=f"/blobs/{list(image.blobs)[1]}", cut_after=100_000))
        reports: list[PullReport] = []
        assert await service.pull_image_reporting(NGINX, None, None, reports.append) == image.config_digest
        (report,) = reports
        assert report.downloaded_bytes == sum(map(len, [*image.blobs.values(), image.raw]))
        assert [attempt.status for attempt in report.attempts] == [200, 200, 200, 200, 206, 206, 206, 206]


class TestReports:
    async def test_of_a_success(self, service: EngineImageService, registry: FakeRegistry) -> None:
        image = tiny_image()
        index = push(registry, build_index([image]))
        reports: list[PullReport] = []
        for _ in range(2):
            await service.pull_image_reporting(NGINX, None, None, reports.append)
        cold, warm = reports
        assert cold.image_ref == image.config_digest
        assert (cold.index_digest, cold.manifest_digest) == (index.descriptor.digest, image.descriptor.digest)
        assert cold.endpoint == registry.host
        assert cold.reused_bytes == 0
        assert (warm.downloaded_bytes, len(warm.attempts)) == (0, 1)
        assert warm.details == {"source": "registry"}
        assert warm.reused_bytes == sum(len(blob) for blob in list(image.blobs.values())[1:])

    async def test_of_a_limited_registry(self, service: EngineImageService, registry: FakeRegistry) -> None:
        push(registry, tiny_image())
        registry.inject(Fault(headers={"RateLimit-Limit": "100;w=21600", "RateLimit-Remaining": "76;w=21600"}))
        reports: list[PullReport] = []
        await service.pull_image_reporting(NGINX, None, None, reports.append)
        assert reports[0].details == {"source": "registry", "rate_limit_remaining": "76 of 100 per 21600 s"}

    async def test_of_a_failure(self, service: EngineImageService, registry: FakeRegistry) -> None:
        reports: list[PullReport] = []
        with pytest.raises(NotFoundError):
            await service.pull_image_reporting(NGINX, None, None, reports.append)
        (report,) = reports
        assert [(one.method, one.status) for one in report.attempts] == [("HEAD", 404)]
        assert report.image_ref == ""


class TestProgress:
    async def test_bytes_and_phases(self, service: EngineImageService, registry: FakeRegistry) -> None:
        present = file_layer({"base": "b"})
        slow = file_layer({"slow": noise(2000)})
        push(registry, build_image([present]), "0")
        push(registry, build_image([present, slow]))
        await service.pull_image(ImageSpec("nginx:0"), None)
        registry.inject(Fault(path=f"/blobs/{slow.descriptor.digest}", bytes_per_second=2000))
        seen: list[PullProgressUpdate] = []
        async with asyncio.TaskGroup() as group:
            pull = group.create_task(service.pull_image(NGINX, None))
            while not pull.done():
                seen += service.pull_progress()
                await asyncio.sleep(0.05)
        assert service.pull_progress() == ()
        assert {update.image for update in seen} == {"docker.io/library/nginx:1.17.1"}
        halfway = [update for update in seen if update.layers and 0 < update.done_bytes < update.total_bytes]
        assert halfway
        assert halfway[0].total_bytes == slow.descriptor.size
        assert [layer.phase for layer in halfway[0].layers] == [LayerPhase.EXISTS, LayerPhase.DOWNLOADING]
        assert [update.done_bytes for update in seen] == sorted(update.done_bytes for update in seen)


class TestCancel:
    async def test_the_last_one_to_go_stops_the_download(
        self, service: EngineImageService, registry: FakeRegistry, tmp_path: Path
    ) -> None:
        push(registry, build_image([file_layer({"big": noise(100_000)})]))
        registry.inject(Fault(path="/blobs/", bytes_per_second=1))
        async with asyncio.timeout(5):
            async with asyncio.TaskGroup() as group:
                pulls = [group.create_task(service.pull_image(NGINX, None)) for _ in range(2)]
                while len(registry.log) < 3:
                    await asyncio.sleep(0.01)
                pulls[0].cancel()
                await asyncio.sleep(0.1)
                assert not pulls[1].done()
                pulls[1].cancel()
            while service.pull_progress():  # the flight ends by itself, soon
                await asyncio.sleep(0.01)
        assert await service.list_images() == []
        assert await asyncio.to_thread(layers_left, tmp_path) == []
        registry.clear_faults()
        await service.pull_image(NGINX, None)

    async def test_one_that_goes_leaves_the_others(self, service: EngineImageService, registry: FakeRegistry) -> None:
        image = push(registry, tiny_image())
        registry.inject(Fault(method="HEAD", delay_seconds=0.3))
        async with asyncio.TaskGroup() as group:
            first = group.create_task(service.pull_image(NGINX, None))
            second = group.create_task(service.pull_image(NGINX, None))
            await asyncio.sleep(0.1)
            first.cancel()
        assert second.result() == image.config_digest
        assert len(registry.requests(method="HEAD")) == 1


class OneImage:
    """A local source with one manifest under one name."""

    def __init__(self, host: str, descriptor: Descriptor) -> None:
        self._host, self._descriptor = host, descriptor

    def resolve(self, host: str, repository: str, identifier: str) -> Descriptor | None:
        found = (host, repository, identifier) == (self._host, "library/nginx", "1.17.1")
        return self._descriptor if found else None


async def test_what_is_in_the_store_crosses_no_network(tmp_path: Path, registry: FakeRegistry) -> None:
    image = tiny_image()

    def put() -> None:
        with Store.open(tmp_path, clock=SystemClock()) as store:
            for digest, content in {image.descriptor.digest: image.raw, **image.blobs}.items():
                store.content.put(digest, content)

    await asyncio.to_thread(put)
    async with open_service(tmp_path, registry, local_source=OneImage(registry.host, image.descriptor)) as service:
        reports: list[PullReport] = []
        image_id = await service.pull_image_reporting(NGINX, None, None, reports.append)
        assert image_id == image.config_digest
        assert reports[0].attempts == ()
        assert reports[0].downloaded_bytes == 0
        layers = sum(len(blob) for digest, blob in image.blobs.items() if digest != image.config_digest)
        assert reports[0].details == {"source": "content store", "unpacked_bytes": str(layers)}
        with pytest.raises(NotFoundError):
            await service.pull_image(ImageSpec("nginx:other"), None)
    assert registry.requests() == ["HEAD /v2/library/nginx/manifests/other"]
