"""What CRI lacks, as optional Protocols. Probed once at start with isinstance; the node works without them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import msgspec

from pullet.base.values import Value
from pullet.cri.image_types import AuthConfig, Image, ImageSpec

if TYPE_CHECKING:
    from pullet.cri.types import PodSandboxConfig


class LayerPhase(StrEnum):
    """Where one layer of a pull is; the words of `docker pull`."""

    WAITING = "Waiting"
    DOWNLOADING = "Downloading"
    COMMITTING = "Committing"
    COMPLETE = "Pull complete"
    EXISTS = "Already exists"


class LayerProgress(Value):
    """One layer. `done_bytes` of `total_bytes` are compressed bytes; total 0 is unknown."""

    digest: str
    phase: LayerPhase
    done_bytes: int
    total_bytes: int


class PullProgressUpdate(Value):
    """A snapshot of one pull under way."""

    image: str
    phase: str  # "resolving", "pulling", "done", "failed"
    layers: tuple[LayerProgress, ...] = ()
    started_at: float = 0.0  # monotonic seconds

    @property
    def done_bytes(self) -> int:
        """Compressed bytes received so far."""
        return sum(layer.done_bytes for layer in self.layers if layer.phase is not LayerPhase.EXISTS)

    @property
    def total_bytes(self) -> int:
        """Compressed bytes this pull must receive."""
        return sum(layer.total_bytes for layer in self.layers if layer.phase is not LayerPhase.EXISTS)


class EndpointAttempt(Value, kw_only=True):
    """One HTTP exchange of a pull: what the journal keeps."""

    method: str
    url: str  # without secrets
    status: int  # 0: no answer
    elapsed_seconds: float
    error: str = ""


class PullReport(Value, kw_only=True):
    """What a finished pull did, for the journal."""

    image_ref: str
    index_digest: str = ""
    manifest_digest: str = ""
    endpoint: str = ""
    downloaded_bytes: int = 0
    reused_bytes: int = 0
    attempts: tuple[EndpointAttempt, ...] = ()
    details: Mapping[str, str] = msgspec.field(default_factory=dict)
    layers: tuple[LayerProgress, ...] = ()  # as they stood at the end, where the pull came as far as to know them


@runtime_checkable
class PullProgress(Protocol):
    """Shows pulls under way."""

    def pull_progress(self) -> Sequence[PullProgressUpdate]:
        """Every pull under way, now; cheap enough to be asked ten times a second."""
        ...


@runtime_checkable
class ReportingPull(Protocol):
    """`pull_image` that also tells what it did; `on_report` is called before return, also when the pull failed."""

    async def pull_image_reporting(
        self,
        image: ImageSpec,
        auth: AuthConfig | None,
        sandbox: PodSandboxConfig | None,
        on_report: Callable[[PullReport], None],
    ) -> str:
        """As `ImageService.pull_image`, same errors."""
        ...


@runtime_checkable
class NameResolution(Protocol):
    """Knows what a name is short for."""

    async def full_name(self, image: ImageSpec) -> str:
        """`image` with registry and tag, by the node's short-name aliases. Raises InvalidArgumentError, CriError."""
        ...


@runtime_checkable
class ReportingRemoval(Protocol):
    """`remove_image` that also tells what it removed."""

    async def remove_image_reporting(self, image: ImageSpec) -> Image | None:
        """The image as it was, also one of which a part is lost; None: there was none. Errors as `remove_image`."""
        ...


@runtime_checkable
class TagSuggestions(Protocol):
    """Knows what a repository has instead of a missing tag."""

    async def nearest_tags(self, image: ImageSpec, auth: AuthConfig | None) -> Sequence[str]:
        """A few tags like that of `image`, nearest first; asks the registry, for three seconds at most, never fails."""
        ...


class StreamIO(Protocol):
    """The far end of an exec or attach: bytes both ways, terminal size changes."""

    async def read_stdin(self) -> bytes:
        """The next bytes for the process; empty at the end of input (or when there is no stdin)."""
        ...

    async def write_stdout(self, data: bytes) -> None:
        """Bytes the process wrote to stdout (or the terminal)."""
        ...

    async def write_stderr(self, data: bytes) -> None:
        """Bytes the process wrote to stderr."""
        ...

    async def next_resize(self) -> tuple[int, int]:
        """The next terminal size as (columns, rows); waits for ever when there is none."""
        ...


@runtime_checkable
class InProcessStreaming(Protocol):
    """exec, attach and port-forward without CRI's streaming URLs, for a runtime in the same process."""

    async def exec_stream(
        self, container_id: str, command: Sequence[str], *, tty: bool, stdin: bool, io: StreamIO
    ) -> int:
        """Run the command with `io` on its standard streams; gives its exit code. Raises NotFoundError and the like."""
        ...

    async def attach_stream(self, container_id: str, *, tty: bool, stdin: bool, io: StreamIO) -> None:
        """Connect `io` to the container's own streams until it ends or the caller is cancelled."""
        ...

    async def port_forward(self, sandbox_id: str, port: int, on_connected: Callable[[int], Awaitable[None]]) -> None:
        """Connect to 127.0.0.1:port inside the sandbox; `on_connected(fd)` owns the connected socket's descriptor."""
        ...


@runtime_checkable
class PinImage(Protocol):
    """Keeps an image from garbage collection."""

    async def set_pinned(self, image: ImageSpec, *, is_pinned: bool) -> None:
        """Raises NotFoundError."""
        ...


class LayerDetails(Value, kw_only=True):
    """One layer of an image. Sizes in bytes; `shared_bytes` is what other images use of it as well (all or nothing)."""

    digest: str
    diff_id: str
    media_type: str
    compressed_bytes: int
    uncompressed_bytes: int
    shared_bytes: int


class ImageDetails(Value, kw_only=True):
    """An image with its parts, for `inspect` and `df`."""

    id: str
    repo_tags: tuple[str, ...]
    repo_digests: tuple[str, ...]
    platform: str
    created: str
    layers: tuple[LayerDetails, ...]
    config: Mapping[str, object]  # the image config document, decoded
    is_pinned: bool = False


class ArchiveFormat(StrEnum):
    """What `export_image` writes; import recognises both."""

    OCI = "oci-archive"
    DOCKER = "docker-archive"


@runtime_checkable
class ImageInspection(Protocol):
    """Shows what is inside an image."""

    async def inspect_image(self, image: ImageSpec) -> ImageDetails:
        """Raises NotFoundError."""
        ...


@runtime_checkable
class ImageTransfer(Protocol):
    """Images to and from tar archives (OCI layout or docker-archive)."""

    async def export_image(self, images: Sequence[ImageSpec], path: str, archive_format: ArchiveFormat) -> None:
        """Write the images to a new file at `path`; nothing is left there on failure. Raises NotFoundError."""
        ...

    async def import_images(self, path: str, name: str = "") -> Sequence[str]:
        """Make every image of the archive (or OCI layout directory) usable under the names in it; gives the names.

        `name` is for an archive of one image, instead of what that calls it.

        Raises InvalidArgumentError when it is not an image archive, or has no name for an image.
        """
        ...
