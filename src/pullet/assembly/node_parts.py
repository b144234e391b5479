"""One node: its engine, its journal, its credentials, its kubelet."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from pullet.apiserver.server import NodeServing
from pullet.assembly.credential_sources import mirror_logins, node_credentials, open_keyring
from pullet.assembly.image_settings import hosts_config, node_root, store_settings
from pullet.assembly.serving import bind_tcp, client_certificate_context, serve
from pullet.base.values import Value
from pullet.config import Settings
from pullet.control.images import NodeImages
from pullet.control.maintenance import NodeMaintenance
from pullet.control.server import NodeControl
from pullet.control.tag_advice import add_nearest_tags
from pullet.credentials.keyring import Keyring
from pullet.engine.engine import Engine
from pullet.engine.pull_plan import LocalSource
from pullet.journal.journal import Journal
from pullet.kit.clock import Clock
from pullet.kit.worker_threads import WorkerThreads
from pullet.kubeclient.client import ApiClient
from pullet.node.environment import ApiServerAddresses
from pullet.node.node import Node
from pullet.ociruntime.cni import NetworkSettings
from pullet.registry.client import RegistryClient
from pullet.store.store import Store


class NodeParts(Value, kw_only=True):
    """An open node, not yet running."""

    name: str
    node: Node
    engine: Engine
    journal: Journal
    keyring: Keyring
    bridge: str  # of its pods

    def control(self, clock: Clock) -> NodeControl:
        """What the control socket offers of this node."""

        async def why(namespace: str, pod: str, container: str) -> list[dict[str, Any]]:
            passes = await self.journal.passes(namespace, pod, container or None, limit=500)
            answer = [one.to_json() for one in passes]
            await add_nearest_tags(answer, self.engine.images, self.node.credentials_of)
            return answer

        images = NodeImages(images=self.engine.images, clock=clock, credentials=node_credentials(self.keyring))
        maintenance = NodeMaintenance(
            images=images, collector=lambda: self.node.image_gc, records=lambda: self.node.pull_manager
        )
        return NodeControl(images=images, maintenance=maintenance, why=why)

    def details(self) -> dict[str, Any]:
        """What the node says of itself in `pullet status`."""
        store = self.engine.store.status()
        return {
            "store": str(store.root),
            "snapshotter": f"{store.snapshotter} ({store.explanation})",
            "unpacking": store.unpacker,
        }


@asynccontextmanager
async def open_node(
    *,
    settings: Settings,
    name: str,
    kubeconfig: Path,
    serving: NodeServing,
    registry_url: str,
    network: NetworkSettings,
    api_server: ApiServerAddresses,
    local_source: Callable[[Store], LocalSource] | None,
    clock: Clock,
    threads: WorkerThreads,
) -> AsyncIterator[NodeParts]:
    """Open everything of one node for the block; containers outlive it."""
    root = node_root(settings, name)
    root.mkdir(parents=True, exist_ok=True, mode=0o711)
    registry = RegistryClient(hosts_config(settings, registry_url), clock=clock)
    journal = await threads.run(Journal.open, root / "journal.sqlite")
    api = await ApiClient.open(kubeconfig, threads=threads, user_agent=f"pullet-node/{name}", field_manager="kubelet")
    try:
        async with (
            open_keyring(settings, root, threads=threads, clock=clock) as keyring,
            Engine.open(
                root=root / "engine",
                clock=clock,
                registry=registry,
                store_settings=store_settings(settings),
                network=network,
                local_source=local_source,
                allow_other_architectures=settings.allow_other_architectures,
                mirror_logins=mirror_logins(keyring),
                oci_runtime=settings.oci_runtime,
            ) as engine,
        ):
            node_settings = settings.node_settings()
            listener = bind_tcp(
                node_settings.address,
                node_settings.port if "port" in settings.kubelet else 0,
                what="the node's own server",
                option="kubelet.port in the configuration file",
            )
            tls = await threads.run(
                client_certificate_context,
                serving.certificate_path,
                serving.key_path,
                serving.client_authority_path,
            )
            node = Node(
                name=name,
                root=root,
                api=api,
                images=engine.images,
                runtime=engine.runtime,
                journal=journal,
                clock=clock,
                settings=msgspec.structs.replace(node_settings, port=listener.getsockname()[1]),
                keyring=keyring,
                host_ips=(node_settings.address,),
                api_server=api_server,
                serve=lambda app: serve(app, listener, tls=tls),
            )
            yield NodeParts(
                name=name, node=node, engine=engine, journal=journal, keyring=keyring, bridge=network.bridge
            )
    finally:
        await api.aclose()
        await threads.run(registry.close)
        await threads.run(journal.close)
