"""An image service over a real store, for which a fake registry is docker.io."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, closing
from pathlib import Path

from pullet.base.redact import Secret
from pullet.cri.types import AuthConfig, ImageSpec
from pullet.engine.image_service import EngineImageService
from pullet.engine.pull_plan import LocalSource
from pullet.kit.clock import SystemClock
from pullet.oci.image_builder import BuiltImage
from pullet.oci.platform import parse_platform
from pullet.registry.client import RegistryClient
from pullet.registry.hosts import HostsConfig, MirrorSettings
from pullet.registry.settings import DownloadLimits, RegistrySettings, RetryLimits
from pullet.registry.short_names import ShortNames
from pullet.store.store import Store
from pullet.testing.fake_registry import FakeRegistry

SETTINGS = RegistrySettings(
    retry=RetryLimits(first_pause_seconds=0.01), download=DownloadLimits(max_resumes=2, progress_bytes=1000)
)
NGINX = ImageSpec("nginx:1.17.1")
ALICE = AuthConfig(username="alice", password=Secret("s3cret"))


@asynccontextmanager
async def open_service(
    root: Path,
    *registries: FakeRegistry,
    local_source: LocalSource | None = None,
    platform: str = "linux/amd64",
    short_names: ShortNames | None = None,
) -> AsyncIterator[EngineImageService]:
    """An image service for which docker.io is served by the registries alone."""
    mirror = MirrorSettings(endpoints=tuple(one.url for one in registries), is_exclusive=True)
    stack = ExitStack()
    try:
        hosts = HostsConfig(mirrors={"docker.io": mirror}, short_names=short_names or ShortNames(None))
        client = stack.enter_context(closing(RegistryClient(hosts, clock=SystemClock(), settings=SETTINGS)))
        store = stack.enter_context(await asyncio.to_thread(Store.open, root, clock=SystemClock()))
        async with asyncio.TaskGroup() as group:
            service = EngineImageService(
                store=store,
                registry=client,
                group=group,
                clock=SystemClock(),
                platform=parse_platform(platform),
                local_source=local_source,
            )
            stack.callback(service.close)
            yield service
    finally:
        await asyncio.to_thread(stack.close)


def push(registry: FakeRegistry, image: BuiltImage, tag: str = "1.17.1", name: str = "nginx") -> BuiltImage:
    registry.push(image, f"library/{name}", tag)
    return image
