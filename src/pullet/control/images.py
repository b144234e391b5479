"""Pulls with progress for people at a terminal, over any CRI image service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import suppress

import msgspec

from pullet.base.errors import UsageError
from pullet.base.values import State
from pullet.control.protocol import ImageRow, LayerLine, ProgressMessage, PulledMessage
from pullet.control.tag_advice import with_nearest_tags
from pullet.cri.errors import CriError
from pullet.cri.extensions import (
    NameResolution,
    PullProgress,
    PullProgressUpdate,
    PullReport,
    ReportingPull,
    ReportingRemoval,
)
from pullet.cri.image_types import AuthConfig, Image, ImageSpec
from pullet.cri.services import ImageService
from pullet.kit.clock import Clock
from pullet.kit.tasks import one_error
from pullet.oci.reference import Reference, apply_default_tag, parse_normalized

PROGRESS_INTERVAL_SECONDS = 0.1


async def _no_credentials(_: str) -> Sequence[AuthConfig]:
    return ()


class _Pull(State):
    """What one pull learned on its way."""

    image_id: str = ""
    report: PullReport | None = None
    errors: list[CriError] = msgspec.field(default_factory=list)


class NodeImages:
    """The images of one node: list, pull with progress, remove.

    `credentials(repository)` gives the node's own credentials to try, in order; none means one anonymous pull.
    """

    def __init__(
        self,
        *,
        images: ImageService,
        clock: Clock,
        credentials: Callable[[str], Awaitable[Sequence[AuthConfig]]] = _no_credentials,
    ) -> None:
        self._images = images
        self._clock = clock
        self._credentials = credentials

    @property
    def service(self) -> ImageService:
        """The image service itself, for what needs no progress."""
        return self._images

    async def rows(self) -> list[ImageRow]:
        """All images, by first tag."""
        rows = [_row(image) for image in await self._images.list_images()]
        return sorted(rows, key=lambda row: (row["repo_tags"] or row["repo_digests"] or [row["id"]])[0])

    async def pull(self, image: str) -> AsyncGenerator[ProgressMessage | PulledMessage, None]:
        """Pull, giving progress about ten times a second and the outcome last.

        Raises:
            ReferenceInvalidError: `image` does not parse.
            CriError: the pull failed; several credentials give the aggregate of their texts.
        """
        reference = parse_normalized(image)
        wanted = apply_default_tag(image)
        started = self._clock.monotonic()
        before = await self._images.image_status(ImageSpec(wanted))
        pull = _Pull()
        name = await self._full_name(wanted)
        names = {wanted, str(reference), name}
        with one_error():
            async with asyncio.TaskGroup() as group:
                task = group.create_task(self._run(wanted, reference, pull))
                while not task.done():
                    await asyncio.wait([task], timeout=PROGRESS_INTERVAL_SECONDS)
                    for message in self.progress():
                        if message["image"] in names:
                            yield message
        if pull.report is not None and pull.report.layers:  # also of a pull too short to be seen on its way
            update = PullProgressUpdate(name, "done", pull.report.layers, started)
            yield progress_message(update)
        after = await self._images.image_status(ImageSpec(wanted))
        yield PulledMessage(
            kind="pulled",
            image=name,
            image_id=pull.image_id,
            digest=_digest_of(after, reference.repository, pull.report),
            is_new=before is None or before.id != pull.image_id,
            downloaded_bytes=pull.report.downloaded_bytes if pull.report else 0,
            elapsed_seconds=self._clock.monotonic() - started,
        )

    async def _full_name(self, image: str) -> str:
        """What the runtime takes `image` for; a wrong name is for the pull itself to refuse."""
        if isinstance(self._images, NameResolution):
            with suppress(CriError):
                return await self._images.full_name(ImageSpec(image))
        return str(parse_normalized(image))

    async def remove(self, image: str) -> ImageRow:
        """Remove an image, whole or not; gives what it was. Raises UsageError, CriError."""
        spec = ImageSpec(image)
        if isinstance(self._images, ReportingRemoval):
            found = await self._images.remove_image_reporting(spec)
        else:
            found = await self._images.image_status(spec)
            await self._images.remove_image(spec)
        if found is None:
            raise UsageError(f"there is no image {image!r} on this node")
        return _row(found)

    async def _run(self, wanted: str, reference: Reference, pull: _Pull) -> None:
        credentials = await self._credentials(reference.repository)
        for auth in credentials or (None,):
            try:
                if isinstance(self._images, ReportingPull):

                    def keep(report: PullReport) -> None:
                        pull.report = report

                    pull.image_id = await self._images.pull_image_reporting(ImageSpec(wanted), auth, None, keep)
                else:
                    pull.image_id = await self._images.pull_image(ImageSpec(wanted), auth)
            except CriError as error:
                pull.errors.append(error)
            else:
                return
        raise await with_nearest_tags(_as_one(pull.errors), self._images, wanted, credentials)

    def progress(self) -> list[ProgressMessage]:
        """Every pull under way on this node, now; nothing where the runtime does not tell."""
        if not isinstance(self._images, PullProgress):
            return []
        return [progress_message(update) for update in self._images.pull_progress()]


def _as_one(errors: Sequence[CriError]) -> CriError:
    """The failures of all credentials, worded as the kubelet words them; cause and next step are the last one's."""
    from pullet.policy.wording import aggregate_errors  # here: a pull that succeeds should not pay for it

    last = errors[-1]
    text = aggregate_errors(str(error) for error in errors)
    return last if text == str(last) else CriError(text, cause=last.cause, next_step=last.next_step)


def progress_message(update: PullProgressUpdate) -> ProgressMessage:
    """The message for one snapshot."""
    layers = [
        LayerLine(
            digest=layer.digest,
            phase=layer.phase.value,
            done_bytes=layer.done_bytes,
            total_bytes=layer.total_bytes,
        )
        for layer in update.layers
    ]
    return ProgressMessage(kind="progress", image=update.image, phase=update.phase, layers=layers)


def _row(image: Image) -> ImageRow:
    return ImageRow(
        id=image.id,
        repo_tags=list(image.repo_tags),
        repo_digests=list(image.repo_digests),
        size_bytes=image.size_bytes,
        is_pinned=image.is_pinned,
    )


def _digest_of(image: Image | None, repository: str, report: PullReport | None) -> str:
    if report is not None and (report.index_digest or report.manifest_digest):
        return report.index_digest or report.manifest_digest
    digests = [name.partition("@")[2] for name in (image.repo_digests if image else ()) if name.startswith(repository)]
    return digests[0] if digests else ""
