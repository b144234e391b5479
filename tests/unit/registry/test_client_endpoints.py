from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.unit.registry.clients import ALICE, NGINX, QUICK, USERS, add_blob, blob, client_of, push, read_all

from pullet.kit.clock import SystemClock
from pullet.oci.reference import Reference, parse_normalized
from pullet.registry.client import RegistryClient
from pullet.registry.errors import (
    DeniedError,
    RegistryError,
    RegistryUnavailableError,
)
from pullet.registry.hosts import HostsConfig
from pullet.registry.response import RateLimit
from pullet.registry.transport import Caller, Exchange
from pullet.testing.fake_registry import FakeRegistry
from pullet.testing.images import tiny_image
from pullet.testing.registry_faults import FakeAuth, Fault


class TestMirrors:
    def test_a_mirror_without_the_tag_leads_to_the_next(self, registry: FakeRegistry, mirror: FakeRegistry) -> None:
        push(registry)
        with closing(client_of(mirror, registry)) as client:
            assert client.resolve(NGINX, Caller()).endpoint.host == registry.host
        assert mirror.requests() == registry.requests() == ["HEAD /v2/library/nginx/manifests/1.17.1"]

    @pytest.mark.parametrize("fault", [Fault(status=500), Fault(status=403), Fault(status=429), Fault(is_silent=True)])
    def test_a_mirror_that_fails_gets_one_try(self, registry: FakeRegistry, mirror: FakeRegistry, fault: Fault) -> None:
        push(registry)
        mirror.inject(fault)
        with closing(client_of(mirror, registry)) as client:
            assert client.resolve(NGINX, Caller()).endpoint.host == registry.host
        assert len(mirror.log) == 1

    def test_a_dead_mirror_is_asked_last_for_a_while(self, registry: FakeRegistry) -> None:
        with FakeRegistry() as dead:
            pass
        push(registry)
        told: list[Exchange] = []
        with closing(client_of(dead, registry)) as client:
            for _ in range(3):
                client.resolve(NGINX, Caller(on_exchange=told.append))
        assert [exchange.status for exchange in told] == [0, 200, 200, 200]
        assert "connection refused" in told[0].error

    def test_the_first_failure_other_than_absence_is_told(self, registry: FakeRegistry, mirror: FakeRegistry) -> None:
        mirror.inject(Fault(status=403))
        with closing(client_of(mirror, registry)) as client, pytest.raises(DeniedError) as caught:
            client.resolve(NGINX, Caller())
        assert caught.value.host == mirror.host
        assert [one.method for one in mirror.log] == ["HEAD", "GET"]
        assert [one.method for one in registry.log] == ["HEAD"]

    @pytest.mark.parametrize(
        "fault",
        [
            Fault(status=429, headers={"Retry-After": "60"}),
            Fault(headers={"RateLimit-Remaining": "0;w=21600", "RateLimit-Limit": "100;w=21600"}),
        ],
        ids=["refused", "used up"],
    )
    def test_a_mirror_at_its_limit_is_asked_last(
        self, registry: FakeRegistry, mirror: FakeRegistry, fault: Fault
    ) -> None:
        push(registry)
        push(mirror)
        mirror.inject(fault)
        with closing(client_of(mirror, registry)) as client:
            for _ in range(3):
                client.resolve(NGINX, Caller())
        assert len(mirror.log) == 1

    def test_limits_are_told(self, client: RegistryClient, registry: FakeRegistry) -> None:
        push(registry)
        registry.inject(Fault(headers={"RateLimit-Remaining": "76;w=21600", "RateLimit-Limit": "100;w=21600"}))
        told: list[Exchange] = []
        client.resolve(NGINX, Caller(on_exchange=told.append))
        assert told[0].rate_limit == RateLimit(76, 100, 21600)

    def test_a_blob_of_two_hosts_names_both(self, registry: FakeRegistry, mirror: FakeRegistry) -> None:
        content = blob(100_000)
        descriptor = add_blob(registry, content)
        add_blob(mirror, content)
        mirror.inject(Fault(cut_after=10_000, times=1))
        mirror.inject(Fault(status=500))
        with closing(client_of(mirror, registry)) as client, client.open_blob(NGINX, descriptor, Caller()) as stream:
            while stream.read(64 * 1024):
                pass
            assert stream.hosts == {mirror.host, registry.host}
            assert stream.host == registry.host

    def test_blobs_come_from_the_next_when_a_mirror_breaks_down(
        self, registry: FakeRegistry, mirror: FakeRegistry
    ) -> None:
        content = blob(100_000)
        descriptor = add_blob(registry, content)
        add_blob(mirror, content)
        mirror.inject(Fault(cut_after=10_000, times=1))
        mirror.inject(Fault(status=500))
        with closing(client_of(mirror, registry)) as client:
            assert read_all(client, descriptor) == content
        assert registry.log[0].headers["range"] == "bytes=10000-"

    def test_hosts_can_be_avoided(self, registry: FakeRegistry, mirror: FakeRegistry) -> None:
        descriptor = add_blob(registry, b"content")
        add_blob(mirror, b"content")
        with closing(client_of(mirror, registry)) as client:
            assert read_all(client, descriptor, avoid_hosts=[mirror.host]) == b"content"
        assert mirror.log == ()


