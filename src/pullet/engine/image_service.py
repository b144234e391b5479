"""ImageService in process: images of one store, pulled by one registry client.

Also gives progress, reports, pins, inspection and archives (cri.extensions), and looks after the disk
(cri.maintenance).
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import Awaitable, Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec

from pullet.cri.errors import CriError, InvalidArgumentError, NotFoundError
from pullet.cri.extensions import ArchiveFormat, ImageDetails, PullProgressUpdate, PullReport
from pullet.cri.image_types import AuthConfig, FilesystemUsage, Image, ImageSpec
from pullet.engine.credential import to_credential
from pullet.engine.errors import invalid_reference, storage_worded
from pullet.engine.inspection import image_details
from pullet.engine.pull import ImagePuller, PullLimits
from pullet.engine.pull_advice import next_step
from pullet.engine.pull_plan import LocalSource
from pullet.engine.pull_progress import PullBoard
from pullet.engine.store_maintenance import EngineStoreMaintenance
from pullet.kit.clock import Clock
from pullet.kit.worker_threads import WorkerThreads
from pullet.oci.digest import ImageID
from pullet.oci.image_config import decode_image_config
from pullet.oci.nearest_tags import nearest_tags
from pullet.oci.platform import Platform, parse_platform
from pullet.oci.reference import Reference, ReferenceInvalidError, parse_normalized
from pullet.registry.auth import Credential
from pullet.registry.client import RegistryClient
from pullet.registry.errors import HostsConfigError, RegistryError
from pullet.registry.transport import Caller
from pullet.store.errors import ContentNotFoundError, DigestMismatchError
from pullet.store.images import ImageRecord
from pullet.store.store import Store

if TYPE_CHECKING:
    from pullet.cri.types import PodSandboxConfig

log = logging.getLogger(__name__)

_ID: Final = re.compile(r"(?:sha256:)?([a-f0-9]{6,64})")
_FULL_ID_LENGTH: Final = 64
NEAREST_TAGS_SECONDS: Final = 3.0

MirrorLogins: TypeAlias = Callable[[str], Awaitable[Sequence[Credential]]]


class EngineImageService(EngineStoreMaintenance):
    """ImageService, PullProgress, ReportingPull and PinImage over a store and a registry client, and store maintenance.

    Pulls run in `group`; `close` ends its threads once that group is done.
    """

    def __init__(
        self,
        *,
        store: Store,
        registry: RegistryClient,
        group: asyncio.TaskGroup,
        clock: Clock,
        platform: Platform | None = None,
        local_source: LocalSource | None = None,
        limits: PullLimits | None = None,
        mirror_logins: MirrorLogins | None = None,
    ) -> None:
        """`mirror_logins` gives the machine's logins for `host[:port]/path`; None: mirrors are asked anonymously."""
        super().__init__(store, WorkerThreads("images", 2))
        self._clock = clock
        self._registry = registry
        self._board = PullBoard(clock)
        self._puller = ImagePuller(
            store=store,
            registry=registry,
            group=group,
            board=self._board,
            platform=platform or parse_platform(os.uname().machine),
            local_source=local_source,
            limits=limits or PullLimits(),
        )
        self._logins_for_mirror = mirror_logins
        self._users: dict[ImageID, tuple[int | None, str]] = {}  # of configs seen; an id never changes its config

    def close(self) -> None:
        """End the threads. Blocking; no call may be under way."""
        self._puller.close()
        self._threads.close()

    async def list_images(self) -> Sequence[Image]:
        def read() -> list[Image]:
            found = (self._image(record) for record in self._store.images.list())
            return [image for image in found if image is not None]

        return await self._threads.run(read)

    async def image_status(self, image: ImageSpec) -> Image | None:
        def look() -> Image | None:
            record = self._find(image.image)
            if record is None or any(self._store.layers.get(diff_id) is None for diff_id in record.diff_ids):
                return None  # an image that lacks a layer is pulled again, and only that layer is fetched
            return self._image(record)

        return await self._threads.run(look)

    async def pull_image(
        self, image: ImageSpec, auth: AuthConfig | None, sandbox: PodSandboxConfig | None = None
    ) -> str:
        return await self.pull_image_reporting(image, auth, sandbox, lambda _report: None)

    async def pull_image_reporting(
        self,
        image: ImageSpec,
        auth: AuthConfig | None,
        sandbox: PodSandboxConfig | None,
        on_report: Callable[[PullReport], None],
    ) -> str:
        reference = await self._threads.run(self._reference, image.image)
        is_alias = reference.repository != parse_normalized(image.image).repository
        if reference.digest is not None:  # a tag beside a digest says nothing
            reference = Reference(reference.domain, reference.path, digest=reference.digest)
        # the credential was chosen for the name as written, which an alias leads elsewhere
        credential = to_credential(auth, reference.domain, must_name_server=is_alias)
        outcome = await self._puller.pull(
            reference, credential, mirror_credentials=await self._mirror_logins(reference)
        )
        on_report(outcome.report)
        if outcome.error is not None:
            raise outcome.error
        return outcome.report.image_ref

    async def nearest_tags(self, image: ImageSpec, auth: AuthConfig | None) -> Sequence[str]:
        try:
            async with asyncio.timeout(NEAREST_TAGS_SECONDS):
                reference = await self._threads.run(self._reference, image.image)
                logins = await self._mirror_logins(reference)
                return await self._threads.run_stoppable(
                    lambda stop: self._nearest_tags(
                        image.image, reference, auth, Caller(mirror_credentials=logins, stop=stop)
                    )
                )
        except (TimeoutError, CriError, RegistryError):
            return ()

    async def _mirror_logins(self, reference: Reference) -> dict[str, Sequence[Credential]]:
        """The logins for the mirrors of `reference`, by host; a hosts.toml that is wrong is the pull's to tell."""
        if self._logins_for_mirror is None:
            return {}
        try:
            hosts = await self._threads.run(self._registry.mirrors, reference)
        except HostsConfigError:
            return {}
        return {host: await self._logins_for_mirror(f"{host}/{reference.path}") for host in hosts}

    def _nearest_tags(self, image: str, reference: Reference, auth: AuthConfig | None, caller: Caller) -> Sequence[str]:
        if reference.tag is None or reference.digest is not None:
            return ()
        is_alias = reference.repository != parse_normalized(image).repository
        credential = to_credential(auth, reference.domain, must_name_server=is_alias)
        tags = self._registry.list_tags(reference, msgspec.structs.replace(caller, credential=credential))
        return nearest_tags(reference.tag, tags) if reference.tag not in tags else ()

    async def remove_image(self, image: ImageSpec) -> None:
        await self.remove_image_reporting(image)

    async def remove_image_reporting(self, image: ImageSpec) -> Image | None:
        """Remove it; gives what it was, also where a layer or the config is lost."""

        def remove() -> Image | None:
            record = self._find(image.image)
            if record is None:
                return None
            known = self._image(record) or _nameless_user(record)
            with storage_worded(f"failed to remove image {image.image}"):
                self._store.images.remove(record.id)
                self._store.gc()
            return known

        return await self._threads.run(remove)

    async def image_fs_info(self) -> Sequence[FilesystemUsage]:
        return [await self._threads.run(self._usage)]

    def pull_progress(self) -> Sequence[PullProgressUpdate]:
        """Every pull under way."""
        return self._board.snapshot()

    async def set_pinned(self, image: ImageSpec, *, is_pinned: bool) -> None:
        def pin() -> None:
            record = self._required(image.image)
            self._store.images.set_pinned(record.id, is_pinned=is_pinned)

        await self._threads.run(pin)

    async def inspect_image(self, image: ImageSpec) -> ImageDetails:
        """The image with its layers. Raises NotFoundError."""
        return await self._threads.run(lambda: image_details(self._store, self._required(image.image)))

    async def export_image(self, images: Sequence[ImageSpec], path: str, archive_format: ArchiveFormat) -> None:
        """Write the images to a new archive at `path`. Raises NotFoundError."""
        from pullet.engine.archive_export import write_archive  # here: a pull should not pay for it

        await self._threads.run_stoppable(
            lambda stop: write_archive(
                Path(path),
                [self._named(image.image) for image in images],
                self._store,
                archive_format,
                stop,
            )
        )

    async def import_images(self, path: str, name: str = "") -> Sequence[str]:
        """Make the images of an archive usable; gives their names. Raises InvalidArgumentError."""
        from pullet.engine.archive_import import ArchiveSource, load_archive  # here: a pull should not pay for it

        owner = self._store.leases.make_held_owner()
        present = await self._threads.run(lambda: {digest for digest, _ in self._store.content.list()})
        try:
            images = await self._threads.run_stoppable(
                lambda stop: load_archive(Path(path), self._store, owner, stop, name)
            )
            source = ArchiveSource(images)
            for image in images:
                outcome = await self._puller.pull(image.reference, None, source=source)
                if outcome.error is not None:
                    raise outcome.error
        finally:
            await self._threads.run(self._store.leases.release, owner)
        names = [str(image.reference) for image in images]
        await self._threads.run(self._drop_blobs, names, present)
        return names

    def _drop_blobs(self, names: Sequence[str], present: Collection[str]) -> None:
        """Blobs of layers that came with an archive: as after a pull, they are not kept."""
        blobs = {layer.digest for name in names for layer in self._required(name).layers}
        self._store.drop_layer_blobs(blobs - set(present))

    def _reference(self, image: str) -> Reference:
        try:
            return self._registry.reference(image).with_default_tag()
        except ReferenceInvalidError as error:
            raise invalid_reference(image, error) from error
        except HostsConfigError as error:
            step = next_step(error, is_resolving=True)
            raise CriError(f"failed to resolve image {image!r}: {error}", cause=str(error), next_step=step) from error

    async def full_name(self, image: ImageSpec) -> str:
        """With registry and tag, aliases applied."""
        return str(await self._threads.run(self._reference, image.image))

    def _named(self, image: str) -> tuple[str, ImageRecord]:
        """The image and what an archive calls it: nothing where it was asked for by its id."""
        record = self._required(image)
        try:
            name = str(self._reference(image))
        except CriError:
            name = ""
        return (name if name in dict(record.names) else ""), record

    def _required(self, image: str) -> ImageRecord:
        record = self._find(image)
        if record is None:
            raise NotFoundError(f"image {image!r}: not found")
        return record

    def _find(self, image: str) -> ImageRecord | None:
        """By name, else by id or the beginning of one. Source: containerd internal/cri/server/images, LocalResolve."""
        identifier = _ID.fullmatch(image)
        try:
            reference = self._registry.reference(image).with_default_tag()
        except ReferenceInvalidError as error:
            if identifier is None:
                raise InvalidArgumentError(str(invalid_reference(image, error))) from error
        except HostsConfigError as error:
            raise CriError(f"failed to look up image {image!r}: {error}", cause=str(error)) from error
        else:
            separator, version = ("@", reference.digest) if reference.digest else (":", reference.tag)
            found = self._store.images.find(f"{reference.repository}{separator}{version}")
            if found is not None or identifier is None:
                return found
        full = f"sha256:{identifier[1]}"
        if len(identifier[1]) == _FULL_ID_LENGTH:
            return self._store.images.find(full)
        matches = [record for record in self._store.images.list() if record.id.startswith(full)]
        return matches[0] if len(matches) == 1 else None

    def _image(self, record: ImageRecord) -> Image | None:
        """None if its config is lost or damaged: no container can be made of it, and a pull brings it back."""
        try:
            uid, username = self._user(record.id)
        except (ContentNotFoundError, DigestMismatchError) as error:
            log.warning("image without its config is passed over", extra={"image": record.id, "error": str(error)})
            return None
        return msgspec.structs.replace(_nameless_user(record), uid=uid, username=username)

    def _user(self, image_id: ImageID) -> tuple[int | None, str]:
        found = self._users.get(image_id)
        if found is None:
            config = decode_image_config(self._store.content.read(image_id)).value
            name = config.defaults.user.partition(":")[0]
            found = (int(name), "") if name.isdecimal() else (None, name)
            self._users[image_id] = found
        return found

    def _usage(self) -> FilesystemUsage:
        usage = self._store.usage()
        return FilesystemUsage(
            mountpoint=str(self._store.root),
            used_bytes=usage.layer_bytes + usage.blob_bytes,
            inodes_used=usage.layer_count + usage.blob_count,
            timestamp=int(self._clock.now().timestamp() * 1_000_000_000),
        )


def _nameless_user(record: ImageRecord) -> Image:
    """What is known of an image without its config."""
    return Image(
        id=record.id,
        repo_tags=tuple(sorted(record.tags)),
        repo_digests=tuple(sorted(record.digests)),
        size_bytes=record.size_bytes,
        is_pinned=record.is_pinned,
    )
