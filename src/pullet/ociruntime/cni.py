"""The network of a sandbox by CNI plugins: bridge with host-local addresses, portmap, loopback.

Our own configuration, our own bridge, our own address files: nothing of another CNI user of the machine is touched.
The result of ADD is kept by the caller and handed to DEL, as the specification asks.
Source: containernetworking/cni SPEC.md 1.0.0, sections 2 (execution protocol) and 3 (lists and prevResult).
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from pullet.base.jsonvalue import JsonObject
from pullet.base.values import Value
from pullet.kit.process import CommandMissingError, run_command
from pullet.ociruntime.errors import CniError
from pullet.ociruntime.runtime import SEARCH_PATH

CNI_VERSION: Final = "1.0.0"
PLUGIN_DIRECTORIES: Final = ("/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni")
INTERFACE: Final = "eth0"
PLUGINS: Final = ("bridge", "host-local", "portmap", "loopback")


class NetworkSettings(Value, kw_only=True):
    """The pod network of one node. Two nodes of one machine need two bridges and two subnets."""

    bridge: str = "pullet0"
    subnet: str = "10.85.0.0/16"
    mtu: int = 0  # 0: the kernel's choice
    plugin_directories: tuple[str, ...] = PLUGIN_DIRECTORIES

    @property
    def gateway(self) -> str:
        """The bridge's own address, once the first sandbox is attached: what host-local leaves out of its ranges."""
        return str(next(ipaddress.ip_network(self.subnet).hosts()))


class PublishedPort(Value, kw_only=True):
    """A port of the sandbox published on the machine."""

    host_port: int
    container_port: int
    protocol: str = "tcp"
    host_ip: str = ""


class Attachment(Value):
    """What ADD gave: the addresses, and the raw results that DEL wants back."""

    ips: tuple[str, ...]
    results: JsonObject


