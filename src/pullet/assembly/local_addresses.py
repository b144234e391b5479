"""The addresses under which others reach this machine: what a certificate must name when everything is listened on."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from pathlib import Path

_TRIE = Path("/proc/net/fib_trie")
_IPV6 = Path("/proc/net/if_inet6")


def reachable_names(trie: Path = _TRIE, ipv6: Path = _IPV6) -> list[str]:
    """The host name and every address of this machine but loopback and link-local ones, sorted. Blocking."""
    found: set[ipaddress.IPv4Address | ipaddress.IPv6Address] = {*_v4(_lines(trie)), *_v6(_lines(ipv6))}
    usable = [str(address) for address in found if not (address.is_loopback or address.is_link_local)]
    return sorted([socket.gethostname().lower(), *usable])


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []  # no such protocol here


def _v4(lines: Iterable[str]) -> set[ipaddress.IPv4Address]:
    """A leaf of the routing trie (`|-- 10.0.0.2`) followed by `/32 host LOCAL` is one of ours."""
    found, leaf = set(), ""
    for line in lines:
        if "|-- " in line:
            leaf = line.rpartition("|-- ")[2].strip()
        elif line.strip() == "/32 host LOCAL" and leaf:
            found.add(ipaddress.IPv4Address(leaf))
    return found


def _v6(lines: Iterable[str]) -> set[ipaddress.IPv6Address]:
    return {ipaddress.IPv6Address(int(line.split()[0], 16)) for line in lines if line.strip()}
