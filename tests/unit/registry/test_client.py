from __future__ import annotations

import threading
import time
from contextlib import closing

import pytest
from tests.unit.registry.clients import ALICE, NGINX, QUICK, USERS, add_blob, blob, client_of, push, read_all

from pullet.kit.clock import SystemClock
from pullet.kit.worker_threads import StopFlag, StoppedError
from pullet.oci import mediatype
from pullet.oci.descriptor import Descriptor
from pullet.oci.digest import Digest
from pullet.oci.manifest import Manifest, decode_manifest
from pullet.oci.reference import Reference, parse_normalized
from pullet.registry.client import RegistryClient
from pullet.registry.errors import (
    BlobUnknownError,
    ContentMismatchError,
    DeniedError,
    ManifestUnknownError,
    RegistryError,
    RegistryUnavailableError,
    TooManyRequestsError,
    UnexpectedStatusError,
)
from pullet.registry.hosts import HostsConfig
from pullet.registry.settings import RegistrySettings, RetryLimits
from pullet.registry.transport import Caller, Exchange
from pullet.testing.fake_registry import FakeRegistry
from pullet.testing.images import file_layer
from pullet.testing.registry_faults import FakeAuth, Fault


class TestResolve:
    def test_one_head_tells_digest_size_and_type(self, client: RegistryClient, registry: FakeRegistry) -> None:
        image = push(registry)
        resolved = client.resolve(NGINX, Caller())
        assert resolved.descriptor.digest == image.descriptor.digest
        assert resolved.descriptor.size == len(image.raw)
        assert resolved.descriptor.media_type == mediatype.OCI_MANIFEST
        assert resolved.endpoint.host == registry.host
        (request,) = registry.log
        assert str(request) == "HEAD /v2/library/nginx/manifests/1.17.1"
        assert request.query == "ns=docker.io"
        assert request.headers["accept"] == (
            "application/vnd.docker.distribution.manifest.v2+json, "
            "application/vnd.docker.distribution.manifest.list.v2+json, "
            "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, */*"
        )
        assert request.headers["user-agent"].startswith("pullet/")

    def test_a_missing_tag_is_asked_for_once(self, client: RegistryClient, registry: FakeRegistry) -> None:
        with pytest.raises(ManifestUnknownError, match=r"docker.io/library/nginx:1.17.1: not found"):
            client.resolve(NGINX, Caller())
        assert registry.requests() == ["HEAD /v2/library/nginx/manifests/1.17.1"]

    def test_a_missing_digest_is_also_looked_for_among_blobs(
        self, client: RegistryClient, registry: FakeRegistry
    ) -> None:
        digest = Digest(f"sha256:{'0' * 64}")
        with pytest.raises(ManifestUnknownError):
            client.resolve(Reference("docker.io", "library/nginx", digest=digest), Caller())
        assert registry.requests() == [
            f"HEAD /v2/library/nginx/manifests/{digest}",
            f"HEAD /v2/library/nginx/blobs/{digest}",
        ]

    def test_a_registry_that_tells_no_digest_is_read(self, client: RegistryClient, registry: FakeRegistry) -> None:
        image = push(registry)
        registry.inject(Fault(method="HEAD", without_headers=("Docker-Content-Digest",)))
        assert client.resolve(NGINX, Caller()).descriptor.digest == image.descriptor.digest
        assert [one.method for one in registry.log] == ["HEAD", "GET"]

    def test_connections_are_kept(self, client: RegistryClient, registry: FakeRegistry) -> None:
        push(registry)
        for _ in range(5):
            client.resolve(NGINX, Caller())
        assert registry.connections == 1

    def test_a_kept_connection_that_the_server_closed_is_replaced(
        self, client: RegistryClient, registry: FakeRegistry
    ) -> None:
        push(registry)
        client.resolve(NGINX, Caller())
        registry.hang_up()
        client.resolve(NGINX, Caller())
        assert registry.connections == 2

    def test_every_exchange_is_told(self, client: RegistryClient, registry: FakeRegistry) -> None:
        told: list[Exchange] = []
        with pytest.raises(ManifestUnknownError):
            client.resolve(NGINX, Caller(on_exchange=told.append))
        (exchange,) = told
        assert (exchange.method, exchange.status, exchange.is_authorized) == ("HEAD", 404, False)
        assert exchange.url == f"{registry.url}/v2/library/nginx/manifests/1.17.1?ns=docker.io"
        assert exchange.elapsed_seconds > 0

    def test_tags_are_listed(self, client: RegistryClient, registry: FakeRegistry) -> None:
        push(registry, tag="1")
        push(registry, tag="2")
        assert client.list_tags(NGINX, Caller()) == ("1", "2")


