"""One node's container engine: store, image service and runtime service under one root directory."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Self

from pullet.base.values import Value
from pullet.engine.image_service import EngineImageService, MirrorLogins
from pullet.engine.pull import PullLimits
from pullet.engine.pull_plan import LocalSource
from pullet.engine.runtime_service import EngineRuntimeService
from pullet.engine.store_images import StoreImages
from pullet.kit.clock import Clock
from pullet.kit.tasks import one_error
from pullet.kit.worker_threads import WorkerThreads
from pullet.oci.platform import Platform, parse_platform
from pullet.ociruntime.cni import NetworkSettings
from pullet.registry.client import RegistryClient
from pullet.store.settings import StoreSettings
from pullet.store.store import Store

DISK_THREADS: Final = 8


class Engine(Value, kw_only=True):
    """The parts of an open engine: `images` and `runtime` are the node's two CRI services."""

    store: Store
    images: EngineImageService
    runtime: EngineRuntimeService

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        *,
        root: Path,
        clock: Clock,
        registry: RegistryClient,
        store_settings: StoreSettings | None = None,
        network: NetworkSettings | None = None,
        platform: Platform | None = None,
        pull_limits: PullLimits | None = None,
        local_source: Callable[[Store], LocalSource] | None = None,
        allow_other_architectures: bool = False,
        mirror_logins: MirrorLogins | None = None,
        oci_runtime: str = "",
    ) -> AsyncIterator[Self]:
        """Open everything below `root` for the block. Leaving it leaves containers running and snapshots mounted.

        The registry client stays the caller's. `local_source` is made from the opened store. With
        `allow_other_architectures` containers of images for another machine are made (and need an emulator to run).
        `mirror_logins` are as EngineImageService takes them, `oci_runtime` is crun, runc or "" for the first there is.

        Raises:
            StoreLockedError: another process uses this root.
            RuntimeMissingError, RuntimeChangedError: the OCI runtime is not installed, or the other one is at work.
        """
        machine = parse_platform(os.uname().machine)
        threads = WorkerThreads("engine", DISK_THREADS)
        images: EngineImageService | None = None
        try:
            store = await threads.run(lambda: Store.open(root / "store", clock=clock, settings=store_settings))
            try:
                with one_error():
                    async with asyncio.TaskGroup() as group:
                        images = EngineImageService(
                            store=store,
                            registry=registry,
                            group=group,
                            clock=clock,
                            platform=platform,
                            local_source=local_source(store) if local_source is not None else None,
                            limits=pull_limits,
                            mirror_logins=mirror_logins,
                        )
                        runtime = await EngineRuntimeService.open(
                            root=root,
                            images=StoreImages(store, machine=None if allow_other_architectures else machine),
                            network=network or NetworkSettings(),
                            clock=clock,
                            threads=threads,
                            group=group,
                            oci_runtime=oci_runtime,
                        )
                        try:
                            yield cls(store=store, images=images, runtime=runtime)
                        finally:
                            await runtime.close()
            finally:
                if images is not None:
                    await threads.run(images.close)
                await threads.run(store.close)
        finally:
            await asyncio.get_running_loop().run_in_executor(None, threads.close)
