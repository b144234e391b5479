"""Which bridge and which addresses the pods of a root get: chosen once, kept for as long as the root lives."""

from __future__ import annotations

import ipaddress
import zlib
from pathlib import Path

from pullet.base.errors import UsageError
from pullet.kit.atomic_file import write_atomic
from pullet.ociruntime.cni import NetworkSettings

SUBNET_FILE = "pod-subnet"
ROUTES = Path("/proc/net/route")


def pod_subnet(root: Path, wanted: str) -> ipaddress.IPv4Network:
    """The /16 (or smaller) of this root: the wanted one, the one chosen before, or a 10.x.0.0/16 nobody routes to.

    Raises:
        UsageError: `wanted` is no IPv4 network, or every candidate is in use.
    """
    if wanted:
        try:
            return ipaddress.IPv4Network(wanted)
        except ValueError as error:
            raise UsageError(f"podSubnet {wanted!r} is not an IPv4 network such as 10.88.0.0/16: {error}") from error
    kept = root / SUBNET_FILE
    if kept.exists():
        return ipaddress.IPv4Network(kept.read_text().strip())
    routed = routed_networks(ROUTES.read_text())
    start = zlib.crc32(str(root).encode()) % 128
    for step in range(128):
        candidate = ipaddress.IPv4Network(f"10.{64 + (start + step) % 128}.0.0/16")
        if not any(candidate.overlaps(network) for network in routed):
            write_atomic(kept, f"{candidate}\n".encode())
            return candidate
    raise UsageError("no free pod network between 10.64.0.0 and 10.191.0.0: name one with podSubnet")


def routed_networks(table: str) -> list[ipaddress.IPv4Network]:
    """The networks of /proc/net/route, without the default route; addresses there are little-endian hex."""
    networks = []
    for line in table.splitlines()[1:]:
        fields = line.split()
        address, mask = (int.from_bytes(bytes.fromhex(fields[i]), "little") for i in (1, 7))
        if mask:
            networks.append(ipaddress.IPv4Network((address, mask.bit_count())))
    return networks


def node_network(root: Path, wanted: str, *, node_name: str, index: int) -> NetworkSettings:
    """The network of the index-th node of this root: a bridge of its own and one /24 of the subnet."""
    subnet = pod_subnet(root, wanted)
    if subnet.prefixlen < 24:
        subnet = list(subnet.subnets(new_prefix=24))[index]
    bridge = f"plt{zlib.crc32(f'{root}/{node_name}'.encode()):08x}"
    return NetworkSettings(bridge=bridge, subnet=str(subnet))
