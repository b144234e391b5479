from __future__ import annotations

from pathlib import Path

import pytest

from pullet.registry.endpoint import ALL_CAPABILITIES, Endpoint, TlsSettings, default_endpoint, is_loopback
from pullet.registry.errors import HostsConfigError
from pullet.registry.hosts import HostsConfig, MirrorSettings


def write(root: Path, host: str, text: str, name: str = "hosts.toml") -> Path:
    directory = root / host
    directory.mkdir(exist_ok=True)
    (directory / name).write_text(text)
    return directory


def endpoints(root: Path, domain: str) -> tuple[Endpoint, ...]:
    return HostsConfig(certs_directories=(root,)).endpoints(domain)


@pytest.mark.parametrize(
    ("domain", "base"),
    [
        ("docker.io", "https://registry-1.docker.io/v2"),
        ("registry.example.com", "https://registry.example.com/v2"),
        ("registry.example.com:5000", "https://registry.example.com:5000/v2"),
        ("localhost", "http://localhost/v2"),
        ("localhost:5000", "http://localhost:5000/v2"),
        ("127.0.0.1:5000", "http://127.0.0.1:5000/v2"),
        ("127.8.9.1", "http://127.8.9.1/v2"),
        ("[::1]:5000", "http://[::1]:5000/v2"),
        ("localhost:443", "https://localhost:443/v2"),
        ("10.0.0.1:5000", "https://10.0.0.1:5000/v2"),
    ],
)
def test_without_configuration_the_registry_itself_is_asked(domain: str, base: str) -> None:
    assert HostsConfig().endpoints(domain) == (Endpoint(base=base),)
    assert default_endpoint(domain).base == base


def test_what_is_loopback() -> None:
    assert is_loopback("localhost:1")
    assert is_loopback("[::1]")
    assert not is_loopback("localhost.example.com")
    assert not is_loopback("[2001:db8::1]:80")


def test_mirrors_of_the_settings_come_first(tmp_path: Path) -> None:
    write(tmp_path, "docker.io", '[host."https://mirror.example.com"]\n')
    hosts = HostsConfig(
        certs_directories=(tmp_path,), mirrors={"docker.io": MirrorSettings(endpoints=("http://127.0.0.1:5000",))}
    )
    assert [(one.base, one.namespace) for one in hosts.endpoints("docker.io")] == [
        ("http://127.0.0.1:5000/v2", "docker.io"),
        ("https://mirror.example.com/v2", "docker.io"),
        ("https://registry-1.docker.io/v2", ""),
    ]


def test_an_exclusive_mirror_is_all_there_is() -> None:
    mirror = MirrorSettings(endpoints=("http://127.0.0.1:5000", "mirror.example.com"), is_exclusive=True)
    hosts = HostsConfig(mirrors={"docker.io": mirror})
    assert [one.base for one in hosts.endpoints("docker.io")] == [
        "http://127.0.0.1:5000/v2",
        "https://mirror.example.com/v2",
    ]
    assert [one.base for one in hosts.endpoints("quay.io")] == ["https://quay.io/v2"]


def test_a_full_hosts_toml(tmp_path: Path) -> None:
    directory = write(
        tmp_path,
        "registry.example.com",
        """
        server = "https://registry.example.com"
        ca = "/etc/ca.crt"
        [host."https://mirror.example.com/some/path"]
          capabilities = ["pull"]
          ca = ["one.crt", "/two.crt"]
          client = [["cert.pem", "key.pem"], ["both.pem", ""]]
          override_path = true
          dial_timeout = "1m30s"
          [host."https://mirror.example.com/some/path".header]
            X-One = "1"
            X-More = ["2", "3"]
        [host."http://10.0.0.1:5000"]
          skip_verify = true
        """,
    )
    assert endpoints(tmp_path, "registry.example.com") == (
        Endpoint(
            base="https://mirror.example.com/some/path",
            namespace="registry.example.com",
            is_mirror=True,
            capabilities=frozenset({"pull"}),
            tls=TlsSettings(
                ca_files=(directory / "one.crt", Path("/two.crt")),
                client_pairs=(
                    (directory / "cert.pem", directory / "key.pem"),
                    (directory / "both.pem", directory / "both.pem"),
                ),
            ),
            headers=(("X-One", "1"), ("X-More", "2"), ("X-More", "3")),
            dial_timeout_seconds=90.0,
        ),
        Endpoint(
            base="http://10.0.0.1:5000/v2",
            namespace="registry.example.com",
            is_mirror=True,
            tls=TlsSettings(skip_verify=True),
        ),
        Endpoint(base="https://registry.example.com/v2", tls=TlsSettings(ca_files=(Path("/etc/ca.crt"),))),
    )


@pytest.mark.parametrize(
    ("text", "base"),
    [
        ('server = "https://a.io/team"', "https://a.io/team/v2"),
        ('server = "https://a.io/team/v2"', "https://a.io/team/v2"),
        ('server = "https://a.io/v2/"', "https://a.io/v2"),
        ('server = "https://a.io/team"\noverride_path = true', "https://a.io/team"),
        ('server = "a.io"', "https://a.io/v2"),
        ('server = "http://[::1]:5000"', "http://[::1]:5000/v2"),
        ("", "https://b.io/v2"),
    ],
)
def test_paths_of_servers(tmp_path: Path, text: str, base: str) -> None:
    write(tmp_path, "b.io", text)
    assert [one.base for one in endpoints(tmp_path, "b.io")] == [base]


