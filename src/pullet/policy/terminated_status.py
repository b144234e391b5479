"""The last status of a pod of which nothing runs any more: no container waits, no phase is open.

Source: kubernetes pkg/kubelet/status/status_manager.go TerminatePod.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pullet.base.jsonvalue import JsonObject
from pullet.kube import reasons
from pullet.kube.pod import PodView
from pullet.policy.pod_phase import PodPhase

LOST = {
    "exitCode": 137,
    "reason": reasons.CONTAINER_STATUS_UNKNOWN,
    "message": "The container could not be located when the pod was terminated",
    "startedAt": None,
    "finishedAt": None,
}
_LISTS = ("initContainerStatuses", "containerStatuses")


def terminated_status(pod: PodView, status: JsonObject) -> JsonObject:
    """The status with every container ended that may have begun, and a phase that is final.

    A container that nobody saw end counts as failed, one that never had its turn (behind an init container that did not
    succeed) stays as it is. `status` itself is left as it was.
    """
    inits, regulars = (list(status.get(key) or ()) for key in _LISTS)
    begun = _begun_inits(inits)
    ended = {
        "initContainerStatuses": [_ended(each) for each in inits[:begun]] + inits[begun:],
        "containerStatuses": [_ended(each) for each in regulars]
        if _has_initialized(pod, inits, regulars)
        else regulars,
    }
    phase = status.get("phase")
    is_final = phase in (PodPhase.SUCCEEDED, PodPhase.FAILED)
    found = {key: value for key, value in ended.items() if value}
    return {**status, **found, "phase": phase if is_final else str(PodPhase.FAILED)}


def _ended(container: JsonObject) -> JsonObject:
    if _state(container, "state", "terminated") is not None:
        return container
    return {**container, "state": {"terminated": dict(LOST)}}


def _begun_inits(inits: Sequence[Mapping[str, Any]]) -> int:
    """How many init containers, from the first on, had their turn; the first always counts."""
    begun = [number for number, each in enumerate(inits, 1) if _has_begun(each)]
    return begun[-1] if begun else 1


def _has_initialized(pod: PodView, inits: Sequence[Mapping[str, Any]], regulars: Sequence[Mapping[str, Any]]) -> bool:
    if not pod.spec.init_containers or any(_has_begun(each) for each in regulars):
        return True
    ends = [_state(each, key, "terminated") for each in inits[-1:] for key in ("state", "lastState")]
    return any(end is not None and end.get("exitCode") == 0 for end in ends)


def _has_begun(container: Mapping[str, Any]) -> bool:
    is_waiting = _state(container, "state", "waiting") is not None
    return not is_waiting or _state(container, "lastState", "terminated") is not None


def _state(container: Mapping[str, Any], key: str, kind: str) -> Mapping[str, Any] | None:
    found: Mapping[str, Any] | None = (container.get(key) or {}).get(kind)
    return found
