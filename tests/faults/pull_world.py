"""One pull in trouble: an image, endpoints that misbehave, a store, and what must hold afterwards.

A cell of the grid is (trouble, target, endpoints). `run_cell` pulls once in trouble, looks at outcome, report, requests
and store, takes the trouble away and pulls again.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from pullet.cri.errors import CriError
from pullet.cri.extensions import PullReport
from pullet.cri.types import AuthConfig, ImageSpec
from pullet.engine.image_service import EngineImageService
from pullet.kit.clock import Clock, SystemClock
from pullet.oci.digest import Digest
from pullet.oci.image_builder import BuiltImage, build_image
from pullet.registry.client import RegistryClient
from pullet.registry.hosts import HostsConfig, MirrorSettings
from pullet.registry.settings import DownloadLimits, RegistrySettings, RetryLimits
from pullet.store.leases import LeaseKind
from pullet.store.settings import SnapshotterChoice, StoreSettings
from pullet.store.store import Store
from pullet.testing.fake_registry import FakeRegistry
from pullet.testing.images import plain_layer
from pullet.testing.registry_faults import Fault

Target: TypeAlias = Literal["manifest", "config", "layer"]
TARGETS: tuple[Target, ...] = ("manifest", "config", "layer")
Endpoints: TypeAlias = Literal["no mirror", "good mirror", "bad mirror first"]
ENDPOINTS: tuple[Endpoints, ...] = ("no mirror", "good mirror", "bad mirror first")

DOMAIN, REPOSITORY, TAG = "r.example.com", "team/app", "1.0"
IMAGE = ImageSpec(f"{DOMAIN}/{REPOSITORY}:{TAG}")
LAYER_BYTES = 300_000
CELL_SECONDS = 8.0  # the bound of every wait in a cell; an unhindered pull takes a hundredth of it
SETTINGS = RegistrySettings(
    read_timeout_seconds=0.25,
    document_timeout_seconds=0.5,
    retry=RetryLimits(first_pause_seconds=0.01, max_retry_after_seconds=0.5),
    download=DownloadLimits(max_resumes=2, progress_bytes=1000, stall_window_seconds=0.2, stall_min_bytes=1000),
)


def noise(size: int, seed: str = "noise") -> bytes:
    """Bytes that do not compress, the same each time."""
    return b"".join(bytes.fromhex(Digest.of(f"{seed} {n}".encode()).hex) for n in range(size // 32 + 1))[:size]


def make_image() -> BuiltImage:
    """One big layer, so that there is a middle to cut at."""
    return build_image([plain_layer({"data": noise(LAYER_BYTES)})])


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

    async def pull(self, auth: AuthConfig | None = None) -> PullResult:
        """Pull within the bound."""
        result = PullResult(None)
        try:
            async with asyncio.timeout(CELL_SECONDS):
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


@asynccontextmanager
async def open_world(
    root: Path,
    *registries: FakeRegistry,
    urls: tuple[str, ...] = (),
    settings: RegistrySettings = SETTINGS,
    clock: Clock | None = None,
    snapshotter: SnapshotterChoice = SnapshotterChoice.DIRECTORY,
) -> AsyncIterator[World]:
    """A service for which DOMAIN is served by `registries` (or `urls`) alone, in order."""
    mirror = MirrorSettings(endpoints=urls or tuple(one.url for one in registries), is_exclusive=True)
    hosts = HostsConfig(mirrors={DOMAIN: mirror})
    form = StoreSettings(snapshotter=snapshotter)
    clock = clock or SystemClock()
    stack = ExitStack()
    client = RegistryClient(hosts, clock=clock, settings=settings)
    stack.callback(client.close)
    try:
        store = await asyncio.to_thread(Store.open, root, clock=clock, settings=form)
        stack.callback(store.close)
        async with asyncio.TaskGroup() as group:
            service = EngineImageService(store=store, registry=client, group=group, clock=clock)
            stack.callback(service.close)
            yield World(store, service)
    finally:
        await asyncio.to_thread(stack.close)


def path_of(image: BuiltImage, target: Target) -> str:
    """The pattern of the target's requests."""
    match target:
        case "manifest":
            return "/manifests/"
        case "config":
            return f"/blobs/{image.config_digest}"
        case "layer":
            return f"/blobs/{layer_digest(image)}"


def layer_digest(image: BuiltImage) -> str:
    """The digest of the only layer."""
    return next(digest for digest in image.blobs if digest != image.config_digest)


def size_of(image: BuiltImage, target: Target) -> int:
    """Bytes of the target's body."""
    if target == "manifest":
        return len(image.raw)
    assert image.config_digest is not None
    return len(image.blobs[image.config_digest if target == "config" else Digest(layer_digest(image))])


@dataclass(frozen=True, slots=True)
class Lane:
    """Where redirected requests end: ports and registries that are wrong in their own ways."""

    closed_port: int
    unknown_ca: str
    expired: str


MakeFault: TypeAlias = Callable[[BuiltImage, Target, Lane], Fault]
Texts: TypeAlias = str | Mapping[Target, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """A fault and what it does to a pull from a single endpoint.

    `text`: pattern of the error, by target if it differs; "" means that the pull succeeds all the same. `targets`:
    those that can be hit.
    """

    name: str
    fault: MakeFault
    text: Texts = ""
    targets: tuple[Target, ...] = TARGETS
    attempt: str = ""  # pattern of the journal's line about it: "STATUS ERROR"

    def text_for(self, target: Target) -> str:
        """The pattern for one target."""
        return self.text if isinstance(self.text, str) else self.text[target]


def server_context(certificate: object) -> ssl.SSLContext:
    """A server's TLS context with trustme's certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)  # type: ignore[attr-defined]  # trustme's LeafCert, typed as object here
    return context
