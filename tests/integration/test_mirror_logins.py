"""Mirrors with logins of their own: shown to them alone, while the registry's own login never reaches them."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
from tests.golden.registry_process import RegistryProcess, docker_registry

from pullet.assembly.credential_sources import mirror_logins
from pullet.assembly.images_only import open_images
from pullet.base.redact import Secret
from pullet.config import Settings
from pullet.credentials.keyring import Keyring, NodeConfigFiles
from pullet.credentials.node_config_paths import NodeConfigPaths
from pullet.cri.errors import CriError
from pullet.cri.extensions import PullReport
from pullet.cri.types import AuthConfig, ImageSpec
from pullet.engine.image_service import EngineImageService
from pullet.kit.clock import SystemClock
from pullet.kit.worker_threads import WorkerThreads
from pullet.registry.client import RegistryClient
from pullet.registry.hosts import HostsConfig
from pullet.registry.push import push_image
from pullet.store.store import Store
from pullet.testing.fake_registry import FakeRegistry
from pullet.testing.images import tiny_image
from pullet.testing.registry_faults import FakeAuth

pytestmark = pytest.mark.root

OWNER = AuthConfig(username="owner", password=Secret("0wn"))
OWNERS = FakeAuth(scheme="basic", users={"owner": "0wn"})
GOOD, BAD = ("alice", "s3cret"), ("alice", "old-one")


def basic(user: tuple[str, str]) -> str:
    return f"Basic {base64.b64encode(':'.join(user).encode()).decode()}"


def node_config(directory: Path, logins: Mapping[str, tuple[str, str]]) -> None:
    auths = {key: {"username": user, "password": password} for key, (user, password) in logins.items()}
    directory.mkdir(exist_ok=True)
    (directory / "config.json").write_text(json.dumps({"auths": auths}))


def hosts_toml(certs: Path, registry: str, mirror: str, more: str = "") -> None:
    (certs / registry).mkdir(parents=True, exist_ok=True)
    text = f'server = "http://{registry}"\n{more}[host."http://{mirror}"]\n'
    (certs / registry / "hosts.toml").write_text(text)


@asynccontextmanager
async def open_service(directory: Path) -> AsyncIterator[EngineImageService]:
    """An image service with the node's own logins of `directory`/node/config.json, as a node wires it."""
    clock, threads = SystemClock(), WorkerThreads("keyring", 1)
    paths = NodeConfigPaths(config_json_dirs=(directory / "node",), dockercfg_dirs=())
    keyring = Keyring(node_files=NodeConfigFiles(paths, threads=threads, clock=clock))
    hosts = HostsConfig(certs_directories=(directory / "certs",))
    with closing(RegistryClient(hosts, clock=clock)) as client:
        store = await asyncio.to_thread(Store.open, directory / "store", clock=clock)
        try:
            async with asyncio.TaskGroup() as group:
                service = EngineImageService(
                    store=store, registry=client, group=group, clock=clock, mirror_logins=mirror_logins(keyring)
                )
                yield service
            await asyncio.to_thread(service.close)
        finally:
            await asyncio.to_thread(store.close)
            await threads.aclose()


@asynccontextmanager
async def started(directory: Path) -> AsyncIterator[RegistryProcess]:
    """A docker-registry that asks for a password."""
    process = docker_registry(directory, with_password=True)
    running = await asyncio.to_thread(process.__enter__)
    try:
        yield running
    finally:
        await asyncio.to_thread(process.__exit__, None, None, None)


def shown_to(registry: FakeRegistry) -> set[str]:
    return {one.headers["authorization"] for one in registry.log if "authorization" in one.headers}


async def pull(service: EngineImageService, image: str) -> PullReport:
    reports: list[PullReport] = []
    await service.pull_image_reporting(ImageSpec(image), OWNER, None, reports.append)
    return reports[0]


