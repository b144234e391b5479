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
    PodSandboxState,
    PodSandboxStatus,
)
from pullet.kit.worker_threads import WorkerThreads
from pullet.node.termination_message import TerminationMessages
from pullet.policy.runtime_status import LABEL_POD_UID, ContainerRuntimeStatus, PodRuntimeStatus

_ALIVE = (ContainerState.RUNNING, PodSandboxState.READY)


def _states(status: PodRuntimeStatus) -> dict[str, str]:
    """States by id; a container that was made but not started yet is none of anybody's news."""
    containers = {each.id: str(each.state) for each in status.containers if each.state is not ContainerState.CREATED}
    return {each.id: str(each.state) for each in status.sandboxes} | containers


class PodCache:
    """Pod status by uid. `refresh` asks the runtime; `get` gives the last answer, asking when there is none.

    A sync looks with `look`; `has_news` tells whether something happened to the pod since that the next has to see.
    """

    def __init__(self, *, runtime: RuntimeService, threads: WorkerThreads) -> None:
        self._runtime = runtime
        self._messages = TerminationMessages(threads)
        self._known: dict[str, PodRuntimeStatus] = {}
        self._looked_at: dict[str, dict[str, str]] = {}  # by pod uid: states by id
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

    async def look(self, uid: str) -> PodRuntimeStatus:
        """As `refresh`, by a sync that acts on what it sees."""
        status = await self.refresh(uid)
        self._looked_at[uid] = _states(status)
        return status

    def has_news(self, uid: str) -> bool:
        """Whether a container or sandbox started, ended or vanished since the last `look`, as far as refreshed."""
        before, now = self._looked_at.get(uid, {}), _states(self._known.get(uid, PodRuntimeStatus(uid=uid)))
        has_changed = any(before.get(each) != state for each, state in now.items())
        return has_changed or any(state in _ALIVE for each, state in before.items() if each not in now)

    def forget(self, uid: str) -> None:
        """The pod is gone for good."""
        self._looked_at.pop(uid, None)
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
