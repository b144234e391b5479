"""Whole pulls from Debian's docker-registry: own CA, htpasswd, tokens, as a pull-through proxy."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import pytest
import trustme
from tests.faults.pull_world import World
from tests.golden.registry_process import HTPASSWD, docker_registry, free_port
from tests.integration.token_server import ISSUER, SERVICE, token_server

from pullet.base.redact import Secret
from pullet.cri.errors import CriError
from pullet.cri.extensions import PullReport
from pullet.cri.types import AuthConfig, ImageSpec
from pullet.engine.image_service import EngineImageService
from pullet.kit.clock import SystemClock
from pullet.registry.client import RegistryClient
from pullet.registry.hosts import HostsConfig
from pullet.registry.push import push_image
from pullet.store.store import Store
from pullet.testing.images import tiny_image

pytestmark = [pytest.mark.root, pytest.mark.timeout(60)]

ALICE = AuthConfig(username="alice", password=Secret("s3cret"))
MALLORY = AuthConfig(username="mallory", password=Secret("guess"))


@asynccontextmanager
async def open_service(root: Path, certs: Path) -> AsyncIterator[World]:
    """An image service configured by certs.d alone."""
    clock = SystemClock()
    with ExitStack() as stack:
        client = RegistryClient(HostsConfig(certs_directories=(certs,)), clock=clock)
        stack.callback(client.close)
        store = await asyncio.to_thread(Store.open, root, clock=clock)
        async with asyncio.TaskGroup() as group:
            service = EngineImageService(store=store, registry=client, group=group, clock=clock)
            yield World(store, service)
        await asyncio.to_thread(service.close)
        await asyncio.to_thread(store.close)


@contextmanager
def registry_process(directory: Path, more: str = "", http: str = "") -> Iterator[int]:
    """docker-registry with further configuration; gives its port once it listens."""
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    (directory / "htpasswd").write_text(HTPASSWD)
    (directory / "config.yml").write_text(
        f"version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n"
        f"storage: {{filesystem: {{rootdirectory: {directory}/content}}}}\n"
        f'http: {{addr: "127.0.0.1:{port}", secret: x{http}}}\n{more}'
    )
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(["docker-registry", "serve", str(directory / "config.yml")], stdout=log, stderr=log)
        try:
            wait_for_port(port)
            yield port
        finally:
            process.kill()
            process.wait()


def wait_for_port(port: int) -> None:
    deadline = time.monotonic() + 15
    listening = f"0100007F:{port:04X} 00000000:0000 0A"
    while listening not in Path("/proc/net/tcp").read_text():
        assert time.monotonic() < deadline, "docker-registry does not listen"
        time.sleep(0.02)


def hosts_toml(certs: Path, host: str, text: str) -> None:
    (certs / host).mkdir(parents=True)
    (certs / host / "hosts.toml").write_text(text)


async def test_tls_with_a_ca_of_its_own_and_passwords(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "tls.crt")
    certificate.private_key_pem.write_to_path(tmp_path / "tls.key")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    auth = f"auth: {{htpasswd: {{realm: x, path: {tmp_path}/htpasswd}}}}\n"
    image = tiny_image()
    with registry_process(tmp_path, auth) as plain:  # filled in clear, served in TLS
        await asyncio.to_thread(
            push_image, f"http://127.0.0.1:{plain}", "team/app", "1.0", image, user=("alice", "s3cret")
        )
    tls = f", tls: {{certificate: {tmp_path}/tls.crt, key: {tmp_path}/tls.key}}"
    with registry_process(tmp_path, auth, tls) as port:
        host = f"127.0.0.1:{port}"
        name = ImageSpec(f"{host}/team/app:1.0")
        async with open_service(tmp_path / "store", tmp_path / "certs") as world:
            with pytest.raises(CriError, match=r"400 Bad Request|HTTP") as spoken:  # loopback is spoken to in clear
                await world.service.pull_image(name, ALICE)
            assert f'server = "https://{host}"' in spoken.value.next_step
            hosts_toml(tmp_path / "certs", host, f'server = "https://{host}"\n')
            with pytest.raises(CriError, match="certificate signed by unknown authority") as untrusted:
                await world.service.pull_image(name, ALICE)
            assert "ca = " in untrusted.value.next_step
            (tmp_path / "certs" / host / "hosts.toml").write_text(
                f'server = "https://{host}"\nca = "{tmp_path}/ca.pem"\n'
            )
            for auth_config in (None, MALLORY):
                with pytest.raises(CriError, match=r"pull access denied|401 Unauthorized") as refused:
                    await world.service.pull_image(name, auth_config)
                assert "guess" not in refused.value.message + refused.value.cause + refused.value.next_step
            assert await world.service.pull_image(name, ALICE) == image.config_digest
            await asyncio.to_thread(world.assert_whole, image)


async def test_tokens_signed_by_an_auth_server(tmp_path: Path) -> None:
    image = tiny_image()
    with token_server(tmp_path, {"alice": "s3cret"}) as server:
        with registry_process(tmp_path) as port:
            await asyncio.to_thread(push_image, f"http://127.0.0.1:{port}", "team/app", "1.0", image)
        auth = (
            f'auth: {{token: {{realm: "{server.url}", service: {SERVICE}, issuer: {ISSUER}, '
            f"rootcertbundle: {server.bundle}}}}}\n"
        )
        with registry_process(tmp_path, auth) as port:
            name = ImageSpec(f"127.0.0.1:{port}/team/app:1.0")
            async with open_service(tmp_path / "store", tmp_path / "certs") as world:
                for auth_config in (None, MALLORY):
                    with pytest.raises(CriError, match=r"pull access denied|failed to authorize"):
                        await world.service.pull_image(name, auth_config)
                before = len(server.scopes)
                assert await world.service.pull_image(name, ALICE) == image.config_digest
                assert len(server.scopes) == before + 1  # one token for the whole pull
                await asyncio.to_thread(world.assert_whole, image)


async def test_a_pull_through_proxy_serves_and_its_death_costs_time_only(tmp_path: Path) -> None:
    first, second = tiny_image("first"), tiny_image("second")
    with docker_registry(tmp_path / "origin") as origin:
        for image, tag in ((first, "1"), (second, "2")):
            await asyncio.to_thread(push_image, f"http://127.0.0.1:{origin.port}", "team/app", tag, image)
        host = f"127.0.0.1:{origin.port}"
        proxy = f"proxy: {{remoteurl: http://{host}}}\n"
        async with open_service(tmp_path / "store", tmp_path / "certs") as world:
            with registry_process(tmp_path / "proxy", proxy) as mirror:
                through = f'[host."http://127.0.0.1:{mirror}"]\ncapabilities = ["pull", "resolve"]\n'
                hosts_toml(tmp_path / "certs", host, f'server = "http://{host}"\n{through}')
                served = await endpoints_of(world, f"{host}/team/app:1")
                assert served == {f"127.0.0.1:{mirror}"}
            served = await endpoints_of(world, f"{host}/team/app:2")
            assert served == {host}
            assert len(await world.service.list_images()) == 2
            assert await asyncio.to_thread(world.store.check) == ()


async def endpoints_of(world: World, name: str) -> set[str]:
    """Which hosts answered a pull."""
    reports: list[PullReport] = []
    await world.service.pull_image_reporting(ImageSpec(name), None, None, reports.append)
    return {attempt.url.split("/")[2] for attempt in reports[0].attempts if attempt.status == 200}
