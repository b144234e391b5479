"""Files the node makes: payload volumes, subpaths, hosts, DNS, host paths; settings and their refusals."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pullet.kube.pod import PodView, parse_pod
from pullet.kube.volume import HostPathView
from pullet.node.environment import expand
from pullet.node.hosts_file import hosts_file_content
from pullet.node.metrics import NodeMetrics, image_size_label
from pullet.node.payload_volume import PayloadFile, PayloadPathError, write_payload
from pullet.node.sandbox_config import (
    ResolvConf,
    SandboxConfigError,
    dns_config,
    kernel_hostname,
    parse_resolv_conf,
    read_resolv_conf,
)
from pullet.node.settings import ConfigurationInvalidError, NodeSettings, load_settings
from pullet.node.subpath import open_below
from pullet.node.volumes import VolumeError, prepare_host_path

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def _pod(**spec: object) -> PodView:
    return parse_pod(
        {"metadata": {"name": "web", "namespace": "shop", "uid": "u"}, "spec": {"containers": [{"name": "c"}], **spec}}
    )


def test_a_payload_is_replaced_at_once_and_old_files_go(tmp_path: Path) -> None:
    assert write_payload(tmp_path, {"a": PayloadFile(b"1"), "d/b": PayloadFile(b"2", 0o600)}, now=NOW)
    assert not write_payload(tmp_path, {"a": PayloadFile(b"1"), "d/b": PayloadFile(b"2", 0o600)}, now=NOW)
    assert (tmp_path / "d/b").read_bytes() == b"2"
    assert (tmp_path / "d/b").stat().st_mode & 0o777 == 0o600
    assert write_payload(tmp_path, {"a": PayloadFile(b"new")}, now=NOW)
    assert (tmp_path / "a").read_bytes() == b"new"
    assert sorted(each.name for each in tmp_path.iterdir() if not each.name.startswith("..")) == ["a"]
    assert sum(each.name.startswith("..2") for each in tmp_path.iterdir()) == 1


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../b", "", "..data/x"])
def test_a_payload_cannot_leave_its_volume(tmp_path: Path, path: str) -> None:
    with pytest.raises(PayloadPathError):
        write_payload(tmp_path / "v", {path: PayloadFile(b"")}, now=NOW)


def test_a_subpath_follows_no_link(tmp_path: Path) -> None:
    volume = tmp_path / "v"
    volume.mkdir()
    (volume / "way").symlink_to("/etc")
    (volume / "plain").mkdir()
    for subpath in ("way", "way/passwd"):
        with pytest.raises(OSError, match=r"link|directory"):
            os.close(open_below(volume, subpath))
    descriptor = open_below(volume, "plain/made/here")
    os.close(descriptor)
    assert (volume / "plain/made/here").is_dir()


def test_a_subpath_into_a_payload_volume_finds_the_file(tmp_path: Path) -> None:
    write_payload(tmp_path, {"conf.yaml": PayloadFile(b"x: 1")}, now=NOW)
    descriptor = open_below(tmp_path, "conf.yaml")
    try:
        assert os.fstat(descriptor).st_size == 4
    finally:
        os.close(descriptor)


def test_host_path_types(tmp_path: Path) -> None:
    assert prepare_host_path(HostPathView(path=str(tmp_path / "new"), type="DirectoryOrCreate")).is_dir()
    assert prepare_host_path(HostPathView(path=str(tmp_path / "file"), type="FileOrCreate")).is_file()
    with pytest.raises(VolumeError, match=r"hostPath type check failed: .*/file is not a directory"):
        prepare_host_path(HostPathView(path=str(tmp_path / "file"), type="Directory"))


def test_hosts_file() -> None:
    pod = _pod(subdomain="sub", hostAliases=[{"ip": "1.2.3.4", "hostnames": ["a", "b"]}])
    text = hosts_file_content(pod, ("10.88.0.4",), cluster_domain="cluster.local")
    assert text.startswith("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n")
    assert "10.88.0.4\tweb.sub.shop.svc.cluster.local\tweb\n" in text
    assert text.endswith("\n# Entries added by HostAliases.\n1.2.3.4\ta\tb\n")


def test_dns_policies() -> None:
    host = parse_resolv_conf("# c\nnameserver 9.9.9.9\nsearch corp.example\noptions timeout:2 ndots:2\n")
    cluster = NodeSettings(cluster_dns=("10.96.0.10",))
    assert dns_config(_pod(dnsPolicy="Default"), cluster, host).servers == ("9.9.9.9",)
    found = dns_config(_pod(), cluster, host)
    assert found.servers == ("10.96.0.10",)
    assert found.searches == ("shop.svc.cluster.local", "svc.cluster.local", "cluster.local", "corp.example")
    assert found.options == ("ndots:5",)
    own = {"nameservers": ["1.1.1.1"], "options": [{"name": "ndots", "value": "3"}, {"name": "edns0"}]}
    none = dns_config(_pod(dnsPolicy="None", dnsConfig=own), cluster, host)
    assert (none.servers, none.searches, none.options) == (("1.1.1.1",), (), ("ndots:3", "edns0"))


def test_servers_behind_a_resolver_on_loopback(tmp_path: Path) -> None:
    stub, behind = tmp_path / "resolv.conf", tmp_path / "behind"
    stub.write_text("nameserver 127.0.0.53\noptions edns0\n")
    assert read_resolv_conf(stub, behind_stub=behind).servers == ("127.0.0.53",)
    behind.write_text("nameserver 9.9.9.9\nsearch corp.example\n")
    assert read_resolv_conf(stub, behind_stub=behind) == ResolvConf(("9.9.9.9",), ("corp.example",))
    stub.write_text("nameserver 1.1.1.1\n")
    assert read_resolv_conf(stub, behind_stub=behind).servers == ("1.1.1.1",)
    assert read_resolv_conf(tmp_path / "absent", behind_stub=behind) == ResolvConf()


def test_the_full_name_as_host_name() -> None:
    named = _pod(hostname="h" * 70, subdomain="sub", setHostnameAsFQDN=True)
    assert kernel_hostname(_pod(setHostnameAsFQDN=True), "cluster.local") == "web"
    assert kernel_hostname(_pod(subdomain="sub"), "cluster.local") == "web"
    assert kernel_hostname(_pod(subdomain="sub", setHostnameAsFQDN=True), "test") == "web.sub.shop.svc.test"
    with pytest.raises(SandboxConfigError, match=r"FQDN h{63}\.sub\.shop\.svc\.test is too long \(81 characters\)"):
        kernel_hostname(named, "test")


def test_expansion() -> None:
    values = {"A": "1", "B": "$(A)"}
    assert expand("$(A)-$(B)-$(C)-$$(A)-$x-$", values) == "1-$(A)-$(C)-$(A)-$x-$"


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (
            {"serializeImagePulls": True, "maxParallelImagePulls": 3},
            "invalid configuration: maxParallelImagePulls cannot be larger than 1 unless SerializeImagePulls "
            "(--serialize-image-pulls) is set to false",
        ),
        (
            {"imageGCHighThresholdPercent": 80, "imageGCLowThresholdPercent": 80},
            "invalid configuration: imageGCLowThresholdPercent 80 must be less than imageGCHighThresholdPercent 80",
        ),
        (
            {"crashLoopBackOff": {"maxContainerRestartPeriod": "10m"}},
            "invalid configuration: crashLoopBackOff.maxContainerRestartPeriod 10m must be between 1s and 300s",
        ),
        ({"nope": 1}, "invalid configuration: Object contains unknown field `nope`"),
        (
            {"imageMinimumGCAge": "soon"},
            "invalid configuration: 'soon' is not a duration such as 2m or 1m30s",
        ),
    ],
)
def test_wrong_settings_are_refused(values: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigurationInvalidError) as caught:
        load_settings(values)
    assert str(caught.value) == text


def test_parallel_pulls_follow_from_their_number() -> None:
    assert load_settings({}).is_serial
    assert not load_settings({"maxParallelImagePulls": 2}).is_serial
    assert not load_settings({"serializeImagePulls": False}).is_serial


@pytest.mark.parametrize(
    ("size", "label"),
    [(0, "N/A"), (1, "0-10MB"), (10 << 20, "0-10MB"), ((10 << 20) + 1, "10MB-100MB"), (1 << 40, "GT100GB")],
)
def test_image_size_labels(size: int, label: str) -> None:
    assert image_size_label(size) == label


def test_metrics_text() -> None:
    metrics = NodeMetrics()
    metrics.count("kubelet_image_garbage_collected_total", reason="space")
    metrics.observe_pull(size_bytes=5, seconds=7)
    text = metrics.render({"kubelet_running_pods": 2})
    assert "kubelet_running_pods 2\n" in text
    assert 'kubelet_image_garbage_collected_total{reason="space"} 1\n' in text
    assert 'kubelet_image_pull_duration_seconds_bucket{image_size_in_bytes="0-10MB",le="5"} 0\n' in text
    assert 'kubelet_image_pull_duration_seconds_bucket{image_size_in_bytes="0-10MB",le="10"} 1\n' in text
