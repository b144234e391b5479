from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from pullet.kit.clock import SystemClock
from pullet.kit.worker_threads import StopFlag, StoppedError
from pullet.oci.reference import parse_normalized
from pullet.registry.client import RegistryClient
from pullet.registry.errors import (
    CertificateError,
    HostsConfigError,
    PlainHttpError,
    RegistryUnavailableError,
    TlsExpectedError,
)
from pullet.registry.hosts import HostsConfig, MirrorSettings
from pullet.registry.settings import RegistrySettings, RetryLimits
from pullet.registry.transport import Caller
from pullet.testing.fake_registry import FakeRegistry
from pullet.testing.images import tiny_image
from pullet.testing.registry_faults import Fault

SETTINGS = RegistrySettings(read_timeout_seconds=2, retry=RetryLimits(first_pause_seconds=0.01))


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA(key_type=trustme.KeyType.ECDSA)


def server_context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


@pytest.fixture
def registry(authority: trustme.CA) -> Iterator[FakeRegistry]:
    with FakeRegistry(tls=server_context(authority.issue_cert("127.0.0.1"))) as registry:
        registry.push(tiny_image(), "x", "1")
        yield registry


def resolve(registry: FakeRegistry, root: Path, hosts_toml: str | None) -> None:
    if hosts_toml is not None:
        directory = root / registry.host
        directory.mkdir()
        (directory / "hosts.toml").write_text(hosts_toml)
    client = RegistryClient(HostsConfig(certs_directories=(root,)), clock=SystemClock(), settings=SETTINGS)
    with closing(client):
        client.resolve(parse_normalized(f"{registry.host}/x:1"), Caller())


def test_a_ca_of_ones_own(registry: FakeRegistry, authority: trustme.CA, tmp_path: Path) -> None:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    resolve(registry, tmp_path, f'server = "{registry.url}"\nca = "{tmp_path}/ca.pem"\n')
    assert len(registry.log) == 1


def test_no_verification(registry: FakeRegistry, tmp_path: Path) -> None:
    resolve(registry, tmp_path, f'server = "{registry.url}"\nskip_verify = true\n')


def test_stopping_ends_a_handshake() -> None:
    stop = StopFlag()
    with socket.create_server(("127.0.0.1", 0)) as mute:
        host = f"127.0.0.1:{mute.getsockname()[1]}"
        mirror = MirrorSettings(endpoints=(f"https://{host}",), is_exclusive=True)
        timer = threading.Timer(0.1, stop.stop)
        started = time.monotonic()
        timer.start()
        with (
            closing(RegistryClient(HostsConfig(mirrors={"docker.io": mirror}), clock=SystemClock())) as client,
            pytest.raises(StoppedError),
        ):
            client.resolve(parse_normalized("nginx:1"), Caller(stop=stop))
        timer.join()
    assert time.monotonic() - started < 2


def test_an_unknown_ca(registry: FakeRegistry, tmp_path: Path) -> None:
    with pytest.raises(CertificateError) as caught:
        resolve(registry, tmp_path, f'server = "{registry.url}"\n')
    assert caught.value.detail == ("tls: failed to verify certificate: x509: certificate signed by unknown authority")
    assert f'`ca = "/path/ca.crt"` in certs.d/{registry.host}/hosts.toml' in str(caught.value)


@pytest.mark.parametrize("is_expired", [True, False])
def test_a_certificate_for_another_time_or_name(authority: trustme.CA, tmp_path: Path, is_expired: bool) -> None:
    past = datetime.now(UTC) - timedelta(days=1)
    certificate = (
        authority.issue_cert("127.0.0.1", not_before=past - timedelta(days=1), not_after=past)
        if is_expired
        else authority.issue_cert("other.example.com")
    )
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with FakeRegistry(tls=server_context(certificate)) as registry, pytest.raises(CertificateError) as caught:
        resolve(registry, tmp_path, f'server = "{registry.url}"\nca = "{tmp_path}/ca.pem"\n')
    wanted = "has expired or is not yet valid" if is_expired else "is not valid for 127.0.0.1"
    assert caught.value.detail == f"tls: failed to verify certificate: x509: certificate {wanted}"
    helps = "must be renewed" if is_expired else "have it made for this one"
    assert helps in caught.value.next_step, "a trusted CA would not help"


def test_client_certificates(authority: trustme.CA, tmp_path: Path) -> None:
    context = server_context(authority.issue_cert("127.0.0.1"))
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    client = authority.issue_cert("client.example.com")
    client.private_key_and_cert_chain_pem.write_to_path(tmp_path / "client.pem")
    with FakeRegistry(tls=context) as registry:
        registry.push(tiny_image(), "x", "1")
        base = f'server = "{registry.url}"\nca = "{tmp_path}/ca.pem"\n'
        resolve(registry, tmp_path, f'{base}client = "{tmp_path}/client.pem"\n')
        (tmp_path / registry.host / "hosts.toml").write_text(base)
        with pytest.raises(RegistryUnavailableError):
            resolve(registry, tmp_path, None)


def test_files_that_are_no_certificates(registry: FakeRegistry, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(HostsConfigError, match=f"CA file {tmp_path}/ca.pem cannot be used"):
        resolve(registry, tmp_path, f'server = "{registry.url}"\nca = "{tmp_path}/ca.pem"\n')


def test_tls_to_a_plain_registry_names_the_setting(tmp_path: Path) -> None:
    with FakeRegistry() as registry, pytest.raises(PlainHttpError) as caught:
        resolve(registry, tmp_path, f'server = "https://{registry.host}"\n')
    assert caught.value.detail == "http: server gave HTTP response to HTTPS client"
    assert str(caught.value) == (
        f"no answer from registry {registry.host}: http: server gave HTTP response to HTTPS client; "
        f'the registry speaks plain http: say so with `server = "http://{registry.host}"` '
        f"in certs.d/{registry.host}/hosts.toml"
    )


def test_the_setting_is_in_the_file_of_the_name_that_images_have(tmp_path: Path) -> None:
    (tmp_path / "r.example.com").mkdir()
    with FakeRegistry() as registry:
        (tmp_path / "r.example.com" / "hosts.toml").write_text(f'server = "https://{registry.host}"\n')
        client = RegistryClient(HostsConfig(certs_directories=(tmp_path,)), clock=SystemClock(), settings=SETTINGS)
        with closing(client), pytest.raises(PlainHttpError) as caught:
            client.resolve(parse_normalized("r.example.com/x:1"), Caller())
    assert caught.value.next_step == (
        f"{registry.host} speaks plain http: write `http://{registry.host}` "
        "where certs.d/r.example.com/hosts.toml names it"
    )


def test_plain_http_to_a_tls_registry(registry: FakeRegistry, tmp_path: Path) -> None:
    with pytest.raises(RegistryUnavailableError):
        resolve(registry, tmp_path, None)  # loopback: http unless told otherwise


def test_a_tls_server_that_says_so(tmp_path: Path) -> None:
    with FakeRegistry() as registry:
        registry.inject(Fault(method="GET", status=400, body=b"Client sent an HTTP request to an HTTPS server.\n"))
        client = RegistryClient(HostsConfig(), clock=SystemClock(), settings=SETTINGS)
        with closing(client), pytest.raises(TlsExpectedError, match="speaks TLS: say so with"):
            client.list_tags(parse_normalized(f"{registry.host}/x:1"), Caller())