class TestDocuments:
    def test_bytes_as_sent(self, client: RegistryClient, registry: FakeRegistry) -> None:
        image = push(registry)
        resolved = client.resolve(NGINX, Caller())
        raw = client.fetch_manifest(NGINX, resolved.descriptor, Caller())
        assert raw == image.raw
        manifest = decode_manifest(raw).value
        assert isinstance(manifest, Manifest)
        client.fetch_config(NGINX, manifest.config, Caller())
        assert registry.log[1].headers["accept"] == "application/vnd.oci.image.manifest.v1+json, */*"
        assert registry.log[2].headers["accept"] == "application/vnd.oci.image.config.v1+json, */*"

    def test_another_manifest_than_asked_for(self, client: RegistryClient, registry: FakeRegistry) -> None:
        image = push(registry)
        registry.inject(Fault(method="GET", is_corrupt=True))
        with pytest.raises(ContentMismatchError) as caught:
            client.fetch_manifest(NGINX, image.descriptor, Caller())
        assert caught.value.want == image.descriptor.digest

    def test_a_mirror_that_lies_is_passed_over(self, registry: FakeRegistry, mirror: FakeRegistry) -> None:
        image = push(registry)
        push(mirror)
        mirror.inject(Fault(method="GET", is_corrupt=True))
        with closing(client_of(mirror, registry)) as client:
            assert client.fetch_manifest(NGINX, image.descriptor, Caller()) == image.raw

    def test_endless_documents_are_not_read_to_the_end(self, client: RegistryClient, registry: FakeRegistry) -> None:
        descriptor = Descriptor(media_type=mediatype.OCI_CONFIG, digest=Digest.of(b"x"), size=10**9)
        with pytest.raises(ContentMismatchError, match="at most"):
            client.fetch_config(NGINX, descriptor, Caller())
        assert registry.requests() == []


class TestLimits:
    def test_no_more_connections_to_a_host_than_allowed(self, registry: FakeRegistry) -> None:
        descriptors = [add_blob(registry, blob(number)) for number in range(1, 9)]
        registry.inject(Fault(path="/blobs/", delay_seconds=0.02))
        settings = RegistrySettings(connections_per_host=2)
        with closing(client_of(registry, settings=settings)) as client:
            threads = [threading.Thread(target=read_all, args=(client, one)) for one in descriptors]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert len(registry.log) == 8
        assert registry.connections == 2

    def test_tokens_are_fetched_even_with_one_connection_to_a_host(self) -> None:
        auth = FakeAuth(scheme="bearer", users=USERS)
        settings = RegistrySettings(connections_per_host=1)
        with FakeRegistry(auth=auth) as registry, closing(client_of(registry, settings=settings)) as client:
            push(registry)
            client.resolve(NGINX, Caller(credential=ALICE))
            assert registry.connections == 1

    def test_failures_leave_no_slot_taken(self, registry: FakeRegistry) -> None:
        push(registry)
        settings = RegistrySettings(
            connections_per_host=1, retry=RetryLimits(tries=1, first_pause_seconds=0.01), unhealthy_seconds=0
        )
        with closing(client_of(registry, settings=settings)) as client:
            for fault in (Fault(is_silent=True, times=1), Fault(status=500, times=1)):
                registry.inject(fault)
                with pytest.raises(RegistryError):
                    client.resolve(NGINX, Caller())
            descriptor = add_blob(registry, blob(1000))
            registry.inject(Fault(path="/blobs/", cut_after=10, times=1))
            assert read_all(client, descriptor) == blob(1000)
            client.resolve(NGINX, Caller())


