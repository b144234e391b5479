"""What the runtime says about a pod, in the shape that decisions need: newest first, with restart counts and hashes.

The node writes names, restart count and hash into the labels and annotations of what it creates and reads them
back here, so a restarted node knows its containers again. Source: kubernetes pkg/kubelet/kuberuntime/labels.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from pullet.base.values import Value
from pullet.cri.types import ContainerState, ContainerStatus, PodSandboxState, PodSandboxStatus

LABEL_POD_NAME = "io.kubernetes.pod.name"
LABEL_POD_NAMESPACE = "io.kubernetes.pod.namespace"
LABEL_POD_UID = "io.kubernetes.pod.uid"
LABEL_CONTAINER_NAME = "io.kubernetes.container.name"
ANNOTATION_CONTAINER_HASH = "io.kubernetes.container.hash"
ANNOTATION_RESTART_COUNT = "io.kubernetes.container.restartCount"
ANNOTATION_TERMINATION_MESSAGE_PATH = "io.kubernetes.container.terminationMessagePath"
ANNOTATION_TERMINATION_MESSAGE_POLICY = "io.kubernetes.container.terminationMessagePolicy"
ANNOTATION_TERMINATION_GRACE_PERIOD = "io.kubernetes.pod.terminationGracePeriod"
ANNOTATION_PRE_STOP = "io.kubernetes.container.preStopHandler"


class ContainerRuntimeStatus(Value, kw_only=True):
    """One container the runtime knows, alive or dead. Times are nanoseconds since the epoch, 0 = never."""

    name: str
    id: str
    state: ContainerState
    sandbox_id: str = ""
    hash: str = ""
    restart_count: int = 0
    created_at: int = 0
    started_at: int = 0
    finished_at: int = 0
    exit_code: int = 0
    image: str = ""
    image_ref: str = ""
    image_id: str = ""
    reason: str = ""
    message: str = ""
    user_uid: int = 0
    user_gid: int = 0
    user_supplemental_groups: tuple[int, ...] = ()

    @classmethod
    def from_cri(cls, status: ContainerStatus, *, sandbox_id: str = "", message: str | None = None) -> Self:
        """The CRI status; `message` replaces the runtime's (the termination message is the node's to read)."""
        return cls(
            name=status.labels.get(LABEL_CONTAINER_NAME, status.metadata.name),
            id=status.id,
            state=status.state,
            sandbox_id=sandbox_id,
            hash=status.annotations.get(ANNOTATION_CONTAINER_HASH, ""),
            restart_count=_restart_count(status.annotations, status.metadata.attempt),
            created_at=status.created_at,
            started_at=status.started_at,
            finished_at=status.finished_at,
            exit_code=status.exit_code,
            image=status.image.image,
            image_ref=status.image_ref,
            image_id=status.image_id,
            reason=status.reason,
            message=status.message if message is None else message,
            user_uid=status.user_uid,
            user_gid=status.user_gid,
            user_supplemental_groups=status.user_supplemental_groups,
        )

    @property
    def has_failed(self) -> bool:
        """Whether it ended with an exit code other than 0, or nobody knows how it ended."""
        exited_badly = self.state is ContainerState.EXITED and self.exit_code != 0
        return exited_badly or self.state is ContainerState.UNKNOWN


def _restart_count(annotations: Mapping[str, str], attempt: int) -> int:
    written = annotations.get(ANNOTATION_RESTART_COUNT, "")
    return int(written) if written.isdecimal() else attempt


class PodRuntimeStatus(Value, kw_only=True):
    """Everything the runtime has of one pod. Sandboxes and containers are newest first."""

    uid: str
    sandboxes: tuple[PodSandboxStatus, ...] = ()
    containers: tuple[ContainerRuntimeStatus, ...] = ()

    @classmethod
    def of(
        cls,
        uid: str,
        sandboxes: tuple[PodSandboxStatus, ...] = (),
        containers: tuple[ContainerRuntimeStatus, ...] = (),
    ) -> Self:
        """The status from lists in any order."""
        return cls(
            uid=uid,
            sandboxes=tuple(sorted(sandboxes, key=lambda sandbox: sandbox.created_at, reverse=True)),
            containers=tuple(sorted(containers, key=lambda each: (each.created_at, each.restart_count), reverse=True)),
        )

    def latest(self, name: str) -> ContainerRuntimeStatus | None:
        """The newest container of that name."""
        return next((container for container in self.containers if container.name == name), None)

    def previous(self, name: str) -> ContainerRuntimeStatus | None:
        """The one before the newest."""
        named = (container for container in self.containers if container.name == name)
        next(named, None)
        return next(named, None)

    def latest_exited(self, name: str) -> ContainerRuntimeStatus | None:
        """The newest container of that name that has ended."""
        return next(
            (each for each in self.containers if each.name == name and each.state is ContainerState.EXITED), None
        )

    @property
    def ready_sandboxes(self) -> tuple[PodSandboxStatus, ...]:
        """Sandboxes that are up."""
        return tuple(sandbox for sandbox in self.sandboxes if sandbox.state is PodSandboxState.READY)

    @property
    def ips(self) -> tuple[str, ...]:
        """Addresses of the newest sandbox, primary first; none for host network."""
        if not self.sandboxes or self.sandboxes[0].state is not PodSandboxState.READY or not self.sandboxes[0].ip:
            return ()
        return (self.sandboxes[0].ip, *self.sandboxes[0].additional_ips)
