"""A store and an engine's image service for one test, and images of which one part is big enough to be hurt."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from pullet.cri.errors import CriError
from pullet.cri.extensions import PullReport
from pullet.cri.types import AuthConfig, ImageSpec
from pullet.engine.image_service import EngineImageService
from pullet.kit.clock import Clock, SystemClock
from pullet.oci.digest import Digest
from pullet.oci.image_builder import BuiltImage, build_image
from pullet.oci.manifest import Manifest, decode_manifest, encode_json
from pullet.registry.client import RegistryClient
from pullet.registry.hosts import HostsConfig, MirrorSettings
from pullet.registry.settings import DownloadLimits, RegistrySettings, RetryLimits
from pullet.store.leases import LeaseKind
from pullet.store.settings import SnapshotterChoice, StoreSettings
from pullet.store.store import Store
from pullet.testing.fake_registry import FakeRegistry
from pullet.testing.images import plain_layer

Target: TypeAlias = Literal["manifest", "config", "layer"]
TARGETS: tuple[Target, ...] = ("manifest", "config", "layer")
Endpoints: TypeAlias = Literal["no mirror", "good mirror", "bad mirror first"]
ENDPOINTS: tuple[Endpoints, ...] = ("no mirror", "good mirror", "bad mirror first")

DOMAIN, REPOSITORY, TAG = "r.example.com", "team/app", "1.0"
IMAGE = ImageSpec(f"{DOMAIN}/{REPOSITORY}:{TAG}")
BIG_BYTES = 300_000  # of the part that is hurt
PULL_SECONDS = 60.0  # the bound of every wait for a pull; an unhindered one takes a few milliseconds
# pauses are short, waits for an answer are not: a busy machine must not look like a registry that fails
PATIENT = RegistrySettings(
    retry=RetryLimits(first_pause_seconds=0.01, max_retry_after_seconds=0.5),
    download=DownloadLimits(max_resumes=2, progress_bytes=1000),
)


def noise(size: int, seed: str = "noise") -> bytes:
    """Bytes that do not compress, the same each time."""
    return b"".join(bytes.fromhex(Digest.of(f"{seed} {n}".encode()).hex) for n in range(size // 32 + 1))[:size]


def make_image(big: Target = "layer") -> BuiltImage:
    """An image of one layer; the part named is of BIG_BYTES at least, the others are small."""
    sizes: dict[Target, int] = {"manifest": 0, "config": 0, "layer": 1000, big: BIG_BYTES}
    defaults = {"Labels": {"noise": noise(sizes["config"] // 2).hex()}}
    image = build_image([plain_layer({"data": noise(sizes["layer"])})], defaults=defaults)
    manifest = manifest_of(image)
    annotations = {"noise": noise(sizes["manifest"] // 2).hex()}
    return with_manifest(image, encode_json(msgspec.structs.replace(manifest, annotations=annotations)))


def manifest_of(image: BuiltImage) -> Manifest:
    """The manifest of a single-platform image."""
    manifest = decode_manifest(image.raw).value
    assert isinstance(manifest, Manifest)
    return manifest


def with_manifest(image: BuiltImage, raw: bytes) -> BuiltImage:
    """The image under another manifest, whatever that is."""
    descriptor = msgspec.structs.replace(image.descriptor, digest=Digest.of(raw), size=len(raw))
    return msgspec.structs.replace(image, raw=raw, descriptor=descriptor)


@dataclass(slots=True)
class PullResult:
    """How one pull ended."""

    error: CriError | None
    reports: list[PullReport] = field(default_factory=list)

    @property
    def report(self) -> PullReport:
        """The one report of the pull."""
        (report,) = self.reports
        return report


@dataclass(slots=True)
class World:
    """An open image service with what its test needs."""

    store: Store
    service: EngineImageService
    mirrors: dict[str, MirrorSettings] = field(default_factory=dict)

    async def pull(self, auth: AuthConfig | None = None) -> PullResult:
        """Pull within the bound."""
        result = PullResult(None)
        try:
            async with asyncio.timeout(PULL_SECONDS):
                await self.service.pull_image_reporting(IMAGE, auth, None, result.reports.append)
        except CriError as error:
            result.error = error
        return result

    def assert_clean(self) -> None:
        """Nothing half-done is left, in sight or out of it. Blocking."""
        assert self.store.images.list() == ()
        self.store.gc()
        assert self.store.layers.list() == ()
        assert list(self.store.content.list()) == []
        self.assert_tidy()

    def assert_tidy(self) -> None:
        """No temporary files and no leases. Blocking."""
        for kind in LeaseKind:
            assert self.store.leases.keys(kind) == frozenset()
        litter = [
            os.path.join(where, name)
            for where, _, names in os.walk(self.store.root)
            for name in names
            if os.path.basename(where) in ("tmp", "ingest") or name.endswith(".tmp")
        ]
        assert litter == []

    def assert_whole(self, image: BuiltImage) -> None:
        """The image is there, every byte of it right, and nothing else. Blocking."""
        (record,) = self.store.images.list()
        assert str(record.id) == str(image.config_digest)
        for diff_id in record.diff_ids:
            assert self.store.layers.get(diff_id) is not None
            assert self.store.layers.verify(diff_id) is not False
        assert self.store.check() == ()
        self.assert_tidy()


def only(*urls: str) -> MirrorSettings:
    """These endpoints, in order, and no other."""
    return MirrorSettings(endpoints=urls, is_exclusive=True)


@asynccontextmanager
async def open_world(
    root: Path,
    *registries: FakeRegistry,
    urls: tuple[str, ...] = (),
    settings: RegistrySettings = PATIENT,
    clock: Clock | None = None,
    snapshotter: SnapshotterChoice = SnapshotterChoice.DIRECTORY,
    store_type: type[Store] = Store,
) -> AsyncIterator[World]:
    """A service for which DOMAIN is served by `registries` (or `urls`) alone, in order."""
    mirrors = {DOMAIN: only(*(urls or (one.url for one in registries)))}
    hosts = HostsConfig(mirrors=mirrors)
    form = StoreSettings(snapshotter=snapshotter)
    clock = clock or SystemClock()
    stack = ExitStack()
    client = RegistryClient(hosts, clock=clock, settings=settings)
    stack.callback(client.close)
    try:
        store = await asyncio.to_thread(store_type.open, root, clock=clock, settings=form)
        stack.callback(store.close)
        async with asyncio.TaskGroup() as group:
            service = EngineImageService(store=store, registry=client, group=group, clock=clock)
            stack.callback(service.close)
            yield World(store, service, mirrors)
    finally:
        await asyncio.to_thread(stack.close)


def layer_digest(image: BuiltImage) -> Digest:
    """The digest of the only layer."""
    return next(digest for digest in image.blobs if digest != image.config_digest)
