"""Proxies that are spoken to in TLS, and SOCKS5 proxies: every way of a request through them."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import trustme

from pullet.base.redact import Secret
from pullet.kit.clock import SystemClock
from pullet.kit.worker_threads import StopFlag, StoppedError
from pullet.oci.image_builder import build_image
from pullet.oci.manifest import Manifest, decode_manifest
from pullet.oci.reference import parse_normalized
from pullet.registry.client import RegistryClient
from pullet.registry.errors import CertificateError, RegistryUnavailableError
from pullet.registry.hosts import HostsConfig
from pullet.registry.proxies import ProxySettings
from pullet.registry.settings import RegistrySettings, RetryLimits
from pullet.registry.transport import Caller
from pullet.testing.fake_proxy import FakeProxy
from pullet.testing.fake_registry import FakeRegistry
from pullet.testing.fake_socks import FakeSocks
from pullet.testing.images import file_layer
from pullet.testing.registry_faults import Fault

HOST = "registry.example.com"
APP = parse_normalized(f"{HOST}/app:1")
QUICK = RegistrySettings(read_timeout_seconds=5, retry=RetryLimits(first_pause_seconds=0.01))
LAYER = file_layer({"data": bytes(range(256)) * 4000})
IMAGE = build_image([LAYER], defaults={})


def server_context(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(params=["https", "http"])
def registry(request: pytest.FixtureRequest, authority: trustme.CA) -> Iterator[FakeRegistry]:
    tls = server_context(authority, HOST) if request.param == "https" else None
    with FakeRegistry(tls=tls) as registry:
        registry.push(IMAGE, "app", "1")
        yield registry


def scheme_of(registry: FakeRegistry) -> str:
    return registry.url.partition(":")[0]


def client_of(directory: Path, authority: trustme.CA, scheme: str, url: str) -> RegistryClient:
    authority.cert_pem.write_to_path(directory / "ca.pem")
    (directory / HOST).mkdir(exist_ok=True)
    port = ":443" if scheme == "https" else ":80"
    (directory / HOST / "hosts.toml").write_text(f'server = "{scheme}://{HOST}{port}"\nca = "{directory}/ca.pem"\n')
    return RegistryClient(
        HostsConfig(certs_directories=(directory,)),
        clock=SystemClock(),
        settings=QUICK,
        proxies=ProxySettings(http=Secret(url), https=Secret(url)),
    )


def routes_to(registry: FakeRegistry) -> dict[str, str]:
    return {f"{HOST}:443": registry.host, f"{HOST}:80": registry.host}


def pull(client: RegistryClient) -> bytes:
    """The image's layer, after everything else of it."""
    target = client.resolve(APP, Caller()).descriptor
    manifest = decode_manifest(client.fetch_manifest(APP, target, Caller())).value
    assert isinstance(manifest, Manifest)
    data = b""
    with client.open_blob(APP, manifest.layers[0], Caller()) as stream:
        while part := stream.read(1 << 16):
            data += part
    return data


class TestSocks:
    def test_every_byte_comes_through_one_connection(
        self, registry: FakeRegistry, authority: trustme.CA, tmp_path: Path
    ) -> None:
        with FakeSocks(routes=routes_to(registry), user=("me", "s3cret")) as proxy:
            url = f"socks5://me:s3cret@{proxy.host}"
            with closing(client_of(tmp_path, authority, scheme_of(registry), url)) as client:
                assert pull(client) == IMAGE.blobs[LAYER.descriptor.digest]
            (asked,) = proxy.log
        assert asked == f"{HOST}:{443 if scheme_of(registry) == 'https' else 80}", "by name: the proxy looks it up"

    @pytest.mark.parametrize(
        ("proxy", "login", "text"),
        [
            (FakeSocks(refusal=5), "", "unknown error connection refused"),
            (FakeSocks(refusal=99), "", "unknown error code: 99"),
            (FakeSocks(user=("me", "right")), "me:wr0ng@", "username/password authentication failed"),
            (FakeSocks(user=("me", "right")), "", "no acceptable authentication methods"),
        ],
        ids=["refused", "odd", "wrong password", "no login"],
    )
    def test_a_proxy_that_will_not(
        self, proxy: FakeSocks, login: str, text: str, authority: trustme.CA, tmp_path: Path
    ) -> None:
        with proxy, closing(client_of(tmp_path, authority, "https", f"socks5h://{login}{proxy.host}")) as client:
            with pytest.raises(RegistryUnavailableError) as caught:
                client.resolve(APP, Caller())
            assert caught.value.detail == f"socks connect tcp {proxy.host}->{HOST}:443: {text}"
            assert "wr0ng" not in str(caught.value)


