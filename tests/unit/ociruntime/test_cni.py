from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from pullet.ociruntime.cni import Attachment, CniNetwork, NetworkSettings, PublishedPort, conflist
from pullet.ociruntime.errors import CniError

PLUGIN = """#!/bin/sh
input=$(cat)
echo "$CNI_COMMAND $CNI_CONTAINERID $CNI_NETNS $CNI_IFNAME $(basename "$0") $input" >> {log}
[ -e {directory}/fails ] && {{ echo '{{"code": 7, "msg": "no room", "details": "at all"}}'; exit 1; }}
[ "$CNI_COMMAND" = ADD ] && echo '{{"cniVersion": "1.0.0", "ips": [{{"address": "10.1.0.5/24"}}]}}'
exit 0
"""
PORTS = (PublishedPort(host_port=8080, container_port=80), PublishedPort(host_port=0, container_port=81))


@pytest.fixture
def network(tmp_path: Path) -> CniNetwork:
    directory = tmp_path / "plugins"
    directory.mkdir()
    for name in ("bridge", "portmap", "loopback"):
        (directory / name).write_text(PLUGIN.format(log=tmp_path / "calls", directory=directory))
        (directory / name).chmod(0o755)
    settings = NetworkSettings(bridge="br9", subnet="10.1.0.0/24", plugin_directories=(str(directory),))
    return CniNetwork(settings, state_directory=tmp_path / "state")


def calls(tmp_path: Path) -> list[tuple[str, ...]]:
    return [tuple(line.split(" ", 5)) for line in (tmp_path / "calls").read_text().splitlines()]


def test_the_configuration_is_complete() -> None:
    bridge, portmap = conflist(NetworkSettings(bridge="br9", subnet="10.1.0.0/24", mtu=1400), "/data", PORTS)
    assert (bridge["name"], bridge["cniVersion"], bridge["bridge"]) == ("br9", "1.0.0", "br9")
    assert (bridge["isGateway"], bridge["ipMasq"], bridge["mtu"]) == (True, True, 1400)
    assert bridge["ipam"]["ranges"] == [[{"subnet": "10.1.0.0/24"}]]
    assert portmap["runtimeConfig"]["portMappings"] == [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]


def test_without_published_ports_there_is_no_portmap() -> None:
    assert [plugin["type"] for plugin in conflist(NetworkSettings(), "/data", ())] == ["bridge"]


async def test_plugins_are_called_in_order_with_the_result_so_far(network: CniNetwork, tmp_path: Path) -> None:
    attachment = await network.attach("s1", Path("/ns/net"), PORTS)
    assert attachment == Attachment(("10.1.0.5",), {"cniVersion": "1.0.0", "ips": [{"address": "10.1.0.5/24"}]})
    assert [call[:5] for call in calls(tmp_path)] == [
        ("ADD", "s1", "/ns/net", "lo", "loopback"),
        ("ADD", "s1", "/ns/net", "eth0", "bridge"),
        ("ADD", "s1", "/ns/net", "eth0", "portmap"),
    ]
    assert json.loads(calls(tmp_path)[2][5])["prevResult"] == attachment.results


async def test_detach_goes_backwards_and_needs_no_namespace(network: CniNetwork, tmp_path: Path) -> None:
    await network.detach("s1", None, PORTS, {"ips": []})
    assert [call[:5] for call in calls(tmp_path)] == [
        ("DEL", "s1", "", "eth0", "portmap"),
        ("DEL", "s1", "", "eth0", "bridge"),
    ]


async def test_a_plugins_failure_is_told_in_its_words(network: CniNetwork, tmp_path: Path) -> None:
    (tmp_path / "plugins" / "fails").touch()
    with pytest.raises(CniError, match=r"plugin type='loopback' failed \(add\): no room; at all"):
        await network.attach("s1", Path("/ns/net"), ())


async def test_taking_away_is_tried_again_after_an_addition_that_failed_halfway(
    network: CniNetwork, tmp_path: Path
) -> None:
    (tmp_path / "plugins" / "fails").touch()
    with pytest.raises(CniError, match="no room"):
        await network.detach("s1", Path("/ns/net"), (), None)
    assert [call[0] for call in calls(tmp_path)] == ["DEL", "DEL"]


async def test_a_missing_plugin_names_the_package(network: CniNetwork, tmp_path: Path) -> None:
    (tmp_path / "plugins" / "bridge").unlink()
    assert await asyncio.to_thread(network.missing_plugins) == ["bridge", "host-local"]
    with pytest.raises(CniError, match="apt-get install containernetworking-plugins"):
        await network.attach("s1", Path("/ns/net"), ())


def test_addresses_of_the_lost_are_given_back(network: CniNetwork, tmp_path: Path) -> None:
    directory = tmp_path / "state" / "br9"
    directory.mkdir(parents=True)
    (directory / "10.1.0.2").write_text("kept\r\neth0")
    (directory / "10.1.0.3").write_text("lost\r\neth0")
    (directory / "last_reserved_ip.0").write_text("10.1.0.3")
    network.release_reserved({"kept"})
    assert sorted(path.name for path in directory.iterdir()) == ["10.1.0.2", "last_reserved_ip.0"]
