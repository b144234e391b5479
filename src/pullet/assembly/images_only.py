"""A node's images without the node: for pulls while nothing runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from pullet.assembly.image_settings import hosts_config, node_config_paths, node_root, store_settings
from pullet.config import Settings
from pullet.control.images import NodeImages
from pullet.engine.image_service import EngineImageService
from pullet.kit.clock import Clock
from pullet.kit.tasks import one_error
from pullet.kit.worker_threads import WorkerThreads
from pullet.registry.client import RegistryClient
from pullet.store.store import Store


@asynccontextmanager
async def open_images(settings: Settings, node_name: str, clock: Clock) -> AsyncIterator[NodeImages]:
    """The images of one node, its store open for the block.

    Raises:
        StoreLockedError: the node runs after all, or another command has the store open.
    """
    threads = WorkerThreads("images", 1)
    directory = node_root(settings, node_name)
    root = directory / "engine" / "store"
    registry = RegistryClient(hosts_config(settings, ""), clock=clock)
    try:
        store = await threads.run(lambda: Store.open(root, clock=clock, settings=store_settings(settings)))
        images: EngineImageService | None = None
        try:
            with one_error():
                async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
                    paths = await threads.run(node_config_paths, directory)
                    if any(await threads.run(paths.stamp)) or settings.image_credential_provider_config:
                        # imported only when there is a login: it costs a pull without one 50 ms
                        from pullet.assembly.credential_sources import mirror_logins, node_credentials, open_keyring

                        keyring = await stack.enter_async_context(
                            open_keyring(settings, directory, threads=threads, clock=clock)
                        )
                        images = EngineImageService(
                            store=store,
                            registry=registry,
                            group=group,
                            clock=clock,
                            mirror_logins=mirror_logins(keyring),
                        )
                        yield NodeImages(images=images, clock=clock, credentials=node_credentials(keyring))
                    else:
                        images = EngineImageService(store=store, registry=registry, group=group, clock=clock)
                        yield NodeImages(images=images, clock=clock)
        finally:
            if images is not None:
                await threads.run(images.close)
            await threads.run(store.close)
    finally:
        await threads.run(registry.close)
        await threads.aclose()
