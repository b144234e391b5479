from __future__ import annotations

import logging
import ssl
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import trustme

from pullet.base.redact import Secret
from pullet.kit.clock import SystemClock
from pullet.oci.reference import parse_normalized
from pullet.registry.client import RegistryClient
from pullet.registry.errors import HostsConfigError, RegistryUnavailableError, UnexpectedStatusError
from pullet.registry.hosts import HostsConfig, MirrorSettings
from pullet.registry.proxies import Proxy, ProxySettings
from pullet.registry.settings import RegistrySettings, RetryLimits
from pullet.registry.transport import Caller, Exchange
from pullet.testing.fake_proxy import FakeProxy
from pullet.testing.fake_registry import FakeRegistry
from pullet.testing.images import tiny_image

HOST = "registry.example.com"
APP = parse_normalized(f"{HOST}/app:1")
QUICK = RegistrySettings(read_timeout_seconds=2, retry=RetryLimits(first_pause_seconds=0.01))


class TestWhichProxy:
    def test_by_scheme(self) -> None:
        settings = ProxySettings.from_environment({"HTTP_PROXY": "http://one:1", "https_proxy": "two"})
        assert settings.proxy_for("http", HOST) == Proxy(host="one:1")
        assert settings.proxy_for("https", HOST) == Proxy(host="two")
        assert ProxySettings.from_environment({}).proxy_for("https", HOST) is None

    @pytest.mark.parametrize("host", ["localhost", "localhost:5000", "127.0.0.1:5000", "127.9.9.9", "[::1]:5000"])
    def test_loopback_never(self, host: str) -> None:
        assert ProxySettings(http=Secret("http://one")).proxy_for("http", host) is None

    @pytest.mark.parametrize(
        ("no_proxy", "host", "is_proxied"),
        [
            ("*", HOST, False),
            ("example.com", HOST, False),
            ("example.com", "example.com", False),
            ("example.com", "badexample.com", True),
            (".example.com", HOST, False),
            (".example.com", "example.com", True),
            ("*.example.com", HOST, False),
            ("Registry.Example.COM", HOST, False),
            ("a, registry.example.com ,b", HOST, False),
            ("registry.example.com:5000", HOST, True),
            ("registry.example.com:5000", f"{HOST}:5000", False),
            ("registry.example.com:443", HOST, False),
            ("10.0.0.0/8", "10.1.2.3:5000", False),
            ("10.0.0.0/8", "11.1.2.3", True),
            ("10.1.2.3", "10.1.2.3:5000", False),
            ("10.1.2.3:80", "10.1.2.3:5000", True),
            ("fd00::/8", "[fd00::1]:5000", False),
            ("[fd00::1]", "[fd00::1]:5000", False),
            ("10.0.0.0/8", HOST, True),
            ("", HOST, True),
            (",", HOST, True),
            ("example.com:443", HOST, False),
            ("example.com:8443", HOST, True),
            ("*.example.com:443", HOST, False),
            ("*example.com", HOST, True),
            ("fd00::1", "[fd00::1]:5000", False),
            ("[fd00::1]:443", "[fd00::1]:5000", True),
            ("[fd00::1]:5000", "[fd00::1]:5000", False),
            ("1.2.3", "1.2.3.4", True),
            ("3.4", "1.2.3.4", False),  # a suffix like any other, as in Go
            (":5000", f"{HOST}:5000", True),
        ],
    )
    def test_exceptions(self, no_proxy: str, host: str, is_proxied: bool) -> None:
        settings = ProxySettings(https=Secret("http://one:3128"), no_proxy=no_proxy)
        assert (settings.proxy_for("https", host) is not None) is is_proxied

    def test_users(self) -> None:
        proxy = ProxySettings(https=Secret("http://me:p%40ss@proxy:3128")).proxy_for("https", HOST)
        assert proxy is not None
        assert (proxy.name, proxy.port) == ("proxy", 3128)
        assert proxy.authorization.reveal() == "Basic bWU6cEBzcw=="
        assert "bWU6" not in repr(proxy)

    @pytest.mark.parametrize(
        ("url", "scheme", "port"),
        [
            ("http://proxy", "http", 80),
            ("https://proxy", "https", 443),
            ("socks5://proxy", "socks5", 1080),
            ("socks5h://proxy:9", "socks5h", 9),
        ],
    )
    def test_kinds(self, url: str, scheme: str, port: int) -> None:
        proxy = ProxySettings(https=Secret(url)).proxy_for("https", HOST)
        assert proxy is not None
        assert (proxy.scheme, proxy.port, proxy.is_socks) == (scheme, port, scheme.startswith("socks"))

    def test_a_socks_login_that_does_not_fit(self) -> None:
        with pytest.raises(HostsConfigError, match="at most 255 bytes") as caught:
            ProxySettings(https=Secret(f"socks5://me:{'x' * 256}@proxy")).proxy_for("https", HOST)
        assert "xxx" not in str(caught.value)

    @pytest.mark.parametrize("url", ["socks4://me:s3cret@proxy:1080", "ftp://me:s3cret@proxy", "http://", "http://a:b"])
    def test_what_is_no_proxy(self, url: str) -> None:
        with pytest.raises(HostsConfigError, match=r"HTTPS_PROXY: .* cannot be used as a proxy") as caught:
            ProxySettings(https=Secret(url)).proxy_for("https", HOST)
        assert "s3cret" not in str(caught.value)


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def registry(authority: trustme.CA) -> Iterator[FakeRegistry]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(HOST).configure_cert(context)
    with FakeRegistry(tls=context) as registry:
        registry.push(tiny_image(), "app", "1")
        yield registry


