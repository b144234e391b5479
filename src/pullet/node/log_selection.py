"""Which container run a log request means, worded as the kubelet words refusals.

Source: kubernetes pkg/kubelet/kubelet_pods.go validateContainerLogStatus.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pullet.kube.reasons import ERR_IMAGE_PULL, IMAGE_PULL_BACK_OFF
from pullet.node.container_logs import LogUnavailableError

_LISTS = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")


def choose_log(pod_name: str, status: Mapping[str, Any], container: str, *, previous: bool) -> str:
    """The id of the run whose log is meant, without the runtime's prefix.

    Raises:
        LogUnavailableError: the text says why there is none.
    """
    where = f'container "{container}" in pod "{pod_name}"'
    every = [each for key in _LISTS for each in status.get(key) or ()]
    found = next((each for each in every if each["name"] == container), None)
    if found is None:
        raise LogUnavailableError(f"{where} is not available")
    state, last = found.get("state") or {}, (found.get("lastState") or {}).get("terminated") or {}
    waiting, terminated = state.get("waiting"), state.get("terminated")
    if previous:
        if not last.get("containerID"):
            raise LogUnavailableError(f"previous terminated {where} not found")
        return _bare(last["containerID"])
    if "running" in state:
        return _bare(found["containerID"])
    if terminated is not None and terminated.get("containerID"):
        return _bare(terminated["containerID"])
    if last.get("containerID"):
        return _bare(last["containerID"])
    if terminated is not None:
        raise LogUnavailableError(f"{where} is terminated")
    if waiting is None:
        raise LogUnavailableError(f"{where} is not available")
    reason = waiting.get("reason", "")
    text = {
        ERR_IMAGE_PULL: "image can't be pulled",
        IMAGE_PULL_BACK_OFF: "trying and failing to pull image",
    }.get(reason, reason)
    raise LogUnavailableError(f"{where} is waiting to start: {text}")


def _bare(container_id: str) -> str:
    return container_id.rpartition("://")[2]