class TestRetries:
    @pytest.mark.parametrize("status", [500, 502, 503, 504])
    def test_servers_in_trouble_are_asked_again(
        self, client: RegistryClient, registry: FakeRegistry, status: int
    ) -> None:
        push(registry)
        registry.inject(Fault(status=status, times=2))
        client.resolve(NGINX, Caller())
        assert [one.status for one in registry.log] == [status, status, 200]

    def test_up_to_a_limit(self, client: RegistryClient, registry: FakeRegistry) -> None:
        registry.inject(Fault(status=503, body=b'{"errors":[{"code":"UNAVAILABLE","message":"try later"}]}'))
        with pytest.raises(UnexpectedStatusError) as caught:
            client.resolve(NGINX, Caller())
        assert len(registry.log) == 3
        assert "503 Service Unavailable" in str(caught.value)

    def test_retry_after_is_waited_out(self, client: RegistryClient, registry: FakeRegistry) -> None:
        push(registry)
        registry.inject(Fault(status=429, headers={"Retry-After": "0"}, times=1))
        client.resolve(NGINX, Caller())
        assert [one.status for one in registry.log] == [429, 200]

    def test_a_wait_beyond_the_limit_ends_at_once(self, client: RegistryClient, registry: FakeRegistry) -> None:
        registry.inject(Fault(status=429, headers={"Retry-After": "3600"}))
        with pytest.raises(TooManyRequestsError) as caught:
            client.resolve(NGINX, Caller())
        assert caught.value.retry_after_seconds == 3600
        assert len(registry.log) == 1

    def test_connections_lost_before_the_answer(self, client: RegistryClient, registry: FakeRegistry) -> None:
        push(registry)
        registry.inject(Fault(is_silent=True, times=2))
        client.resolve(NGINX, Caller())
        assert len(registry.log) == 3

    @pytest.mark.parametrize("status", [400, 404])
    def test_what_will_not_change_is_not_asked_again(
        self, client: RegistryClient, registry: FakeRegistry, status: int
    ) -> None:
        registry.inject(Fault(status=status))
        with pytest.raises(RegistryError):
            client.resolve(NGINX, Caller())
        assert len(registry.log) == 1

    def test_the_registrys_own_words_are_kept(self, client: RegistryClient, registry: FakeRegistry) -> None:
        image = push(registry)
        body = b'{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}'
        registry.inject(Fault(status=403, body=body))
        with pytest.raises(DeniedError, match="denied: requested access to the resource is denied"):
            client.fetch_manifest(NGINX, image.descriptor, Caller())

    def test_a_refused_head_is_asked_for_its_words(self, client: RegistryClient, registry: FakeRegistry) -> None:
        body = b'{"errors":[{"code":"DENIED","message":"the trial is over"}]}'
        registry.inject(Fault(status=403, body=body))
        with pytest.raises(DeniedError, match=r"403 Forbidden to HEAD .*: denied: the trial is over") as caught:
            client.resolve(NGINX, Caller())
        assert caught.value.method == "HEAD"
        assert [(one.method, one.status) for one in registry.log] == [("HEAD", 403), ("GET", 403)]

    def test_a_refused_head_without_words_stays_as_it_is(self, client: RegistryClient, registry: FakeRegistry) -> None:
        registry.inject(Fault(method="HEAD", status=403))
        registry.inject(Fault(method="GET", status=500))
        with pytest.raises(DeniedError):
            client.resolve(NGINX, Caller())
        assert [one.method for one in registry.log] == ["HEAD", "GET"]

    def test_a_server_that_never_answers(self, client: RegistryClient, registry: FakeRegistry) -> None:
        registry.inject(Fault(delay_seconds=10))
        with pytest.raises(RegistryUnavailableError, match="timeout awaiting response headers"):
            client.resolve(NGINX, Caller())


