"""A client whose docker.io is our own registries, and what they are filled with."""

from __future__ import annotations

from typing import Any

from pullet.base.redact import Secret
from pullet.kit.clock import SystemClock
from pullet.oci import mediatype
from pullet.oci.descriptor import Descriptor
from pullet.oci.digest import Digest
from pullet.oci.image_builder import BuiltImage
from pullet.oci.reference import parse_normalized
from pullet.registry.auth import Credential
from pullet.registry.client import RegistryClient
from pullet.registry.hosts import HostsConfig, MirrorSettings
from pullet.registry.settings import DownloadLimits, RegistrySettings, RetryLimits
from pullet.registry.transport import Caller
from pullet.testing.fake_registry import FakeRegistry
from pullet.testing.images import tiny_image

QUICK = RegistrySettings(
    read_timeout_seconds=0.5,
    retry=RetryLimits(first_pause_seconds=0.01, max_pause_seconds=0.02, max_retry_after_seconds=0.2),
    download=DownloadLimits(max_resumes=3, progress_bytes=1000, stall_window_seconds=0.2, stall_min_bytes=1000),
)
ALICE = Credential(username="alice", password=Secret("s3cret"))
USERS = {"alice": "s3cret"}


def client_of(*registries: FakeRegistry, **changes: Any) -> RegistryClient:
    """docker.io is served by the registries, in order, and nothing else."""
    mirror = MirrorSettings(endpoints=tuple(one.url for one in registries), is_exclusive=True)
    return RegistryClient(
        HostsConfig(mirrors={"docker.io": mirror}), clock=SystemClock(), settings=changes.pop("settings", QUICK)
    )


NGINX = parse_normalized("nginx:1.17.1")


def push(registry: FakeRegistry, text: str = "one", tag: str = "1.17.1") -> BuiltImage:
    image = tiny_image(text)
    registry.push(image, "library/nginx", tag)
    return image


def blob(size: int) -> bytes:
    return bytes(number % 251 for number in range(size))


def add_blob(registry: FakeRegistry, content: bytes) -> Descriptor:
    registry.add_blob("library/nginx", content)
    return Descriptor(media_type=mediatype.OCI_LAYER, digest=Digest.of(content), size=len(content))


def read_all(client: RegistryClient, descriptor: Descriptor, caller: Caller | None = None, **more: Any) -> bytes:
    with client.open_blob(NGINX, descriptor, caller or Caller(), **more) as stream:
        parts = []
        while data := stream.read(64 * 1024):
            parts.append(data)
    return b"".join(parts)