class TestUnreachable:
    def test_names_that_do_not_resolve(self) -> None:
        with (
            closing(RegistryClient(HostsConfig(), clock=SystemClock(), settings=QUICK)) as client,
            pytest.raises(RegistryUnavailableError, match=r"lookup nosuch.invalid: "),
        ):
            client.resolve(parse_normalized("nosuch.invalid/x:1"), Caller())

    def test_refused(self) -> None:
        with FakeRegistry() as gone:
            host = gone.host
        with (
            closing(RegistryClient(HostsConfig(), clock=SystemClock(), settings=QUICK)) as client,
            pytest.raises(RegistryUnavailableError) as caught,
        ):
            client.resolve(parse_normalized(f"{host}/x:1"), Caller())
        assert caught.value.detail == f"dial tcp {host}: connect: connection refused"
        assert caught.value.url == f"http://{host}/v2/x/manifests/1"

    def test_loopback_registries_speak_http_without_being_told(self, registry: FakeRegistry) -> None:
        registry.push(tiny_image(), "x", "1")
        with closing(RegistryClient(HostsConfig(), clock=SystemClock())) as client:
            client.resolve(parse_normalized(f"localhost:{registry.port}/x:1"), Caller())
        assert registry.log[0].query == ""


def test_hosts_toml_is_obeyed_end_to_end(tmp_path: Path, registry: FakeRegistry) -> None:
    registry.push(tiny_image(), "library/nginx", "1.17.1")
    directory = tmp_path / "docker.io"
    directory.mkdir()
    (directory / "hosts.toml").write_text(
        f'[host."{registry.url}"]\ncapabilities = ["pull", "resolve"]\n[host."{registry.url}".header]\nX-Team = "a"\n'
    )
    with closing(RegistryClient(HostsConfig(certs_directories=(tmp_path,)), clock=SystemClock())) as client:
        client.resolve(NGINX, Caller())
    assert registry.log[0].headers["x-team"] == "a"


class TestOwnCredentials:
    """A mirror with a login of its own."""

    OWN = f"Basic {base64.b64encode(b'mirror:pw').decode()}"

    def client(self, root: Path, mirror: FakeRegistry, registry: FakeRegistry, header: str) -> RegistryClient:
        (root / "docker.io").mkdir()
        (root / "docker.io" / "hosts.toml").write_text(
            f'server = "{registry.url}"\n[host."{mirror.url}"]\n[host."{mirror.url}".header]\n'
            f'authorization = "{header}"\nX-Team = ["a", "b"]\n'
        )
        return RegistryClient(HostsConfig(certs_directories=(root,)), clock=SystemClock(), settings=QUICK)

    def test_it_is_sent_at_once_and_nothing_else(self, tmp_path: Path, registry: FakeRegistry) -> None:
        with FakeRegistry(auth=FakeAuth(scheme="basic", users={"mirror": "pw"})) as mirror:
            push(mirror)
            with closing(self.client(tmp_path, mirror, registry, self.OWN)) as client:
                told: list[Exchange] = []
                resolved = client.resolve(NGINX, Caller(credential=ALICE, on_exchange=told.append))
            (request,) = mirror.log
            assert request.headers["authorization"] == self.OWN
            assert request.headers["x-team"] == "a, b"
            assert told[0].is_authorized
            assert self.OWN not in repr(resolved) + repr(told)

    def test_a_wrong_one_leads_to_the_registry(self, tmp_path: Path, registry: FakeRegistry) -> None:
        push(registry)
        with FakeRegistry(auth=FakeAuth(scheme="basic", users=USERS)) as mirror:
            with closing(self.client(tmp_path, mirror, registry, "Basic bm86bm8=")) as client:
                assert client.resolve(NGINX, Caller(credential=ALICE)).endpoint.host == registry.host
            assert [one.status for one in mirror.log] == [401]
        assert "authorization" not in registry.log[0].headers