async def test_a_mirror_is_shown_the_nodes_login_for_it(tmp_path: Path) -> None:
    image = tiny_image()
    async with started(tmp_path / "mirror") as mirror, FakeRegistry(auth=OWNERS) as registry:
        host = f"127.0.0.1:{mirror.port}"
        await asyncio.to_thread(push_image, f"http://{host}", "team/app", "1.0", image, user=mirror.login)
        registry.push(image, "team/app", "1.0")
        # two keys fit: the longer one is tried first, is refused, and the other one serves
        node_config(tmp_path / "node", {f"{host}/team": BAD, host: GOOD})
        hosts_toml(tmp_path / "certs", registry.host, host)
        async with open_service(tmp_path) as service:
            report = await pull(service, f"{registry.host}/team/app:1.0")
        assert report.endpoint == host
        assert report.details["mirror_logins"] == f"{host}: node Docker config (key {host})"
        assert registry.log == ()
        assert not [word for word in ("s3cret", "old-one") if word in repr(report)]


async def test_neither_login_reaches_the_other_side(tmp_path: Path) -> None:
    image = tiny_image()
    alices = FakeAuth(scheme="basic", users={"alice": "s3cret"})
    async with FakeRegistry(auth=alices) as mirror, FakeRegistry(auth=OWNERS) as registry:
        registry.push(image, "team/app", "1.0")  # and the mirror has it not
        node_config(tmp_path / "node", {mirror.host: GOOD})
        hosts_toml(tmp_path / "certs", registry.host, mirror.host)
        async with open_service(tmp_path) as service:
            report = await pull(service, f"{registry.host}/team/app:1.0")
        assert report.endpoint == registry.host
        assert shown_to(mirror) == {basic(GOOD)}
        assert shown_to(registry) == {basic(("owner", "0wn"))}


@pytest.mark.parametrize("there", [True, False])
async def test_a_mirror_without_a_login_for_it_costs_a_question(tmp_path: Path, there: bool) -> None:
    image = tiny_image()
    async with started(tmp_path / "mirror") as mirror, FakeRegistry(auth=OWNERS) as registry:
        if there:
            registry.push(image, "team/app", "1.0")
        hosts_toml(tmp_path / "certs", registry.host, f"127.0.0.1:{mirror.port}")
        async with open_service(tmp_path) as service:
            if there:
                assert (await pull(service, f"{registry.host}/team/app:1.0")).endpoint == registry.host
            else:  # what the registry says counts, not that its mirror let nobody in
                with pytest.raises(CriError, match=r"team/app:1\.0: not found$"):
                    await pull(service, f"{registry.host}/team/app:1.0")


async def test_a_mirror_that_is_all_there_is_tells_its_refusal(tmp_path: Path) -> None:
    async with started(tmp_path / "mirror") as mirror, FakeRegistry() as registry:
        only = 'capabilities = ["push"]\n'
        hosts_toml(tmp_path / "certs", registry.host, f"127.0.0.1:{mirror.port}", only)
        async with open_service(tmp_path) as service:
            with pytest.raises(CriError, match=r"no basic auth credentials|401 Unauthorized"):
                await pull(service, f"{registry.host}/team/app:1.0")
        assert registry.log == ()


async def test_a_pull_without_a_node_shows_it_too(tmp_path: Path) -> None:
    alices = FakeAuth(scheme="basic", users={"alice": "s3cret"})
    async with FakeRegistry(auth=alices) as mirror, FakeRegistry() as registry:
        mirror.push(tiny_image(), "team/app", "1.0")
        settings = Settings(root=str(tmp_path / "root"), registry_hosts=str(tmp_path / "certs"))
        directory = tmp_path / "root" / "nodes" / "node1"
        directory.mkdir(parents=True)
        node_config(directory, {mirror.host: GOOD})
        hosts_toml(tmp_path / "certs", registry.host, mirror.host)
        async with open_images(settings, "node1", SystemClock()) as images:
            messages = [message async for message in images.pull(f"{registry.host}/team/app:1.0")]
        assert messages[-1]["kind"] == "pulled"
        assert shown_to(mirror) == {basic(GOOD)}
        assert registry.log == ()
