"""Pod lifecycle event generator: tells workers when something happened to their containers.

Fed by the runtime's event stream; behind it a relist of everything, every 10 s while the stream lives and every 1 s
while it does not, finds what the stream missed. Several events of what the last sync already looked at wake nobody: so
a pod's start costs one sync more, as in a kubelet, whose relist sees sandbox and container at once.
Source: kubernetes pkg/kubelet/pleg/{generic,evented}.go.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from pullet.cri.errors import CriError
from pullet.cri.services import RuntimeService
from pullet.cri.types import ContainerEvent, ContainerEventType
from pullet.kit.clock import Clock
from pullet.node.pod_cache import PodCache
from pullet.policy.runtime_status import LABEL_POD_UID

log = logging.getLogger(__name__)

RELIST_SECONDS = 10.0
RELIST_WITHOUT_EVENTS_SECONDS = 1.0
_WORTH_A_SYNC = (ContainerEventType.STARTED, ContainerEventType.STOPPED)


class Pleg:
    """Refreshes the pod cache on events and calls `wake(pod uid)` when a sync is worth it.

    `notice(pod uid)` is called for whatever started or ended, whether a sync has seen it or not.
    """

    def __init__(
        self,
        *,
        runtime: RuntimeService,
        cache: PodCache,
        clock: Clock,
        notice: Callable[[str], None],
        wake: Callable[[str], None],
    ) -> None:
        self._runtime, self._cache, self._clock = runtime, cache, clock
        self._notice, self._wake = notice, wake
        self._seen: dict[str, dict[str, str]] = {}  # pod uid → container or sandbox id → state
        self._is_streaming = False

    async def run_events(self) -> None:
        """Follow the runtime's events until cancelled; returns when the runtime ends the stream."""
        self._is_streaming = True
        try:
            async for event in self._runtime.container_events():
                await self._observe(event)
        finally:
            self._is_streaming = False

    async def run_relist(self) -> None:
        """Look at everything again and again until cancelled."""
        while True:
            await self._clock.sleep(RELIST_SECONDS if self._is_streaming else RELIST_WITHOUT_EVENTS_SECONDS)
            try:
                await self.relist()
            except CriError as error:
                log.warning("relist failed", extra={"error": str(error)})

    async def relist(self) -> None:
        """One look at every sandbox and container; pods that changed are refreshed and their workers woken."""
        now: dict[str, dict[str, str]] = {}
        for sandbox in await self._runtime.list_pod_sandbox():
            now.setdefault(sandbox.labels.get(LABEL_POD_UID, ""), {})[sandbox.id] = sandbox.state
        for container in await self._runtime.list_containers():
            now.setdefault(container.labels.get(LABEL_POD_UID, ""), {})[container.id] = container.state
        now.pop("", None)
        for uid in now.keys() | self._seen.keys():
            if now.get(uid) != self._seen.get(uid):
                await self._cache.refresh(uid)
                self._tell(uid)
        self._seen = now

    async def _observe(self, event: ContainerEvent) -> None:
        if not event.pod_uid:
            return
        try:
            status = await self._cache.refresh(event.pod_uid)
        except CriError as error:
            log.warning("pod status refresh failed", extra={"pod_uid": event.pod_uid, "error": str(error)})
            self._wake(event.pod_uid)
            return
        self._seen[event.pod_uid] = {each.id: each.state for each in status.sandboxes} | {
            each.id: each.state for each in status.containers
        }
        if event.type in _WORTH_A_SYNC:
            self._tell(event.pod_uid)

    def _tell(self, uid: str) -> None:
        self._notice(uid)
        if self._cache.has_news(uid):
            self._wake(uid)