class TestBlobs:
    def test_whole(self, client: RegistryClient, registry: FakeRegistry) -> None:
        content = blob(300_000)
        descriptor = add_blob(registry, content)
        assert read_all(client, descriptor) == content
        assert "range" not in registry.log[0].headers

    def test_from_an_offset(self, client: RegistryClient, registry: FakeRegistry) -> None:
        content = blob(1000)
        assert read_all(client, add_blob(registry, content), offset=600) == content[600:]

    def test_nothing_is_asked_before_the_first_read(self, client: RegistryClient, registry: FakeRegistry) -> None:
        with client.open_blob(NGINX, add_blob(registry, b"x"), Caller()):
            assert registry.log == ()

    def test_cut_connections_are_resumed_where_they_broke(self, client: RegistryClient, registry: FakeRegistry) -> None:
        content = blob(100_000)
        descriptor = add_blob(registry, content)
        registry.inject(Fault(cut_after=20_000, times=4))
        with client.open_blob(NGINX, descriptor, Caller()) as stream:
            parts = []
            while data := stream.read(7000):
                parts.append(data)
            assert b"".join(parts) == content
            assert stream.received_bytes == len(content)
        assert [one.headers.get("range") for one in registry.log] == [
            None,
            "bytes=20000-",
            "bytes=40000-",
            "bytes=60000-",
            "bytes=80000-",
        ]

    def test_a_registry_without_ranges_is_read_over(self, client: RegistryClient, registry: FakeRegistry) -> None:
        content = blob(100_000)
        descriptor = add_blob(registry, content)
        registry.inject(Fault(cut_after=50_000, times=1))
        registry.inject(Fault(ignores_range=True))
        with client.open_blob(NGINX, descriptor, Caller()) as stream:
            parts = []
            while data := stream.read(7000):
                parts.append(data)
            assert b"".join(parts) == content
            assert stream.received_bytes == 150_000

    def test_no_progress_is_given_up(self, client: RegistryClient, registry: FakeRegistry) -> None:
        descriptor = add_blob(registry, blob(100_000))
        registry.inject(Fault(cut_after=0))
        with pytest.raises(RegistryUnavailableError, match="unexpected EOF"):
            read_all(client, descriptor)
        assert len(registry.log) == 1 + QUICK.download.max_resumes

    def test_slow_drips_are_given_up(self, client: RegistryClient, registry: FakeRegistry) -> None:
        descriptor = add_blob(registry, blob(100_000))
        registry.inject(Fault(bytes_per_second=100))
        started = time.monotonic()
        with pytest.raises(RegistryUnavailableError, match="download stalled"):
            read_all(client, descriptor)
        assert time.monotonic() - started < 5

    def test_silence_is_given_up(self, registry: FakeRegistry) -> None:
        descriptor = add_blob(registry, blob(100_000))
        registry.inject(Fault(bytes_per_second=0.1))
        with closing(client_of(registry)) as client, pytest.raises(RegistryUnavailableError, match="i/o timeout"):
            read_all(client, descriptor)

    def test_absent_everywhere(self, client: RegistryClient) -> None:
        descriptor = Descriptor(media_type=mediatype.OCI_LAYER, digest=Digest.of(b"x"), size=1)
        with pytest.raises(BlobUnknownError, match=r"layer sha256:.* is at none of its endpoints"):
            read_all(client, descriptor)

    @pytest.mark.parametrize("length", [99_999, 100_001])
    def test_another_length_than_promised(self, client: RegistryClient, registry: FakeRegistry, length: int) -> None:
        descriptor = add_blob(registry, blob(100_000))
        registry.inject(Fault(content_length=length))
        with pytest.raises(ContentMismatchError, match=f"want 100000 bytes, got {length} bytes"):
            read_all(client, descriptor)

    def test_foreign_layers_come_from_their_urls(
        self, client: RegistryClient, registry: FakeRegistry, mirror: FakeRegistry
    ) -> None:
        content = blob(1000)
        mirror.add_blob("elsewhere", content)
        descriptor = Descriptor(
            media_type=mediatype.OCI_FOREIGN_LAYER,
            digest=Digest.of(content),
            size=len(content),
            urls=(f"{mirror.url}/v2/elsewhere/blobs/{Digest.of(content)}",),
        )
        assert read_all(client, descriptor, Caller(credential=ALICE)) == content
        assert "authorization" not in mirror.log[0].headers