class TestTlsProxies:
    def test_every_byte_comes_through(self, registry: FakeRegistry, authority: trustme.CA, tmp_path: Path) -> None:
        tls = server_context(authority, "127.0.0.1")
        with FakeProxy(routes=routes_to(registry), user=("me", "s3cret"), tls=tls) as proxy:
            scheme = scheme_of(registry)
            with closing(client_of(tmp_path, authority, scheme, f"https://me:s3cret@{proxy.host}")) as client:
                if scheme == "http":  # its hosts.toml's CA is for TLS alone, so the proxy is not trusted
                    with pytest.raises(RegistryUnavailableError, match=r"proxyconnect tcp: tls: .*unknown authority"):
                        pull(client)
                    return
                for _ in range(2):
                    assert pull(client) == IMAGE.blobs[LAYER.descriptor.digest]
            assert proxy.log == (f"CONNECT {HOST}:443",), "TLS in TLS is kept like any other connection"

    def test_a_proxy_that_nobody_vouches_for(self, authority: trustme.CA, tmp_path: Path) -> None:
        with (
            FakeProxy(tls=server_context(trustme.CA(), "127.0.0.1")) as proxy,
            closing(client_of(tmp_path, authority, "https", f"https://{proxy.host}")) as client,
            pytest.raises(RegistryUnavailableError) as caught,
        ):
            client.resolve(APP, Caller())
        assert not isinstance(caught.value, CertificateError), "whose advice is about the registry"
        assert caught.value.detail == (
            "proxyconnect tcp: tls: failed to verify certificate: x509: certificate signed by unknown authority"
        )

    def test_a_proxy_without_tls(self, authority: trustme.CA, tmp_path: Path) -> None:
        with (
            FakeProxy() as proxy,
            closing(client_of(tmp_path, authority, "https", f"https://{proxy.host}")) as client,
            pytest.raises(RegistryUnavailableError) as caught,
        ):
            client.resolve(APP, Caller())
        assert caught.value.detail == "proxyconnect tcp: tls: first record does not look like a TLS handshake"

    def test_the_registry_behind_it_is_checked_all_the_same(self, authority: trustme.CA, tmp_path: Path) -> None:
        tls = server_context(authority, "127.0.0.1")
        with (
            FakeRegistry(tls=server_context(trustme.CA(), HOST)) as registry,
            FakeProxy(routes=routes_to(registry), tls=tls) as proxy,
            closing(client_of(tmp_path, authority, "https", f"https://{proxy.host}")) as client,
            pytest.raises(CertificateError, match="signed by unknown authority"),
        ):
            client.resolve(APP, Caller())

    def test_a_stop_wakes_a_read_of_the_inner_tls(self, authority: trustme.CA, tmp_path: Path) -> None:
        stop = StopFlag()
        tls = server_context(authority, "127.0.0.1")
        with (
            FakeRegistry(tls=server_context(authority, HOST)) as registry,
            FakeProxy(routes=routes_to(registry), tls=tls) as proxy,
            closing(client_of(tmp_path, authority, "https", f"https://{proxy.host}")) as client,
        ):
            registry.push(IMAGE, "app", "1")
            client.resolve(APP, Caller())  # the tunnel stands
            registry.inject(Fault(delay_seconds=30))
            timer = threading.Timer(0.2, stop.stop)
            timer.start()
            with pytest.raises(StoppedError):
                client.resolve(APP, Caller(stop=stop))
            timer.join()
