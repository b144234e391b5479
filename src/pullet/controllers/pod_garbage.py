"""Removes pods that nobody will ever finish: bound to a node that is gone, or deleted before they had one.

Source: kubernetes pkg/controller/podgc/gc_controller.go.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import suppress

from pullet.controllers.informers import BY_NODE, Informers
from pullet.controllers.reconciler import Reconciler, Source, same_key
from pullet.kit.clock import Clock
from pullet.kube.meta import is_deleting, name_of, namespace_of, uid_of
from pullet.kube.scheme import NODES, PODS
from pullet.kube.status import ConflictError, NotFoundError
from pullet.kubeclient.client import ApiClient
from pullet.kubeclient.object_cache import Change, Key

log = logging.getLogger(__name__)

QUARANTINE_SECONDS = 40.0  # a node that is gone may be one that is just being made again


class PodGarbageController:
    """Runs until cancelled."""

    def __init__(self, *, client: ApiClient, informers: Informers, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._pods = informers.of(PODS)
        self._nodes = informers.of(NODES)
        self._missing_since: dict[str, float] = {}
        self._reconciler = Reconciler(
            name="pod-garbage",
            clock=clock,
            reconcile=self.reconcile,
            sources=(Source(self._pods, same_key), Source(self._nodes, self._keys_of_node)),
        )

    async def run(self) -> None:
        """Reconcile until cancelled."""
        await self._reconciler.run()

    def _keys_of_node(self, change: Change) -> Iterable[Key]:
        if change.type == "MODIFIED":
            return ()
        return [(namespace_of(pod), name_of(pod)) for pod in self._pods.by_index(BY_NODE, change.key[1])]

    async def reconcile(self, key: Key) -> float | None:
        """Look at one pod."""
        pod = self._pods.get(*key)
        if pod is None:
            return None
        node_name = (pod.get("spec") or {}).get("nodeName") or ""
        if node_name and self._nodes.get("", node_name) is not None:
            self._missing_since.pop(node_name, None)
            return None
        if not node_name:
            if not is_deleting(pod):
                return None
        else:
            now = self._clock.monotonic()
            left = self._missing_since.setdefault(node_name, now) + QUARANTINE_SECONDS - now
            if left > 0:
                return left
            if await self._node_exists(node_name):
                return None
        log.info("removing orphaned pod", extra={"pod": "/".join(key), "node": node_name})
        with suppress(NotFoundError, ConflictError):
            await self._client.delete(PODS, key[0], key[1], grace_period_seconds=0, uid=uid_of(pod))
        return None

    async def _node_exists(self, name: str) -> bool:
        try:
            await self._client.get(NODES, None, name)
        except NotFoundError:
            return False
        return True
