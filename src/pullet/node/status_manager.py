"""The statuses of each pod, written to the API in order, each change once.

    set_pod_status ──► short queue per pod ──► PATCH pods/status (skipped when nothing changed)
    finish_pod     ──► … and, once the last status is written and deletion was asked for: DELETE with grace 0

Syncs may follow each other faster than the API takes writes. A status is overtaken by the next only if both look the
same in `kubectl get`, so that who watches sees every state, as of a kubelet whose syncs are a second apart. The queue
stays short all the same: what the API refused is overtaken by the newest status, and a full queue lets the newest take
its predecessor's place.

Nothing else of the node writes pods. Source: kubernetes pkg/kubelet/status/status_manager.go.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TypeAlias

import msgspec

from pullet.base.jsonvalue import JsonObject
from pullet.base.values import State
from pullet.kit.clock import Clock
from pullet.kube.pod import PodView
from pullet.kube.scheme import PODS
from pullet.kube.status import ApiError, ConflictError, NotFoundError
from pullet.kubeclient.client import ApiClient
from pullet.node.alarm import Alarm

log = logging.getLogger(__name__)

RETRY_SECONDS = 10.0
MAX_QUEUED = 8
Row: TypeAlias = tuple[object, ...]


def row_of(status: JsonObject) -> Row:
    """What the READY, STATUS and RESTARTS columns of `kubectl get pods` are made of."""
    containers = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    return (
        status.get("phase"),
        status.get("reason"),
        *(
            (each.get("name"), each.get("ready"), each.get("restartCount"), kind, facts.get("reason"))
            for each in containers
            for kind, facts in (each.get("state") or {}).items()
        ),
    )


class _Entry(State):
    pod: PodView
    status: JsonObject
    written: JsonObject | None = None
    queue: deque[JsonObject] = msgspec.field(default_factory=deque)  # to be written, oldest first
    is_finished: bool = False
    is_deleted: bool = False

    @property
    def may_delete(self) -> bool:
        return self.is_finished and self.pod.is_terminating and not self.is_deleted and not self.queue

    def put(self, status: JsonObject) -> None:
        """The newest status; it takes the place of the one before where nobody would see the difference."""
        self.status = status
        if self.queue and (len(self.queue) == MAX_QUEUED or row_of(self.queue[-1]) == row_of(status)):
            self.queue[-1] = status
        elif status != (self.queue[-1] if self.queue else self.written):
            self.queue.append(status)

    def put_back(self, status: JsonObject) -> None:
        """It could not be written: only the newest is tried again."""
        newest = self.queue[-1] if self.queue else status
        self.queue.clear()
        self.queue.append(newest)


class StatusManager:
    """Statuses by pod uid. `run()` writes them."""

    def __init__(self, *, api: ApiClient, clock: Clock) -> None:
        self._api = api
        self._alarm = Alarm(clock)
        self._entries: dict[str, _Entry] = {}

    def get(self, uid: str) -> JsonObject:
        """The status set last, empty when none was."""
        entry = self._entries.get(uid)
        return entry.status if entry is not None else {}

    def set_pod_status(self, pod: PodView, status: JsonObject) -> None:
        """The pod's status is this now."""
        entry = self._entries.get(pod.uid)
        if entry is None:
            entry = self._entries[pod.uid] = _Entry(pod, status, written=pod.status or None)
        entry.pod = pod
        entry.put(status)
        self._wake(entry)

    def observe_pod(self, pod: PodView) -> None:
        """The API has this version of the pod: deletion may have been asked for meanwhile."""
        entry = self._entries.get(pod.uid)
        if entry is not None:
            entry.pod = pod
            self._wake(entry)

    def finish_pod(self, pod: PodView) -> None:
        """Nothing of the pod runs or is mounted any more: its object may go when deletion was asked for."""
        entry = self._entries.get(pod.uid)
        if entry is None:
            entry = self._entries[pod.uid] = _Entry(pod, pod.status, written=pod.status)
        entry.pod, entry.is_finished = pod, True
        self._wake(entry)

    def forget_pod(self, uid: str) -> None:
        """The object is gone."""
        self._entries.pop(uid, None)

    async def run(self) -> None:
        """Write what is due, until cancelled; what could not be written is tried again after a while."""
        while True:
            is_behind = await self.flush()
            await self._alarm.wait(RETRY_SECONDS if is_behind else None)

    async def flush(self) -> bool:
        """Write everything that is due now; True when something is still left."""
        is_behind = False
        for uid in list(self._entries):
            entry = self._entries.get(uid)
            if entry is None:
                continue
            try:
                while entry.queue:
                    await self._write(entry, entry.queue.popleft())
                if entry.may_delete:
                    await self._delete(entry)
            except ApiError as error:
                log.warning("pod status not written", extra={"pod": uid, "error": str(error)})
                is_behind = True
        return is_behind

    def _wake(self, entry: _Entry) -> None:
        if entry.queue or entry.may_delete:
            self._alarm.ring()

    async def _write(self, entry: _Entry, status: JsonObject) -> None:
        if status == entry.written:
            return  # it had changed for a moment that nobody would have seen
        pod = entry.pod
        gone = {key: None for key in (entry.written or {}) if key not in status}
        patch = {"metadata": {"uid": pod.uid}, "status": {**status, **gone}}
        try:
            await self._api.patch(PODS, pod.namespace, pod.name, patch, kind="merge", subresource="status")
        except (NotFoundError, ConflictError) as error:
            # gone, or another pod by that name: the watch will tell
            log.debug("pod status has no object", extra={"pod": pod.description, "error": str(error)})
        except BaseException:
            entry.put_back(status)
            raise
        entry.written = status

    async def _delete(self, entry: _Entry) -> None:
        pod = entry.pod
        try:
            await self._api.delete(PODS, pod.namespace, pod.name, grace_period_seconds=0, uid=pod.uid)
        except (NotFoundError, ConflictError) as error:
            log.debug("pod was gone", extra={"pod": pod.description, "error": str(error)})
        entry.is_deleted = True