@pytest.fixture
def certs(tmp_path: Path, authority: trustme.CA) -> Path:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    (tmp_path / HOST).mkdir()
    (tmp_path / HOST / "hosts.toml").write_text(f'server = "https://{HOST}"\nca = "{tmp_path}/ca.pem"\n')
    return tmp_path


def client_of(certs: Path, url: str) -> RegistryClient:
    return RegistryClient(
        HostsConfig(certs_directories=(certs,)),
        clock=SystemClock(),
        settings=QUICK,
        proxies=ProxySettings(http=Secret(url), https=Secret(url)),
    )


class TestTunnels:
    def test_https_goes_through_one(
        self, registry: FakeRegistry, certs: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        told: list[Exchange] = []
        routes = {f"{HOST}:443": registry.host}
        with FakeProxy(routes=routes, user=("me", "s3cret")) as proxy:
            with closing(client_of(certs, f"http://me:s3cret@{proxy.host}")) as client:
                for _ in range(3):  # the tunnel is kept
                    client.resolve(APP, Caller(on_exchange=told.append))
            assert proxy.log == (f"CONNECT {HOST}:443",)
        assert [one.url for one in told] == [f"https://{HOST}/v2/app/manifests/1"] * 3
        assert registry.log[0].headers["host"] == HOST
        assert "proxy-authorization" not in registry.log[0].headers
        assert "s3cret" not in caplog.text + repr(told)

    def test_a_proxy_that_refuses(self, certs: Path) -> None:
        with FakeProxy(user=("me", "right")) as proxy:
            with (
                closing(client_of(certs, f"http://me:wr0ng@{proxy.host}")) as client,
                pytest.raises(RegistryUnavailableError) as caught,
            ):
                client.resolve(APP, Caller())
            assert caught.value.detail == (f"proxyconnect tcp: {proxy.host} answered 407 Proxy Authentication Required")
            assert "wr0ng" not in str(caught.value)

    def test_a_dead_proxy(self, certs: Path) -> None:
        with FakeProxy() as gone:
            host = gone.host
        with closing(client_of(certs, host)) as client, pytest.raises(RegistryUnavailableError) as caught:
            client.resolve(APP, Caller())
        assert caught.value.detail == f"proxyconnect tcp: dial tcp {host}: connect: connection refused"


class TestPlainHttp:
    def test_goes_with_its_whole_url(self, tmp_path: Path) -> None:
        with FakeRegistry() as registry, FakeProxy(routes={f"{HOST}:5000": registry.host}, user=("me", "pw")) as proxy:
            registry.push(tiny_image(), "library/nginx", "1")
            hosts = HostsConfig(mirrors={"docker.io": MirrorSettings(endpoints=(f"http://{HOST}:5000",))})
            proxies = ProxySettings(http=Secret(f"http://me:pw@{proxy.host}"))
            with closing(RegistryClient(hosts, clock=SystemClock(), settings=QUICK, proxies=proxies)) as client:
                client.resolve(parse_normalized("nginx:1"), Caller())
            assert proxy.log == (f"HEAD http://{HOST}:5000/v2/library/nginx/manifests/1?ns=docker.io",)
            assert registry.log[0].headers["host"] == f"{HOST}:5000"

    def test_who_may_not(self, certs: Path) -> None:
        (certs / HOST / "hosts.toml").write_text(f'server = "http://{HOST}"\n')
        with FakeProxy(user=("me", "right")) as proxy:
            with closing(client_of(certs, proxy.host)) as client, pytest.raises(UnexpectedStatusError) as caught:
                client.resolve(APP, Caller())
            assert caught.value.status == 407

    def test_loopback_registries_are_reached_directly(self) -> None:
        with FakeRegistry() as registry, FakeProxy() as proxy:
            registry.push(tiny_image(), "app", "1")
            proxies = ProxySettings(http=Secret(f"http://{proxy.host}"))
            client = RegistryClient(HostsConfig(), clock=SystemClock(), settings=QUICK, proxies=proxies)
            with closing(client):
                client.resolve(parse_normalized(f"{registry.host}/app:1"), Caller())
            assert proxy.log == ()
