"""What can go wrong with a pull: faults of the network, of registries, of images and of the disk, as values.

A trouble strikes a site and gives what relieves it again. It says what a pull from the endpoint that is hit comes to:
the runtime's text, the plain cause and the next step; and which exchange the journal then keeps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import msgspec
from tests.faults.pull_world import PATIENT, Endpoints, Target, layer_digest

from pullet.oci.digest import Digest
from pullet.oci.image_builder import BuiltImage
from pullet.registry.settings import DownloadLimits, RegistrySettings
from pullet.store.store import Store
from pullet.testing.fake_registry import FakeRegistry

CHUNK_BYTES = 128 * 1024  # what may be fetched twice after a cut
DISK_BYTES = 4 << 20  # of a disk of its own
IMPATIENT = msgspec.structs.replace(
    PATIENT,
    read_timeout_seconds=3.0,
    document_timeout_seconds=3.0,
    download=DownloadLimits(max_resumes=1, progress_bytes=1000, stall_window_seconds=1.0, stall_min_bytes=1000),
)  # for troubles that are nothing but silence


@dataclass(frozen=True, slots=True)
class Lane:
    """Wrong places to be sent to, each wrong in its own way: their URLs."""

    refused: str
    unknown_ca: str
    expired: str
    dns: str = "http://registry.invalid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where a trouble strikes: the part of the image that is hit, the endpoint that turns bad, the store."""

    target: Target
    image: BuiltImage
    bad: FakeRegistry
    lane: Lane
    store: Store

    @property
    def path(self) -> str:
        """The pattern of the target's requests."""
        return "/manifests/" if self.target == "manifest" else f"/blobs/{self._digest}"

    @property
    def body(self) -> bytes:
        """The target's bytes."""
        return self.image.raw if self.target == "manifest" else self.image.blobs[self._digest]

    @property
    def _digest(self) -> Digest:
        assert self.image.config_digest is not None
        return self.image.config_digest if self.target == "config" else layer_digest(self.image)


Relief: TypeAlias = Callable[[], None]
Strike: TypeAlias = Callable[[Site], Relief]
Texts: TypeAlias = str | Mapping[Target, str]
NEEDS_GOOD_MIRROR: frozenset[Endpoints] = frozenset({"no mirror", "bad mirror first"})
ALWAYS: frozenset[Endpoints] = frozenset({"no mirror", "good mirror", "bad mirror first"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """A trouble, and what a pull that meets it says. Texts are patterns, by target where they differ.

    `text` of the error; "" where the pull succeeds all the same. `attempt`: `STATUS ERROR` of the exchange with the
    bad endpoint as the journal keeps it. `harms`: with which endpoints the pull fails.
    """

    name: str
    strike: Strike
    text: Texts = ""
    cause: Texts = ""
    step: Texts = ""
    attempt: Texts = "^200 $"
    harms: frozenset[Endpoints] = frozenset({"no mirror"})
    lane: str = ""  # the endpoint itself is that place of the lane when it is hit from the manifest on
    again_bytes: int = 0  # what a pull that succeeds may have fetched twice
    has_own_disk: bool = False
    settings: RegistrySettings = PATIENT

    def fails(self, endpoints: Endpoints) -> bool:
        """Whether the pull fails."""
        return bool(self.text) and endpoints in self.harms


def pick(texts: Texts, target: Target) -> str:
    """The pattern for one target."""
    return texts if isinstance(texts, str) else texts[target]
