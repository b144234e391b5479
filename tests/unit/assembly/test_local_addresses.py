"""The names of this machine that a certificate must carry."""

from __future__ import annotations

import socket
from pathlib import Path

from pullet.assembly.local_addresses import reachable_names

TRIE = """Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 10.1.2.0/24 2 0 2
        |-- 10.1.2.0
           /24 link UNICAST
        |-- 10.1.2.3
           /32 host LOCAL
        |-- 10.1.2.255
           /32 link BROADCAST
     |-- 127.0.0.1
        /32 host LOCAL
     |-- 169.254.0.9
        /32 host LOCAL
"""
IPV6 = """00000000000000000000000000000001 01 80 10 80       lo
20010db8000000000000000000000005 02 40 00 80     eth0
fe800000000000000000000000000005 02 40 20 80     eth0
"""


def test_own_addresses_but_loopback_and_link_local(tmp_path: Path) -> None:
    trie, ipv6 = tmp_path / "trie", tmp_path / "inet6"
    trie.write_text(TRIE)
    ipv6.write_text(IPV6)
    wanted = sorted(["10.1.2.3", "2001:db8::5", socket.gethostname().lower()])
    assert reachable_names(trie, ipv6) == wanted


def test_a_machine_without_a_protocol(tmp_path: Path) -> None:
    assert reachable_names(tmp_path / "none", tmp_path / "none") == [socket.gethostname().lower()]