def test_settings_of_the_server_are_its_own(tmp_path: Path) -> None:
    directory = write(
        tmp_path,
        "b.io",
        'server = "https://b.io"\nca = ["a.pem", "b.pem"]\nclient = ["one.pem", "two.pem"]\nskip_verify = true\n'
        'dial_timeout = "500ms"\ncapabilities = ["pull", "resolve"]\n[header]\nX-One = "1"\n[host."https://m.io"]\n',
    )
    mirror, server = endpoints(tmp_path, "b.io")
    assert mirror == Endpoint(base="https://m.io/v2", namespace="b.io", is_mirror=True)
    assert server == Endpoint(
        base="https://b.io/v2",
        capabilities=frozenset({"pull", "resolve"}),
        tls=TlsSettings(
            ca_files=(directory / "a.pem", directory / "b.pem"),
            client_pairs=((directory / "one.pem",) * 2, (directory / "two.pem",) * 2),
            skip_verify=True,
        ),
        headers=(("X-One", "1"),),
        dial_timeout_seconds=0.5,
    )


def test_the_server_is_the_registry_wherever_it_is(tmp_path: Path) -> None:
    hosts = ("https://b.io", "https://10.0.0.1:5000/other", "https://m.io")
    text = "\n".join(['server = "https://10.0.0.1:5000"', *(f'[host."{url}"]' for url in hosts)])
    write(tmp_path, "b.io", text)
    assert [(one.host, one.is_mirror) for one in endpoints(tmp_path, "b.io")] == [
        ("b.io", False),
        ("10.0.0.1:5000", False),
        ("m.io", True),
        ("10.0.0.1:5000", False),
    ]


def test_an_endpoint_is_not_asked_twice(tmp_path: Path) -> None:
    write(tmp_path, "registry.example.com", 'server = "http://127.0.0.1:5001"\n[host."http://127.0.0.1:5001"]\n')
    (only,) = endpoints(tmp_path, "registry.example.com")
    assert only.base == "http://127.0.0.1:5001/v2"
    assert only.capabilities == ALL_CAPABILITIES


def test_which_directory_is_read(tmp_path: Path) -> None:
    write(tmp_path, "_default", 'server = "http://default"\n')
    assert endpoints(tmp_path, "a.io:5000")[0].base == "http://default/v2"
    write(tmp_path, "a.io:5000", 'server = "http://colon"\n')
    assert endpoints(tmp_path, "a.io:5000")[0].base == "http://colon/v2"
    write(tmp_path, "a.io_5000_", 'server = "http://underscore"\n')
    assert endpoints(tmp_path, "a.io:5000")[0].base == "http://underscore/v2"
    assert endpoints(tmp_path, "a.io")[0].base == "http://default/v2"


def test_the_first_directory_that_knows_the_host_counts(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    write(second, "a.io", 'server = "http://second"\n')
    hosts = HostsConfig(certs_directories=(tmp_path / "absent", first, second))
    assert hosts.endpoints("a.io")[0].base == "http://second/v2"


def test_dockers_certificate_directories(tmp_path: Path) -> None:
    directory = write(tmp_path, "a.io", "", "ca.crt")
    write(tmp_path, "a.io", "", "client.cert")
    write(tmp_path, "a.io", "", "client.key")
    write(tmp_path, "a.io", "", "lonely.cert")
    (endpoint,) = endpoints(tmp_path, "a.io")
    assert endpoint == Endpoint(
        base="https://a.io/v2",
        tls=TlsSettings(
            ca_files=(directory / "ca.crt",), client_pairs=((directory / "client.cert", directory / "client.key"),)
        ),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("server = ", "Invalid value"),
        ("server = 3", "`host` must be tables and `server` a URL"),
        ('server = "ftp://x"', "server: 'ftp://x' is not an http or https URL of a registry"),
        ('[host."https://"]', "is not an http or https URL of a registry"),
        ("host = 3", "`host` must be tables and `server` a URL"),
        (
            '[host."https://m"]\nskip_verify = "yes"',
            "host.\"https://m\": 'skip_verify' must be true or false, not 'yes'",
        ),
        ('[host."https://m"]\nskipverify = true', "unknown key 'skipverify'; known are ca, capabilities,"),
        (
            '[host."https://m"]\ncapabilities = ["fly"]',
            '\'capabilities\' must be a list of "pull", "resolve" and "push"',
        ),
        ('[host."https://m"]\ndial_timeout = "soon"', "'dial_timeout' must be a duration such as \"5s\", not 'soon'"),
        ('[host."https://m"]\nrewrite = {a = "b"}', "unknown key 'rewrite'"),
        ('[host."https://m"]\nclient = 3', "'client' must be a path"),
        ('[host."https://m"]\nca = [3]', "'ca' must be a string or a list of strings"),
        ('[host."https://m"]\nheader = "x"', "'header' must be a table"),
    ],
)
def test_mistakes_are_named_with_their_file(tmp_path: Path, text: str, message: str) -> None:
    directory = write(tmp_path, "a.io", text)
    with pytest.raises(HostsConfigError) as caught:
        endpoints(tmp_path, "a.io")
    assert str(caught.value).startswith(f"{directory}/hosts.toml: ")
    assert message in str(caught.value)


def test_urls() -> None:
    endpoint = Endpoint(base="http://127.0.0.1:5000/v2", namespace="docker.io")
    assert endpoint.url("/v2/a/tags/list?n=1") == "http://127.0.0.1:5000/v2/a/tags/list?n=1&ns=docker.io"
    assert Endpoint(base="https://h/custom").url("/v2/a/blobs/x") == "https://h/custom/a/blobs/x"
