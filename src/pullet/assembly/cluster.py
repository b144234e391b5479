"""API server, controllers, nodes, registry and control socket as one thing to run.

start: ports bound ─► API server ─► first node's store ─► registry ─► controllers, nodes ─► Ready
stop:  nodes ─► (pods, if asked) ─► controllers ─► registry, control socket ─► API server
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import platform
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import yaml

from pullet import __version__
from pullet.apiserver.server import ApiServer, PodBridge
from pullet.apiserver.settings import ApiServerSettings
from pullet.assembly.local_addresses import reachable_names
from pullet.assembly.node_parts import NodeParts, open_node
from pullet.assembly.pod_network import node_network
from pullet.assembly.serving import bind_tcp, bind_unix, serve
from pullet.assembly.tear_down import end_pods, make_bridge, remove_bridge, stop_pods
from pullet.base.jsonvalue import JsonObject
from pullet.config import Settings
from pullet.control.protocol import NodeRow, StatusMessage, socket_path
from pullet.control.server import ControlServer
from pullet.controllers.controller_manager import ControllerManager
from pullet.kit.atomic_file import write_atomic
from pullet.kit.clock import Clock
from pullet.kit.tasks import Supervisor, one_error
from pullet.kit.worker_threads import WorkerThreads
from pullet.kube.meta import format_time
from pullet.kube.scheme import NODES
from pullet.kube.status import NotFoundError
from pullet.kubeclient.client import ApiClient
from pullet.node.environment import ApiServerAddresses
from pullet.ociruntime.cni import NetworkSettings
from pullet.registryd.app import Registry
from pullet.registryd.catalogue import Catalogue
from pullet.registryd.local_source import CatalogueSource
from pullet.store.store import Store

READY_POLL_SECONDS = 0.02
LOOPBACK = "127.0.0.1"
CONTROLLER_USER = "system:kube-controller-manager"


class Cluster:
    """Everything of one root directory."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings, self._clock = settings, clock
        self._root = settings.root_path
        self._stopping = asyncio.Event()
        self._ends_pods = False
        self._grace_seconds = 0.0
        self._started_at = clock.now()
        self._nodes: list[NodeParts] = []
        self.api_url = ""
        self.registry_url = ""

    def stop(self, ends_pods: bool, grace_seconds: float = 0.0) -> None:
        """Begin the end; with `ends_pods` containers are stopped, within `grace_seconds`, and removed."""
        self._ends_pods = self._ends_pods or ends_pods
        self._grace_seconds = grace_seconds
        self._stopping.set()

    async def run(self, ready: Callable[[], None]) -> int:
        """Run until `stop`; `ready` is called when every node is Ready. Gives the number of pods left running.

        Raises:
            UsageError and others: whatever keeps it from starting.
        """
        settings = self._settings
        with one_error():
            async with AsyncExitStack() as stack:
                threads = WorkerThreads("cluster", 4)
                stack.push_async_callback(threads.aclose)
                registry_listener = bind_tcp(
                    LOOPBACK, settings.registry_port, what="the registry", option="--registry-port"
                )
                stack.callback(registry_listener.close)
                self.registry_url = f"http://{LOOPBACK}:{registry_listener.getsockname()[1]}"
                networks = await threads.run(self._networks)
                api = await stack.enter_async_context(self._api_server(networks))
                self.api_url = api.url
                kubeconfig = await self._write_kubeconfigs(api, threads)
                servers = await stack.enter_async_context(Supervisor(clock=self._clock))
                servers.start("apiserver", api.run)
                catalogue = await threads.run(Catalogue, self._root / "registry.sqlite")
                stack.push_async_callback(threads.run, catalogue.close)
                await self._open_nodes(stack, api, threads, catalogue, networks)
                registry = await threads.run(self._registry, catalogue, threads)
                servers.start("registry", lambda: serve(registry.app(), registry_listener))
                client = await ApiClient.open(
                    kubeconfig["controllers"], threads=threads, user_agent="pullet-controllers"
                )
                stack.push_async_callback(client.aclose)
                programs = await stack.enter_async_context(Supervisor(clock=self._clock))
                manager = ControllerManager(
                    client=client,
                    clock=self._clock,
                    root_ca=api.authority.certificate_pem.decode(),
                    instance=platform.node(),
                )
                programs.start("controllers", manager.run)
                running = [programs.start(f"node/{parts.name}", parts.node.run) for parts in self._nodes]
                await self._until_ready(client, running)
                # Only now: whoever finds the socket may rely on every node being Ready.
                servers.start("control", self._serve_control)
                ready()
                await self._stopping.wait()
                return await self._end(running)

    def _api_server(self, networks: Sequence[NetworkSettings]) -> ApiServer:
        settings = self._settings
        api_settings = ApiServerSettings(
            bind_address=settings.listen_address,
            port=settings.port,
            admission_plugins=list(settings.enable_admission_plugins),
        )
        # Bound for a moment only: whoever has the port is named before anything is made.
        bind_tcp(settings.listen_address, settings.port, what="the API server", option="--port").close()
        names = reachable_names() if settings.is_open_to_the_network else []
        bridges: list[PodBridge] = []
        if settings.is_open_to_the_network or settings.api_for_pods:
            names += [network.gateway for network in networks]
        if settings.api_for_pods and not settings.is_open_to_the_network:
            bridges = [PodBridge(network.bridge, network.gateway) for network in networks]
        for bridge in bridges:
            make_bridge(bridge.device)
        return ApiServer(
            root=self._root / "apiserver",
            settings=api_settings,
            clock=self._clock,
            extra_hosts=names,
            pod_bridges=bridges,
        )

    async def _write_kubeconfigs(self, api: ApiServer, threads: WorkerThreads) -> dict[str, Path]:
        """The administrator's at `<root>/kubeconfig`, and one per program below `apiserver/`."""
        paths = {"admin": self._root / "kubeconfig", "controllers": self._root / "apiserver" / "controllers.kubeconfig"}
        controllers = await api.issue_kubeconfig(
            user=CONTROLLER_USER, groups=["system:masters"], file_name="controller-manager"
        )
        bodies: dict[Path, Any] = {paths["admin"]: api.admin_kubeconfig, paths["controllers"]: controllers}
        for name in self._settings.node_names:
            bodies[self._node_kubeconfig(name)] = await api.issue_node_kubeconfig(name)
        for path, body in bodies.items():
            await threads.run(write_atomic, path, yaml.safe_dump(body, sort_keys=False).encode(), durable=False)
        return paths

    def _node_kubeconfig(self, name: str) -> Path:
        return self._root / "apiserver" / f"node-{name}.kubeconfig"

    async def _open_nodes(
        self,
        stack: AsyncExitStack,
        api: ApiServer,
        threads: WorkerThreads,
        catalogue: Catalogue,
        networks: Sequence[NetworkSettings],
    ) -> None:
        port = self.registry_url.rpartition(":")[2]
        own_names = [f"{host}:{port}" for host in (LOOPBACK, "localhost", "[::1]")]

        def source(_: Store) -> CatalogueSource:
            return CatalogueSource(catalogue, own_names)

        for index, name in enumerate(self._settings.node_names):
            parts = await stack.enter_async_context(
                open_node(
                    settings=self._settings,
                    name=name,
                    kubeconfig=self._node_kubeconfig(name),
                    serving=await api.issue_node_serving(name, [LOOPBACK, "localhost", name]),
                    registry_url=self.registry_url,
                    network=networks[index],
                    api_server=self._api_addresses(api.port, networks[index]),
                    local_source=source if index == 0 else None,
                    clock=self._clock,
                    threads=threads,
                )
            )
            self._nodes.append(parts)

    def _networks(self) -> list[NetworkSettings]:
        settings = self._settings
        return [
            node_network(self._root, settings.pod_subnet, node_name=name, index=index)
            for index, name in enumerate(settings.node_names)
        ]

    def _api_addresses(self, port: int, network: NetworkSettings) -> ApiServerAddresses:
        settings = self._settings
        listens_on = ipaddress.ip_address(settings.listen_address)
        own = LOOPBACK if listens_on.is_unspecified else settings.listen_address
        if listens_on.is_unspecified or (listens_on.is_loopback and settings.api_for_pods):
            of_pods = network.gateway
        else:
            of_pods = "" if listens_on.is_loopback else own
        return ApiServerAddresses(on_host_network=own, on_pod_network=of_pods, port=port)

    def _registry(self, catalogue: Catalogue, threads: WorkerThreads) -> Registry:
        content = self._nodes[0].engine.store.content
        return Registry(catalogue=catalogue, content=content, threads=threads, clock=self._clock)

    async def _serve_control(self) -> None:
        path = socket_path(self._root)
        listener = bind_unix(path)
        control = ControlServer(
            nodes={parts.name: parts.control(self._clock) for parts in self._nodes},
            status=self._status,
            shut_down=self.stop,
            clock=self._clock,
        )
        try:
            await serve(control.app(), listener)
        finally:
            path.unlink(missing_ok=True)

    async def _status(self) -> StatusMessage:
        return StatusMessage(
            version=__version__,
            pid=os.getpid(),
            root=str(self._root),
            started_at=format_time(self._started_at),
            api_server=self.api_url,
            registry=self.registry_url,
            kubeconfig=str(self._root / "kubeconfig"),
            nodes=[NodeRow(name=parts.name, details=parts.details()) for parts in self._nodes],
        )

    async def _until_ready(self, client: ApiClient, running: list[asyncio.Task[None]]) -> None:
        for parts in self._nodes:
            while not self._stopping.is_set() and not any(task.done() for task in running):
                try:
                    node = await client.get(NODES, None, parts.name)
                except NotFoundError:
                    node = {}
                if _is_ready(node, parts.node.settings.port):
                    break
                await self._clock.sleep(READY_POLL_SECONDS)

    async def _end(self, running: list[asyncio.Task[None]]) -> int:
        for parts in self._nodes:
            parts.node.stop()
        await asyncio.wait(running, timeout=10)
        if self._ends_pods and self._grace_seconds:
            async with asyncio.TaskGroup() as group:
                for parts in self._nodes:
                    group.create_task(end_pods(parts.node, self._grace_seconds))
        left = 0
        for parts in self._nodes:
            if self._ends_pods:
                await stop_pods(parts.engine.runtime)
                await parts.node.unmount_volumes()
                await remove_bridge(parts.bridge)
            else:
                left += len(await parts.engine.runtime.list_pod_sandbox())
        return left


def _is_ready(node: JsonObject, port: int) -> bool:
    """Whether the node says so itself, at the port it has now: what a killed run left in the API may say it too."""
    status = node.get("status") or {}
    endpoint = (status.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}
    conditions = status.get("conditions") or ()
    return endpoint.get("Port") == port and any(
        one["type"] == "Ready" and one["status"] == "True" for one in conditions
    )
