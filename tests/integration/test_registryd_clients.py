"""The embedded registry as skopeo and podman see it, and pulls on its own store."""

from __future__ import annotations

import asyncio
import json
import subprocess
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvicorn

from pullet.cri.extensions import PullReport
from pullet.cri.types import ImageSpec
from pullet.engine.image_service import EngineImageService
from pullet.kit.clock import SystemClock
from pullet.kit.worker_threads import WorkerThreads
from pullet.oci.image_builder import build_image, build_index, oci_archive
from pullet.oci.platform import parse_platform
from pullet.registry.client import RegistryClient
from pullet.registry.hosts import HostsConfig, MirrorSettings
from pullet.registry.push import push_image
from pullet.registryd.app import Registry
from pullet.registryd.catalogue import Catalogue
from pullet.registryd.local_source import CatalogueSource
from pullet.store.store import Store
from pullet.testing.images import file_layer, tiny_image, zstd_layer

pytestmark = pytest.mark.root


@dataclass(frozen=True)
class Running:
    """A registry that answers on `port`, over `store`."""

    port: int
    store: Store
    catalogue: Catalogue

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def serving(root: Path) -> Iterator[Running]:
    with (
        Store.open(root / "store", clock=SystemClock()) as store,
        closing(Catalogue(root / "catalogue.db")) as catalogue,
    ):
        threads = WorkerThreads("registry", 4)
        app = Registry(catalogue=catalogue, content=store.content, threads=threads, clock=SystemClock()).app()
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off", ws="none"))
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            yield Running(server.servers[0].sockets[0].getsockname()[1], store, catalogue)
        finally:
            server.should_exit = True
            thread.join()
            threads.close()


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Running]:
    with serving(tmp_path) as running:
        yield running


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


def test_skopeo_in_and_out(registry: Running, tmp_path: Path) -> None:
    image = build_image([file_layer({"a": "1" * 100_000}), zstd_layer({"b": "2"})])
    archive = tmp_path / "image.tar"
    archive.write_bytes(oci_archive({"docker.io/library/app:1": image}))
    remote = f"docker://127.0.0.1:{registry.port}/team/app"
    run("skopeo", "copy", "--dest-tls-verify=false", f"oci-archive:{archive}", f"{remote}:1")
    run("skopeo", "copy", "--src-tls-verify=false", "--dest-tls-verify=false", f"{remote}:1", f"{remote}2:1")  # mounts
    shown = json.loads(run("skopeo", "inspect", "--tls-verify=false", f"{remote}2:1"))
    assert shown["Digest"] == image.descriptor.digest
    assert shown["RepoTags"] == ["1"]
    run("skopeo", "copy", "--src-tls-verify=false", f"{remote}:1", f"dir:{tmp_path}/out")
    for digest, blob in image.blobs.items():
        assert (tmp_path / "out" / digest.hex).read_bytes() == blob
    run("skopeo", "delete", "--tls-verify=false", f"{remote}:1")
    gone = ["skopeo", "inspect", "--tls-verify=false", f"{remote}:1"]
    assert subprocess.run(gone, capture_output=True, check=False).returncode != 0


def test_skopeo_copies_every_platform_of_an_index(registry: Running, tmp_path: Path) -> None:
    index = build_index([tiny_image(name, platform=parse_platform(name)) for name in ("amd64", "arm64")])
    push_image(registry.url, "team/app", "1", index)
    source = f"docker://127.0.0.1:{registry.port}/team/app:1"
    run("skopeo", "copy", "--all", "--src-tls-verify=false", source, f"dir:{tmp_path}/out")
    assert (tmp_path / "out" / "manifest.json").read_bytes() == index.raw


def test_podman_push_and_pull(registry: Running, tmp_path: Path) -> None:
    archive = tmp_path / "image.tar"
    archive.write_bytes(oci_archive({"docker.io/library/app:1": tiny_image(layers=3)}))
    name = f"127.0.0.1:{registry.port}/team/app:1"
    with tempfile.TemporaryDirectory() as short:  # podman wants a run root of at most 50 characters
        podman = ["podman", "--root", f"{short}/s", "--runroot", f"{short}/r", "--storage-driver", "vfs"]
        image = run(*podman, "pull", "-q", f"oci-archive:{archive}").strip()
        run(*podman, "push", "-q", "--tls-verify=false", image, f"docker://{name}")
        run(*podman, "rmi", "-a", "-f")
        assert run(*podman, "pull", "-q", "--tls-verify=false", name).strip() == image


@asynccontextmanager
async def image_service(running: Running) -> AsyncIterator[EngineImageService]:
    mirror = MirrorSettings(endpoints=(running.url,), is_exclusive=True)
    client = RegistryClient(HostsConfig(mirrors={"docker.io": mirror}), clock=SystemClock())
    async with asyncio.TaskGroup() as group:
        service = EngineImageService(
            store=running.store,
            registry=client,
            group=group,
            clock=SystemClock(),
            local_source=CatalogueSource(running.catalogue, [f"127.0.0.1:{running.port}"]),
        )
        yield service
    await asyncio.to_thread(service.close)
    client.close()


@pytest.mark.parametrize("name", ["nginx:1", "127.0.0.1:{port}/library/nginx:1"])
async def test_a_pull_on_the_same_store_crosses_no_network(registry: Running, name: str) -> None:
    image = tiny_image()
    await asyncio.to_thread(push_image, registry.url, "library/nginx", "1", image)
    reports: list[PullReport] = []
    async with image_service(registry) as service:
        spec = ImageSpec(name.format(port=registry.port))
        assert await service.pull_image_reporting(spec, None, None, reports.append) == image.config_digest
    assert reports[0].attempts == ()
    assert reports[0].details["source"] == "content store"


async def test_what_was_pushed_survives_the_image_and_collection(registry: Running) -> None:
    image = tiny_image()
    await asyncio.to_thread(push_image, registry.url, "library/nginx", "1", image)
    async with image_service(registry) as service:
        await service.pull_image(ImageSpec("nginx:1"), None)
        await service.remove_image(ImageSpec("nginx:1"))
        await asyncio.to_thread(registry.store.gc)
        assert await service.image_status(ImageSpec("nginx:1")) is None
        assert await service.pull_image(ImageSpec("nginx:1"), None) == image.config_digest
