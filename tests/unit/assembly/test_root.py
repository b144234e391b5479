"""One process per root, and a pod network that stays."""

from __future__ import annotations

import ipaddress
import os
import socket
from pathlib import Path

import pytest

from pullet.assembly.pod_network import node_network, pod_subnet, routed_networks
from pullet.assembly.root_lock import RootInUseError, RootLock
from pullet.assembly.serving import PortTakenError, bind_tcp, bind_unix
from pullet.base.errors import UsageError

ROUTES = """Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT
eth0 00000000 010200C0 0003 0 0 0 00000000 0 0 0
eth0 000200C0 00000000 0001 0 0 0 00FFFFFF 0 0 0
br0 0000580A 00000000 0001 0 0 0 0000FFFF 0 0 0
"""


def test_a_root_is_held_by_one_and_free_again_afterwards(tmp_path: Path) -> None:
    with RootLock(tmp_path / "root"), pytest.raises(RootInUseError) as raised, RootLock(tmp_path / "root"):
        pass
    assert str(raised.value) == (
        f"{tmp_path}/root is in use by another pullet (pid {os.getpid()}): stop it with `pullet down --root "
        f"{tmp_path}/root`, or give this one another --root"
    )
    with RootLock(tmp_path / "root"):
        pass


def test_routes_are_read_as_networks() -> None:
    assert [str(network) for network in routed_networks(ROUTES)] == ["192.0.2.0/24", "10.88.0.0/16"]


def test_a_subnet_once_chosen_stays(tmp_path: Path) -> None:
    first = pod_subnet(tmp_path, "")
    assert first.subnet_of(ipaddress.IPv4Network("10.0.0.0/8"))
    assert pod_subnet(tmp_path, "") == first


def test_a_wanted_subnet_is_taken_and_a_wrong_one_refused(tmp_path: Path) -> None:
    assert str(pod_subnet(tmp_path, "172.30.0.0/16")) == "172.30.0.0/16"
    with pytest.raises(UsageError, match="is not an IPv4 network such as"):
        pod_subnet(tmp_path, "172.30.0.0/33")


def test_nodes_of_one_root_have_bridges_and_subnets_of_their_own(tmp_path: Path) -> None:
    one, two = (
        node_network(tmp_path, "10.99.0.0/16", node_name=name, index=index) for index, name in enumerate(("a", "b"))
    )
    assert (one.subnet, two.subnet) == ("10.99.0.0/24", "10.99.1.0/24")
    assert one.bridge != two.bridge
    assert len(one.bridge) <= 15  # IFNAMSIZ


def test_a_taken_port_names_the_option_that_chooses_another() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PortTakenError) as raised:
            bind_tcp("127.0.0.1", port, what="the registry", option="--registry-port")
    assert str(raised.value) == (
        f"port {port} on 127.0.0.1 is taken, so the registry cannot listen there: choose another with --registry-port"
    )


def test_the_control_socket_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    path.write_text("left by a crash")
    with bind_unix(path):
        assert path.stat().st_mode & 0o777 == 0o600
