"""Static pods: manifests in a directory, made into pods of this node through the API.

A kubelet runs such manifests itself and shows them as mirror pods; here the API server lives in the same program, so
they are created there under the name the mirror would have (`NAME-NODE`) and run like any other. A file that
changes its content replaces its pod; a file that goes takes its pod with it.
Source: kubernetes pkg/kubelet/config/file.go, common.go.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

import yaml

from pullet.base.jsonvalue import JsonObject
from pullet.kit.clock import Clock
from pullet.kit.worker_threads import WorkerThreads
from pullet.kube.meta import annotations_of
from pullet.kube.scheme import PODS
from pullet.kube.status import AlreadyExistsError, ApiError, ForbiddenError, InvalidError, NotFoundError
from pullet.kubeclient.client import ApiClient

log = logging.getLogger(__name__)

PERIOD_SECONDS = 20.0
SOURCE = "kubernetes.io/config.source"
HASH = "kubernetes.io/config.hash"


class StaticPods:
    """Keeps the API's pods of source `file` on this node equal to the manifests in `directory`."""

    def __init__(
        self, *, directory: Path, node_name: str, api: ApiClient, threads: WorkerThreads, clock: Clock
    ) -> None:
        self._directory, self._node_name, self._api = directory, node_name, api
        self._threads, self._clock = threads, clock

    async def run(self) -> None:
        """Look every 20 s, until cancelled."""
        while True:
            try:
                await self.reconcile()
            except ApiError as error:
                log.warning("static pods not reconciled", extra={"error": str(error)})
            await self._clock.sleep(PERIOD_SECONDS)

    async def reconcile(self) -> None:
        """One look.

        Raises:
            ApiError: the API server refused or did not answer.
        """
        wanted = {(pod["metadata"]["namespace"], pod["metadata"]["name"]): pod for pod in await self._manifests()}
        listed = await self._api.list(PODS, field_selector=f"spec.nodeName={self._node_name}")
        for pod in listed.items:
            annotations = annotations_of(pod)
            if annotations.get(SOURCE) != "file":
                continue
            key = (pod["metadata"]["namespace"], pod["metadata"]["name"])
            if key in wanted and annotations_of(wanted[key])[HASH] == annotations.get(HASH):
                del wanted[key]
            elif not pod["metadata"].get("deletionTimestamp"):
                await self._delete(key)
        for (namespace, name), pod in wanted.items():
            try:
                await self._api.create(PODS, namespace, pod)
            except AlreadyExistsError:
                log.debug("static pod waits for its predecessor to go", extra={"pod": f"{namespace}/{name}"})
            except (ForbiddenError, InvalidError) as error:
                log.warning("static pod is refused", extra={"pod": f"{namespace}/{name}", "error": str(error)})

    async def _delete(self, key: tuple[str, str]) -> None:
        try:
            await self._api.delete(PODS, *key)
        except NotFoundError:
            log.debug("static pod was gone", extra={"pod": "/".join(key)})

    async def _manifests(self) -> list[JsonObject]:
        return await self._threads.run(read_manifests, self._directory, self._node_name)


def read_manifests(directory: Path, node_name: str) -> list[JsonObject]:
    """The pods of every readable manifest, bound to the node. Unreadable files are logged and skipped. Blocking."""
    pods = []
    for path in sorted(directory.iterdir()) if directory.is_dir() else ():
        if path.name.startswith(".") or path.suffix not in (".yaml", ".yml", ".json"):
            continue
        try:
            text = path.read_bytes()
            pods.append(_bound(yaml.safe_load(text), hashlib.sha256(text).hexdigest()[:32], node_name))
        except (OSError, yaml.YAMLError, TypeError, KeyError, ValueError) as error:
            log.warning("static pod manifest is skipped", extra={"path": str(path), "error": str(error)})
    return pods


def _bound(manifest: Any, digest: str, node_name: str) -> JsonObject:
    if not isinstance(manifest, dict) or manifest.get("kind") != "Pod":
        raise ValueError("the manifest is no Pod")
    meta = dict(manifest["metadata"])
    meta["name"] = f"{meta['name']}-{node_name}"
    meta.setdefault("namespace", "default")
    meta["annotations"] = {**(meta.get("annotations") or {}), SOURCE: "file", HASH: digest}
    return {**manifest, "metadata": meta, "spec": {**manifest["spec"], "nodeName": node_name}}
