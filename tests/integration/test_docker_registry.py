"""The registry client against Debian's docker-registry: open, with htpasswd, with token auth."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from tests.golden.registry_process import docker_registry, free_port
from tests.integration.token_server import ISSUER, SERVICE, TokenServer, token_server

from pullet.base.redact import Secret
from pullet.kit.clock import SystemClock
from pullet.oci.digest import Digest
from pullet.oci.image_builder import BuiltImage, build_index
from pullet.oci.manifest import Manifest, decode_manifest
from pullet.oci.platform import parse_platform
from pullet.oci.reference import parse_normalized
from pullet.registry.auth import Credential
from pullet.registry.client import RegistryClient
from pullet.registry.errors import ManifestUnknownError, UnauthorizedError
from pullet.registry.hosts import HostsConfig, MirrorSettings
from pullet.registry.push import push_image
from pullet.registry.transport import Caller, Exchange
from pullet.testing.images import as_docker, tiny_image

pytestmark = pytest.mark.root  # real parts

ALICE = Credential(username="alice", password=Secret("s3cret"))
NAME = parse_normalized("team/app:1.0")


def client_of(port: int) -> RegistryClient:
    mirror = MirrorSettings(endpoints=(f"http://127.0.0.1:{port}",), is_exclusive=True)
    return RegistryClient(HostsConfig(mirrors={"docker.io": mirror}), clock=SystemClock())


def pull_all(client: RegistryClient, caller: Caller) -> dict[Digest, bytes]:
    """Every document and blob of the image."""
    target = client.resolve(NAME, caller).descriptor
    raw = client.fetch_manifest(NAME, target, caller)
    found = {target.digest: raw}
    manifest = decode_manifest(raw, target.media_type).value
    if not isinstance(manifest, Manifest):
        child = manifest.manifests[0]
        found[child.digest] = client.fetch_manifest(NAME, child, caller)
        manifest = decode_manifest(found[child.digest], child.media_type).value
    assert isinstance(manifest, Manifest)
    for descriptor in (manifest.config, *manifest.layers):
        with client.open_blob(NAME, descriptor, caller) as stream:
            parts = []
            while data := stream.read(1 << 16):
                parts.append(data)
        found[descriptor.digest] = b"".join(parts)
    return found


@pytest.fixture
def open_port(tmp_path: Path) -> Iterator[int]:
    with docker_registry(tmp_path / "registry") as process:
        yield process.port


@pytest.mark.parametrize(
    "image",
    [tiny_image(), as_docker(tiny_image()), build_index([tiny_image(platform=parse_platform("arm64"))])],
    ids=["oci", "docker", "index"],
)
def test_every_byte_of_an_image(open_port: int, image: BuiltImage) -> None:
    push_image(f"http://127.0.0.1:{open_port}", "team/app", "1.0", image)
    with closing(client_of(open_port)) as client:
        found = pull_all(client, Caller())
        assert client.list_tags(NAME, Caller()) == ("1.0",)
    assert found[image.descriptor.digest] == image.raw
    assert {digest: found[digest] for digest in image.blobs} == image.blobs


def test_from_an_offset(open_port: int) -> None:
    image = tiny_image()
    push_image(f"http://127.0.0.1:{open_port}", "team/app", "1.0", image)
    manifest = decode_manifest(image.raw).value
    assert isinstance(manifest, Manifest)
    layer = manifest.layers[0]
    with closing(client_of(open_port)) as client, client.open_blob(NAME, layer, Caller(), offset=20) as stream:
        assert stream.read(layer.size) == image.blobs[layer.digest][20:]


def test_absence(open_port: int) -> None:
    told: list[Exchange] = []
    missing = parse_normalized(f"team/app@sha256:{'0' * 64}")
    with closing(client_of(open_port)) as client:
        for name in (NAME, missing):
            with pytest.raises(ManifestUnknownError):
                client.resolve(name, Caller(on_exchange=told.append))
    assert [(one.method, one.status) for one in told] == [("HEAD", 404)] * 3


def test_htpasswd(tmp_path: Path) -> None:
    with docker_registry(tmp_path, with_password=True) as process, closing(client_of(process.port)) as client:
        image = tiny_image()
        push_image(f"http://127.0.0.1:{process.port}", "team/app", "1.0", image, user=process.login)
        assert pull_all(client, Caller(credential=ALICE))[image.descriptor.digest] == image.raw
        for credential in (None, Credential(username="alice", password=Secret("nope"))):
            with pytest.raises(UnauthorizedError) as caught:
                client.resolve(NAME, Caller(credential=credential))
            assert caught.value.challenge == "basic"


@contextmanager
def registry_with_tokens(directory: Path, server: TokenServer) -> Iterator[int]:
    port = free_port()
    (directory / "config.yml").write_text(
        f"""\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {directory}/content}}}}
http: {{addr: "127.0.0.1:{port}", secret: x}}
auth:
  token: {{realm: "{server.url}", service: {SERVICE}, issuer: {ISSUER}, rootcertbundle: {server.bundle}}}
"""
    )
    with (directory / "log").open("wb") as log:
        command = ["docker-registry", "serve", str(directory / "config.yml")]
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield port
        finally:
            process.kill()
            process.wait()


def wait_for(client: RegistryClient) -> None:
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        try:
            client.resolve(NAME, Caller(credential=ALICE))
        except ManifestUnknownError:
            return
        except UnauthorizedError:
            raise
        except Exception:  # noqa: BLE001 - not up yet
            time.sleep(0.05)
    raise AssertionError("docker-registry does not answer")


def test_tokens(tmp_path: Path) -> None:
    with (
        token_server(tmp_path, {"alice": "s3cret"}) as server,
        registry_with_tokens(tmp_path, server) as port,
        closing(client_of(port)) as client,
    ):
        wait_for(client)
        assert set(server.scopes) == {"repository:team/app:pull"}
        with pytest.raises(UnauthorizedError) as caught:
            client.resolve(NAME, Caller())
        assert (caught.value.challenge, caught.value.detail) == ("bearer", "insufficient_scope")
        told: list[Exchange] = []
        for _ in range(2):
            with pytest.raises(ManifestUnknownError):
                client.resolve(NAME, Caller(credential=ALICE, on_exchange=told.append))
        assert [(one.status, one.is_authorized) for one in told] == [(404, True), (404, True)]
        with pytest.raises(UnauthorizedError) as refused:
            client.resolve(NAME, Caller(credential=Credential(username="alice", password=Secret("nope"))))
        assert refused.value.is_token_request
