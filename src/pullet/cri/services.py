"""The two services a runtime gives a node. Source: cri-api pkg/apis/runtime/v1/api.proto.

Every method may raise `CriError` and its leaves and nothing else of ours. Cancelling a call leaves no half-made
thing that a later list would show as usable.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # building them all costs a command that only pulls 15 ms
    from pullet.cri.types import (
        AuthConfig,
        Container,
        ContainerConfig,
        ContainerEvent,
        ContainerFilter,
        ContainerStatus,
        ExecSyncResponse,
        FilesystemUsage,
        Image,
        ImageSpec,
        PodSandbox,
        PodSandboxConfig,
        PodSandboxFilter,
        PodSandboxStatus,
        RuntimeCondition,
        VersionResponse,
    )


class ImageService(Protocol):
    """Images: list, look up, pull, remove."""

    async def list_images(self) -> Sequence[Image]:
        """All images, one entry per image id."""
        ...

    async def image_status(self, image: ImageSpec) -> Image | None:
        """The image for a reference or id, or None if absent. Never contacts a registry.

        Raises:
            InvalidArgumentError: the reference does not parse.
        """
        ...

    async def pull_image(
        self, image: ImageSpec, auth: AuthConfig | None, sandbox: PodSandboxConfig | None = None
    ) -> str:
        """Make the image usable, contacting the registry even if it is present; give its id.

        Idempotent. Cancelling stops the download unless another caller waits for the same pull.

        Raises:
            NotFoundError, InvalidArgumentError, RegistryUnavailableError, CriError(UNKNOWN): text as in golden 00.
        """
        ...

    async def remove_image(self, image: ImageSpec) -> None:
        """Forget the image id with all its names; absent is success. Layers go when nothing needs them."""
        ...

    async def image_fs_info(self) -> Sequence[FilesystemUsage]:
        """Usage of the file system that holds images."""
        ...


class RuntimeService(Protocol):
    """Sandboxes and containers."""

    async def version(self) -> VersionResponse:
        """Name and version of the runtime."""
        ...

    async def status(self) -> Sequence[RuntimeCondition]:
        """RuntimeReady and NetworkReady."""
        ...

    async def run_pod_sandbox(self, config: PodSandboxConfig) -> str:
        """Make and start a sandbox; gives its id. On failure nothing of it stays."""
        ...

    async def stop_pod_sandbox(self, sandbox_id: str) -> None:
        """Stop its containers at once, tear down the network. Idempotent; absent is success."""
        ...

    async def remove_pod_sandbox(self, sandbox_id: str) -> None:
        """Remove it with its containers, stopping what runs. Idempotent; absent is success."""
        ...

    async def pod_sandbox_status(self, sandbox_id: str) -> PodSandboxStatus:
        """Raises NotFoundError if absent."""
        ...

    async def list_pod_sandbox(self, selector: PodSandboxFilter | None = None) -> Sequence[PodSandbox]:
        """Sandboxes that match, newest first."""
        ...

    async def create_container(self, sandbox_id: str, config: ContainerConfig, sandbox_config: PodSandboxConfig) -> str:
        """Make a container (rootfs mounted, bundle written, process not started); gives its id."""
        ...

    async def start_container(self, container_id: str) -> None:
        """Start it. A command that cannot be run raises CriError and leaves the container EXITED(128)."""
        ...

    async def stop_container(self, container_id: str, timeout_seconds: float) -> None:
        """Stop signal, wait up to the timeout, then SIGKILL. Idempotent; absent is success."""
        ...

    async def remove_container(self, container_id: str) -> None:
        """Remove it, killing it if it runs. Idempotent; absent is success. The log file stays."""
        ...

    async def list_containers(self, selector: ContainerFilter | None = None) -> Sequence[Container]:
        """Containers that match, newest first."""
        ...

    async def container_status(self, container_id: str) -> ContainerStatus:
        """Raises NotFoundError if absent."""
        ...

    async def exec_sync(self, container_id: str, command: Sequence[str], timeout_seconds: float) -> ExecSyncResponse:
        """Run a command in the container; timeout 0 is none. Raises DeadlineExceededError."""
        ...

    async def reopen_container_log(self, container_id: str) -> None:
        """Open the log file anew after it was renamed away."""
        ...

    def container_events(self) -> AsyncIterator[ContainerEvent]:
        """Events from now on, for one consumer; closing the iterator ends the subscription."""
        ...
