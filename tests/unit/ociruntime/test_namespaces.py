from __future__ import annotations

from pathlib import Path

import pytest

from pullet.ociruntime.errors import NamespaceError
from pullet.ociruntime.namespaces import is_alive, prepare_files, remove_namespaces, sysctl_kind, sysctl_path


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
        ("net/ipv4/conf/eth0.1/forwarding", "net/ipv4/conf/eth0.1/forwarding"),
        ("kernel.shm_rmid_forced", "kernel/shm_rmid_forced"),
    ],
)
def test_names_of_sysctls(name: str, path: str) -> None:
    assert sysctl_path(name) == path


@pytest.mark.parametrize("name", ["", "/etc/passwd", "net/../../sys/x"])
def test_what_is_no_name_of_a_sysctl(name: str) -> None:
    with pytest.raises(NamespaceError, match="is not the name of a sysctl"):
        sysctl_path(name)


def test_files_without_a_mount_are_no_namespaces(tmp_path: Path) -> None:
    prepare_files(tmp_path / "ns", ("net", "ipc"))
    assert not is_alive(tmp_path / "ns" / "net")
    assert not is_alive(tmp_path / "ns" / "absent")
    remove_namespaces(tmp_path / "ns")
    remove_namespaces(tmp_path / "ns")
    assert not (tmp_path / "ns").exists()


@pytest.mark.parametrize(
    ("name", "kind"),
    [("net.core.somaxconn", "net"), ("kernel.sem", "ipc"), ("fs.mqueue.msg_max", "ipc"), ("kernel.core_pattern", "")],
)
def test_which_namespace_a_sysctl_belongs_to(name: str, kind: str) -> None:
    assert sysctl_kind(name) == kind