class TestCapabilities:
    """A mirror that may pull, but not say what a tag stands for."""

    @pytest.fixture
    def client(self, tmp_path: Path, registry: FakeRegistry, mirror: FakeRegistry) -> Iterator[RegistryClient]:
        (tmp_path / "docker.io").mkdir()
        (tmp_path / "docker.io" / "hosts.toml").write_text(
            f'server = "{registry.url}"\n[host."{mirror.url}"]\ncapabilities = ["pull"]\n'
        )
        hosts = HostsConfig(certs_directories=(tmp_path,))
        with closing(RegistryClient(hosts, clock=SystemClock(), settings=QUICK)) as client:
            yield client

    def test_tags_are_resolved_elsewhere_and_content_comes_from_it(
        self, client: RegistryClient, registry: FakeRegistry, mirror: FakeRegistry
    ) -> None:
        push(mirror, "old")
        image = push(registry, "new")
        mirror.push(image, "library/nginx")
        resolved = client.resolve(NGINX, Caller())
        assert resolved.descriptor.digest == image.descriptor.digest
        assert mirror.log == ()
        client.fetch_manifest(NGINX, resolved.descriptor, Caller())
        layer = add_blob(mirror, b"layer")
        assert read_all(client, layer) == b"layer"
        assert registry.requests() == ["HEAD /v2/library/nginx/manifests/1.17.1"]
        assert len(mirror.log) == 2

    def test_a_digest_may_be_asked_of_it(
        self, client: RegistryClient, registry: FakeRegistry, mirror: FakeRegistry
    ) -> None:
        image = push(mirror)
        client.resolve(Reference("docker.io", "library/nginx", digest=image.descriptor.digest), Caller())
        assert registry.log == ()

    def test_what_it_lacks_comes_from_the_registry(
        self, client: RegistryClient, registry: FakeRegistry, mirror: FakeRegistry
    ) -> None:
        layer = add_blob(registry, b"layer")
        assert read_all(client, layer) == b"layer"
        assert [one.status for one in mirror.log] == [404]

    def test_tags_for_advice_are_not_its_either(
        self, client: RegistryClient, registry: FakeRegistry, mirror: FakeRegistry
    ) -> None:
        push(mirror, tag="old")
        push(registry, tag="new")
        assert client.list_tags(NGINX, Caller()) == ("new",)


def test_without_any_endpoint_that_may(tmp_path: Path) -> None:
    (tmp_path / "docker.io").mkdir()
    (tmp_path / "docker.io" / "hosts.toml").write_text('server = "http://127.0.0.1:1"\ncapabilities = ["push"]\n')
    with (
        closing(RegistryClient(HostsConfig(certs_directories=(tmp_path,)), clock=SystemClock())) as client,
        pytest.raises(RegistryError, match=r"no endpoint of docker.io may resolve: see its hosts.toml"),
    ):
        client.resolve(NGINX, Caller())


def test_ipv6_registries() -> None:
    with FakeRegistry(address="::1") as registry:
        registry.push(tiny_image(), "app", "1")
        with closing(RegistryClient(HostsConfig(), clock=SystemClock())) as client:
            resolved = client.resolve(parse_normalized(f"{registry.host}/app:1"), Caller())
        assert registry.host.startswith("[::1]:")
        assert resolved.endpoint.host == registry.host
        assert registry.log[0].headers["host"] == registry.host