class TestRedirects:
    def test_blobs_may_live_elsewhere(
        self, client: RegistryClient, registry: FakeRegistry, mirror: FakeRegistry
    ) -> None:
        content = blob(1000)
        descriptor = add_blob(registry, content)
        add_blob(mirror, content)
        registry.inject(Fault(path="/blobs/", redirect_to=mirror.url))
        assert read_all(client, descriptor) == content

    def test_credentials_stay_at_home(self, mirror: FakeRegistry) -> None:
        content = blob(1000)
        with (
            FakeRegistry(auth=FakeAuth(scheme="basic", users=USERS)) as registry,
            closing(client_of(registry)) as client,
        ):
            push(registry)
            client.resolve(NGINX, Caller(credential=ALICE))
            descriptor = add_blob(registry, content)
            add_blob(mirror, content)
            registry.inject(Fault(path="/blobs/", redirect_to=mirror.url))
            assert read_all(client, descriptor, Caller(credential=ALICE)) == content
            assert "authorization" in registry.log[-1].headers
        assert "authorization" not in mirror.log[0].headers

    def test_circles_end(self, client: RegistryClient, registry: FakeRegistry) -> None:
        registry.inject(Fault(redirect_to=registry.url))
        with pytest.raises(RegistryError, match="too often"):
            client.resolve(NGINX, Caller())


class TestStop:
    def _stop_soon(self, stop: StopFlag) -> threading.Timer:
        timer = threading.Timer(0.1, stop.stop)
        timer.start()
        return timer

    @pytest.mark.parametrize(
        "fault", [Fault(bytes_per_second=1), Fault(delay_seconds=5), Fault(status=503, headers={"Retry-After": "5"})]
    )
    def test_stopping_ends_any_wait_at_once(self, registry: FakeRegistry, fault: Fault) -> None:
        descriptor = add_blob(registry, blob(100_000))
        registry.inject(fault)
        settings = RegistrySettings()  # patient in everything
        stop = StopFlag()
        started = time.monotonic()
        with closing(client_of(registry, settings=settings)) as client:
            timer = self._stop_soon(stop)
            with pytest.raises(StoppedError):
                read_all(client, descriptor, Caller(stop=stop))
            timer.join()
        assert time.monotonic() - started < 2

    def test_stopping_ends_a_dial(self) -> None:
        # TEST-NET-1 answers nobody; where the network says "unreachable" at once, that is what is told
        client = RegistryClient(HostsConfig(), clock=SystemClock())
        stop = StopFlag()
        started = time.monotonic()
        timer = self._stop_soon(stop)
        with closing(client), pytest.raises((StoppedError, RegistryUnavailableError)):
            client.resolve(parse_normalized("192.0.2.1:5000/x:1"), Caller(stop=stop))
        timer.join()
        assert time.monotonic() - started < 2

    def test_stopped_before_the_start(self, client: RegistryClient, registry: FakeRegistry) -> None:
        stop = StopFlag()
        stop.stop()
        with pytest.raises(StoppedError):
            client.resolve(NGINX, Caller(stop=stop))
        assert registry.log == ()


def test_large_layers_do_not_gather_in_memory(client: RegistryClient, registry: FakeRegistry) -> None:
    layer = file_layer({"big": blob(3_000_000)})
    descriptor = add_blob(registry, layer.blob)
    with client.open_blob(NGINX, descriptor, Caller()) as stream:
        while data := stream.read(64 * 1024):
            assert len(data) <= 64 * 1024
