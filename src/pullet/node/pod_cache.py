"""What the runtime has of each pod, as last seen. The runtime is the truth; this is its copy between two looks."""

from __future__ import annotations

from collections.abc import Sequence

from pullet.cri.errors import NotFoundError
from pullet.cri.services import RuntimeService
from pullet.cri.types import (
    ContainerFilter,
    ContainerState,
    ContainerStatus,
    PodSandbox,
    PodSandboxFilter,
    PodSandboxStatus,
)
from pullet.kit.worker_threads import WorkerThreads
from pullet.node.termination_message import TerminationMessages
from pullet.policy.runtime_status import LABEL_POD_UID, ContainerRuntimeStatus, PodRuntimeStatus


class PodCache:
    """Pod status by uid. `refresh` asks the runtime; `get` gives the last answer, asking when there is none."""

    def __init__(self, *, runtime: RuntimeService, threads: WorkerThreads) -> None:
        self._runtime = runtime
        self._messages = TerminationMessages(threads)
        self._known: dict[str, PodRuntimeStatus] = {}
        self._ended: dict[str, ContainerRuntimeStatus] = {}  # by container id: an ended container changes no more

    async def get(self, uid: str) -> PodRuntimeStatus:
        """The pod as last seen."""
        known = self._known.get(uid)
        return known if known is not None else await self.refresh(uid)

    async def refresh(self, uid: str) -> PodRuntimeStatus:
        """The pod as the runtime has it now.

        Raises:
            CriError: the runtime did not answer; the last known status stays.
        """
        selector = {LABEL_POD_UID: uid}
        sandboxes = await self._runtime.list_pod_sandbox(PodSandboxFilter(label_selector=selector))
        containers = await self._runtime.list_containers(ContainerFilter(label_selector=selector))
        status = PodRuntimeStatus.of(
            uid,
            await self._sandboxes(sandboxes),
            tuple([found for each in containers if (found := await self._container(each.id, each.pod_sandbox_id))]),
        )
        if status.sandboxes or status.containers:
            self._known[uid] = status
        else:
            self._known.pop(uid, None)
        return status

    def forget(self, uid: str) -> None:
        """The pod is gone for good."""
        for container in self._known.pop(uid, PodRuntimeStatus(uid=uid)).containers:
            self._ended.pop(container.id, None)

    @property
    def pods(self) -> dict[str, PodRuntimeStatus]:
        """Everything known, by pod uid."""
        return dict(self._known)

    async def _sandboxes(self, listed: Sequence[PodSandbox]) -> tuple[PodSandboxStatus, ...]:
        found = []
        for sandbox in listed:
            try:
                found.append(await self._runtime.pod_sandbox_status(sandbox.id))
            except NotFoundError:
                continue  # removed between the two calls
        return tuple(found)

    async def _container(self, container_id: str, sandbox_id: str) -> ContainerRuntimeStatus | None:
        if container_id in self._ended:
            return self._ended[container_id]
        try:
            status = await self._runtime.container_status(container_id)
        except NotFoundError:
            return None
        container = await self._with_message(status, sandbox_id)
        if status.state is ContainerState.EXITED:
            self._ended[container_id] = container
        return container

    async def _with_message(self, status: ContainerStatus, sandbox_id: str) -> ContainerRuntimeStatus:
        message = await self._messages.read(status) if status.state is ContainerState.EXITED else None
        return ContainerRuntimeStatus.from_cri(status, sandbox_id=sandbox_id, message=message)