class CniNetwork:
    """Attaches network namespaces to the node's bridge."""

    def __init__(self, settings: NetworkSettings, *, state_directory: Path) -> None:
        """`state_directory` holds the addresses given out, and must outlive reboots no longer than the sandboxes."""
        self._settings = settings
        self._state_directory = state_directory

    def missing_plugins(self) -> list[str]:
        """Plugins that are not installed; with any, no sandbox with a network of its own can be made. Blocking."""
        return [
            plugin
            for plugin in PLUGINS
            if not any(Path(directory, plugin).exists() for directory in self._settings.plugin_directories)
        ]

    async def attach(self, sandbox_id: str, netns: Path, ports: Sequence[PublishedPort]) -> Attachment:
        """Give the namespace `lo` and `eth0`. On failure call `detach`: part of it may be there.

        Raises:
            CniError: a plugin failed or is missing.
        """
        await self._execute("ADD", self._loopback(), sandbox_id, netns, "lo")
        results: JsonObject = {}
        previous: JsonObject | None = None
        for config in self._plugins(ports):
            if previous is not None:
                config["prevResult"] = previous
            previous = await self._execute("ADD", config, sandbox_id, netns, INTERFACE)
            results = previous or results
        ips = tuple(str(entry["address"]).partition("/")[0] for entry in results.get("ips", []))
        if not ips:
            raise CniError(f"the network plugins gave sandbox {sandbox_id} no address")
        return Attachment(ips, results)

    async def detach(
        self, sandbox_id: str, netns: Path | None, ports: Sequence[PublishedPort], results: JsonObject | None
    ) -> None:
        """Take it all back: interface, address, published ports. Idempotent; the namespace may be gone (None).

        Raises:
            CniError: a plugin failed; call again.
        """
        for config in reversed(self._plugins(ports)):
            if results:
                config["prevResult"] = results
            try:
                await self._execute("DEL", config, sandbox_id, netns, INTERFACE)
            except CniError:
                # After an ADD that failed halfway, the bridge plugin deletes the interface and then stumbles over the
                # rules that were never made; asked again it finds no interface and goes on to the address.
                await self._execute("DEL", config, sandbox_id, netns, INTERFACE)

    def release_reserved(self, sandbox_ids: set[str]) -> None:
        """Give back addresses of sandboxes that are not in `sandbox_ids` (a crash between two steps). Blocking."""
        directory = self._state_directory / self._settings.bridge
        for file in directory.glob("*") if directory.is_dir() else ():
            try:
                ipaddress.ip_address(file.name)
            except ValueError:
                continue
            if file.read_text().split("\n")[0].strip() not in sandbox_ids:
                file.unlink()

    def _loopback(self) -> JsonObject:
        return {"cniVersion": CNI_VERSION, "name": "lo", "type": "loopback"}

    def _plugins(self, ports: Sequence[PublishedPort]) -> list[JsonObject]:
        return conflist(self._settings, str(self._state_directory), ports)

    async def _execute(
        self, command: str, config: JsonObject, sandbox_id: str, netns: Path | None, interface: str
    ) -> JsonObject | None:
        plugin = str(config["type"])
        # By its path: a search could find another program of that name (iproute2 has a `bridge` as well).
        for directory in self._settings.plugin_directories:
            with suppress(CommandMissingError):
                result = await run_command(
                    [f"{directory}/{plugin}"],
                    stdin=json.dumps(config).encode(),
                    environment={
                        "PATH": SEARCH_PATH,
                        "CNI_COMMAND": command,
                        "CNI_CONTAINERID": sandbox_id,
                        "CNI_NETNS": str(netns) if netns is not None else "",
                        "CNI_IFNAME": interface,
                        "CNI_PATH": ":".join(self._settings.plugin_directories),
                    },
                )
                break
        else:
            searched = ", ".join(self._settings.plugin_directories)
            raise CniError(
                f"the network plugin {plugin} is not in {searched}: apt-get install containernetworking-plugins"
            )
        if result.exit_code != 0:
            raise CniError(f"plugin type={plugin!r} failed ({command.lower()}): {_plugin_message(result.stdout)}")
        return _decode(result.stdout)


def conflist(settings: NetworkSettings, data_directory: str, ports: Sequence[PublishedPort]) -> list[JsonObject]:
    """The plugin configurations in order of ADD, each complete with what the specification has the runtime add."""
    name = settings.bridge
    bridge: JsonObject = {
        "type": "bridge",
        "bridge": settings.bridge,
        "isGateway": True,
        "ipMasq": True,
        "hairpinMode": True,
        "forceAddress": True,  # a bridge left from a run with another subnet gets the present one
        "ipam": {
            "type": "host-local",
            "dataDir": data_directory,
            "ranges": [[{"subnet": settings.subnet}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    if settings.mtu:
        bridge["mtu"] = settings.mtu
    plugins = [bridge]
    mappings = [_port_mapping(port) for port in ports if port.host_port]
    if mappings:
        plugins.append(
            {
                "type": "portmap",
                "capabilities": {"portMappings": True},
                "snat": True,
                "runtimeConfig": {"portMappings": mappings},
            }
        )
    return [{"cniVersion": CNI_VERSION, "name": name, **plugin} for plugin in plugins]


def _port_mapping(port: PublishedPort) -> Mapping[str, Any]:
    mapping: dict[str, Any] = {
        "hostPort": port.host_port,
        "containerPort": port.container_port,
        "protocol": port.protocol.lower(),
    }
    if port.host_ip:
        mapping["hostIP"] = port.host_ip
    return mapping


def _plugin_message(stdout: bytes) -> str:
    answer = _decode(stdout) or {}
    parts = [str(answer[key]) for key in ("msg", "details") if answer.get(key)]
    return "; ".join(parts) or stdout.decode("utf-8", "replace").strip()[:256] or "no message"


def _decode(stdout: bytes) -> JsonObject | None:
    try:
        answer = json.loads(stdout)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None
