"""A fake ImageService: its registry is what a test published."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Protocol

import msgspec

from pullet.base.values import State
from pullet.cri.errors import CriError, InvalidArgumentError, NotFoundError
from pullet.cri.types import AuthConfig, FilesystemUsage, Image, ImageSpec, PodSandboxConfig
from pullet.kit.clock import Clock
from pullet.oci.reference import ReferenceInvalidError, parse_normalized
from pullet.testing.cri_calls import CallLog, nanoseconds


def _sha256(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


class RemoteImage(State):
    """What the fake registry holds under a name. `allowed` None is anonymous; else the (user, password) pairs."""

    content: str
    size_bytes: int = 1000
    allowed: frozenset[tuple[str, str]] | None = None
    uid: int | None = 0
    username: str = ""

    @property
    def image_id(self) -> str:
        """The config digest."""
        return _sha256(f"config {self.content}")

    @property
    def digest(self) -> str:
        """The manifest digest."""
        return _sha256(f"manifest {self.content}")


class KnownImages(Protocol):
    """What a runtime has to know of the images on its machine."""

    def find(self, image: str) -> Image | None:
        """The image for an id or a reference, if it is here."""
        ...


class FakeImageService(CallLog):
    """Images from `publish`ed names. `pull_seconds` is how long a pull takes on the clock."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self._remote: dict[str, RemoteImage] = {}
        self._images: dict[str, Image] = {}
        self.pull_seconds = 0.0
        self.capacity_bytes = 100 << 30
        self.auths: list[AuthConfig | None] = []

    def publish(self, image: str, remote: RemoteImage | None = None) -> RemoteImage:
        """Make `image` pullable, also by its digest."""
        reference = parse_normalized(image)
        remote = remote or RemoteImage(content=str(reference))
        self._remote[f"{reference.repository}:{reference.tag or 'latest'}"] = remote
        self._remote[f"{reference.repository}@{remote.digest}"] = remote
        return remote

    def unpublish(self, image: str) -> None:
        """The registry no longer has the tag."""
        reference = parse_normalized(image)
        self._remote.pop(f"{reference.repository}:{reference.tag or 'latest'}", None)

    def load(self, image: str, remote: RemoteImage | None = None, *, is_pinned: bool = False) -> Image:
        """Put the image on the node without a pull, as a preload does."""
        remote = self.publish(image, remote)
        return self._store(image, remote, is_pinned=is_pinned)

    def _store(self, image: str, remote: RemoteImage, *, is_pinned: bool = False) -> Image:
        reference = parse_normalized(image)
        old = self._images.get(remote.image_id)
        tag = () if reference.digest else (f"{reference.repository}:{reference.tag or 'latest'}",)
        for name in tag:  # a moved tag leaves the image that had it
            for other in [i for i in self._images.values() if name in i.repo_tags and i.id != remote.image_id]:
                self._images[other.id] = msgspec.structs.replace(
                    other, repo_tags=tuple(t for t in other.repo_tags if t != name)
                )
        tags = dict.fromkeys((*(old.repo_tags if old else ()), *tag))
        digests = dict.fromkeys((*(old.repo_digests if old else ()), f"{reference.repository}@{remote.digest}"))
        stored = Image(
            id=remote.image_id,
            repo_tags=tuple(tags),
            repo_digests=tuple(sorted(digests)),
            size_bytes=remote.size_bytes,
            uid=remote.uid,
            username=remote.username,
            is_pinned=is_pinned or (old is not None and old.is_pinned),
        )
        self._images[remote.image_id] = stored
        return stored

    def find(self, image: str) -> Image | None:
        """The stored image for an id or a reference."""
        if image in self._images:
            return self._images[image]
        bare = f"sha256:{image}"
        if bare in self._images:
            return self._images[bare]
        try:
            reference = parse_normalized(image)
        except ReferenceInvalidError as error:
            raise InvalidArgumentError(f"failed to parse image reference {image!r}: {error}") from error
        if reference.digest:
            name = f"{reference.repository}@{reference.digest}"
            return next((i for i in self._images.values() if name in i.repo_digests), None)
        name = f"{reference.repository}:{reference.tag or 'latest'}"
        return next((i for i in self._images.values() if name in i.repo_tags), None)

    async def list_images(self) -> Sequence[Image]:
        self.record("list_images")
        return list(self._images.values())

    async def image_status(self, image: ImageSpec) -> Image | None:
        self.record("image_status", image.image)
        return self.find(image.image)

    async def pull_image(
        self, image: ImageSpec, auth: AuthConfig | None, sandbox: PodSandboxConfig | None = None
    ) -> str:
        self.auths.append(auth)
        self.record("pull_image", image.image)
        if self.pull_seconds:
            await self._clock.sleep(self.pull_seconds)
        try:
            reference = parse_normalized(image.image)
        except ReferenceInvalidError as error:
            raise InvalidArgumentError(f"failed to parse image reference {image.image!r}: {error}") from error
        separator, version = ("@", str(reference.digest)) if reference.digest else (":", reference.tag or "latest")
        name = f"{reference.repository}{separator}{version}"
        prefix = f'failed to pull and unpack image "{name}": failed to resolve image: '
        remote = self._remote.get(name)
        if remote is None:
            raise NotFoundError(f"{prefix}{name}: not found")
        given = (auth.username, auth.password.reveal()) if auth else None
        if remote.allowed is not None and given not in remote.allowed:
            raise CriError(f"{prefix}unexpected status from HEAD request: 401 Unauthorized")
        return self._store(image.image, remote).id

    async def remove_image(self, image: ImageSpec) -> None:
        self.record("remove_image", image.image)
        stored = self.find(image.image)
        if stored is not None:
            del self._images[stored.id]

    async def image_fs_info(self) -> Sequence[FilesystemUsage]:
        self.record("image_fs_info")
        used = sum(image.size_bytes for image in self._images.values())
        return [FilesystemUsage("/", used, len(self._images), nanoseconds(self._clock.now()))]
