"""From what the runtime says to the container statuses of the API: state, lastState, waiting reasons.

    runtime status (newest) ──► state          absent ──► waiting ContainerCreating / PodInitializing
    runtime status (older)  ──► lastState      should run, start failed ──► waiting with the remembered reason

Statuses are raw JSON, ready for a PATCH. Source: kubernetes pkg/kubelet/kubelet_pods.go convertToAPIContainerStatuses,
reason_cache.go, prober/prober_manager.go UpdatePodStatus; kubelet-images spec 14.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pullet.base.jsonvalue import JsonObject
from pullet.base.values import Value
from pullet.cri.types import ContainerState
from pullet.kube import reasons
from pullet.kube.container import ContainerKind, ContainerView
from pullet.kube.meta import format_time
from pullet.kube.pod import PodView
from pullet.policy.container_actions import should_be_running
from pullet.policy.probe_state import ProbeResult, ProbeVerdicts
from pullet.policy.runtime_status import ContainerRuntimeStatus, PodRuntimeStatus

_LOST_EXIT_CODE = 137
_LOST_MESSAGE = "The container could not be located when the pod was deleted.  The container used to be Running"
_REASON_CACHE_SIZE = 1000


class StartFailure(Value):
    """Why the last start of a container failed."""

    reason: str
    message: str


class ReasonCache:
    """The outcome of the last start of each container, for the status written by the next sync.

    Containers not attempted in a sync keep their entry. Bounded: the least recently used goes.
    """

    def __init__(self, size: int = _REASON_CACHE_SIZE) -> None:
        self._size = size
        self._failures: OrderedDict[tuple[str, str], StartFailure] = OrderedDict()

    def record_failure(self, pod_uid: str, container: str, *, reason: str, message: str) -> None:
        """The container could not be started."""
        self._failures[pod_uid, container] = StartFailure(reason, message)
        self._failures.move_to_end((pod_uid, container))
        while len(self._failures) > self._size:
            self._failures.popitem(last=False)

    def record_success(self, pod_uid: str, container: str) -> None:
        """The container was started."""
        self._failures.pop((pod_uid, container), None)

    def get(self, pod_uid: str, container: str) -> StartFailure | None:
        """The failure that stands for the container, if any."""
        failure = self._failures.get((pod_uid, container))
        if failure is not None:
            self._failures.move_to_end((pod_uid, container))
        return failure

    def forget_pod(self, pod_uid: str) -> None:
        """The pod is gone."""
        for key in [key for key in self._failures if key[0] == pod_uid]:
            del self._failures[key]


def container_statuses(
    pod: PodView,
    status: PodRuntimeStatus,
    kind: ContainerKind,
    *,
    old: Sequence[Mapping[str, Any]] = (),
    failures: ReasonCache,
    probes: ProbeVerdicts,
    runtime_name: str,
) -> list[JsonObject]:
    """The statuses of one of the pod's three lists; `old` are those written last.

    Regular and ephemeral containers are sorted by name, init containers stand in spec order.
    """
    containers: Sequence[ContainerView] = {
        ContainerKind.REGULAR: pod.spec.containers,
        ContainerKind.INIT: pod.spec.init_containers,
        ContainerKind.EPHEMERAL: pod.spec.ephemeral_containers,
    }[kind]
    before = {str(each["name"]): each for each in old}
    result = [
        _container_status(
            pod,
            status,
            container,
            before.get(container.name),
            failure=failures.get(pod.uid, container.name),
            probes=probes,
            runtime_name=runtime_name,
        )
        for container in containers
    ]
    return result if kind is ContainerKind.INIT else sorted(result, key=lambda each: str(each["name"]))


def _container_status(
    pod: PodView,
    status: PodRuntimeStatus,
    container: ContainerView,
    old: Mapping[str, Any] | None,
    *,
    failure: StartFailure | None,
    probes: ProbeVerdicts,
    runtime_name: str,
) -> JsonObject:
    latest = status.latest(container.name)
    if latest is None:
        result = _status_without_container(pod, container, old)
    else:
        result = _status_of(container, latest, old, runtime_name)
        previous = status.previous(container.name)
        if previous is not None:
            result["lastState"] = _state_of(previous, runtime_name)
    if failure is not None and _shows_failure(pod, status, container):
        if "terminated" in result["state"]:
            result["lastState"] = result["state"]
        result["state"] = {"waiting": {"reason": failure.reason, "message": failure.message}}
    _judge_probes(container, result, latest, probes, old)
    return _in_api_order(result)


def _shows_failure(pod: PodView, status: PodRuntimeStatus, container: ContainerView) -> bool:
    latest = status.latest(container.name)
    is_init = container.kind is ContainerKind.INIT
    if is_init and latest is not None and latest.state is ContainerState.EXITED and latest.exit_code == 0:
        return container.is_sidecar and should_be_running(container, pod, status)
    return should_be_running(container, pod, status)


def _status_without_container(pod: PodView, container: ContainerView, old: Mapping[str, Any] | None) -> JsonObject:
    if old is not None and (old.get("state") or {}).get("terminated") is not None:
        return dict(old)  # the record was removed; how it ended is still true
    result: JsonObject = {
        "name": container.name,
        "state": {"waiting": {"reason": _initial_reason(pod)}},
        "lastState": dict((old or {}).get("lastState") or {}),
        "restartCount": int((old or {}).get("restartCount") or 0),
        "image": container.image,
        "imageID": "",
        "volumeMounts": _volume_mounts(container),
    }
    was_running = ((old or {}).get("state") or {}).get("running") is not None
    if was_running and "terminated" not in result["lastState"]:
        lost = {"reason": reasons.CONTAINER_STATUS_UNKNOWN, "message": _LOST_MESSAGE, "exitCode": _LOST_EXIT_CODE}
        result["lastState"] = {"terminated": {**lost, "startedAt": None, "finishedAt": None}}
        if not pod.is_terminating:
            result["restartCount"] += 1
    return result


def _initial_reason(pod: PodView) -> str:
    return reasons.POD_INITIALIZING if pod.spec.init_containers else reasons.CONTAINER_CREATING


def _status_of(
    container: ContainerView, latest: ContainerRuntimeStatus, old: Mapping[str, Any] | None, runtime_name: str
) -> JsonObject:
    return {
        "name": container.name,
        "state": _told_end(latest, old, runtime_name) or _state_of(latest, runtime_name),
        "lastState": dict((old or {}).get("lastState") or {}) if latest.restart_count else {},
        "restartCount": latest.restart_count,
        "image": latest.image,
        "imageID": latest.image_ref,
        "containerID": f"{runtime_name}://{latest.id}",
        **({"allocatedResources": dict(container.resources.requests)} if container.resources.requests else {}),
        "resources": _resources(container),
        "volumeMounts": _volume_mounts(container),
        "user": {
            "linux": {
                "uid": latest.user_uid,
                "gid": latest.user_gid,
                "supplementalGroups": list(latest.user_supplemental_groups),
            }
        },
    }


def _told_end(latest: ContainerRuntimeStatus, old: Mapping[str, Any] | None, runtime_name: str) -> JsonObject | None:
    """The end of this very container as it was told before: it changes no more, though its message file may be gone."""
    ended = ((old or {}).get("state") or {}).get("terminated") or {}
    is_same = latest.state is ContainerState.EXITED and ended.get("containerID") == f"{runtime_name}://{latest.id}"
    return {"terminated": dict(ended)} if is_same else None


def _state_of(status: ContainerRuntimeStatus, runtime_name: str) -> JsonObject:
    match status.state:
        case ContainerState.RUNNING:
            return {"running": {"startedAt": _time(status.started_at)}}
        case ContainerState.CREATED:
            return {"waiting": {}}
        case ContainerState.EXITED | ContainerState.UNKNOWN:
            is_lost = status.state is ContainerState.UNKNOWN
            ended: JsonObject = {
                "exitCode": _LOST_EXIT_CODE if is_lost else status.exit_code,
                "reason": reasons.CONTAINER_STATUS_UNKNOWN if is_lost else status.reason,
                "message": status.message,
                "startedAt": _time(status.started_at),
                "finishedAt": _time(status.finished_at),
                "containerID": f"{runtime_name}://{status.id}",
            }
            return {"terminated": {key: value for key, value in ended.items() if value != ""}}


def _judge_probes(
    container: ContainerView,
    result: JsonObject,
    latest: ContainerRuntimeStatus | None,
    probes: ProbeVerdicts,
    old: Mapping[str, Any] | None,
) -> None:
    if container.kind is ContainerKind.EPHEMERAL:
        result["ready"] = False  # nobody waits for it
        return
    is_running = latest is not None and "running" in result["state"]
    container_id = latest.id if latest is not None else ""
    if container.kind is ContainerKind.INIT and not container.is_sidecar:
        ended = result["state"].get("terminated")
        result["ready"] = ended is not None and ended.get("exitCode") == 0
        result["started"] = is_running
        return
    is_same = old is not None and old.get("containerID") == result.get("containerID")

    def is_good(verdicts: Mapping[str, ProbeResult], field: str) -> bool:
        """What the probe found; before it was tried in this run of the node, what was told of this very container."""
        verdict = verdicts.get(container_id)
        return verdict is ProbeResult.SUCCESS if verdict is not None else bool(is_same and (old or {}).get(field))

    is_started = is_running and (container.startup_probe is None or is_good(probes.startup, "started"))
    result["started"] = is_started
    result["ready"] = is_started and (container.readiness_probe is None or is_good(probes.readiness, "ready"))


def _resources(container: ContainerView) -> JsonObject:
    resources = {"limits": container.resources.limits, "requests": container.resources.requests}
    return {key: dict(value) for key, value in resources.items() if value}


def _volume_mounts(container: ContainerView) -> list[JsonObject]:
    mounts: list[JsonObject] = []
    for each in container.volume_mounts:
        mount: JsonObject = {"name": each.name, "mountPath": each.mount_path}
        if each.read_only:
            mount["readOnly"] = True
            mount["recursiveReadOnly"] = each.recursive_read_only or "Disabled"
        mounts.append(mount)
    return mounts


def _time(nanoseconds: int) -> str | None:
    return format_time(datetime.fromtimestamp(nanoseconds / 1e9, UTC)) if nanoseconds else None


_API_ORDER = (
    "name", "state", "lastState", "ready", "restartCount", "image", "imageID", "containerID", "started",
    "allocatedResources", "resources", "volumeMounts", "user",
)  # fmt: skip


def _in_api_order(status: JsonObject) -> JsonObject:
    return {key: status[key] for key in _API_ORDER if key in status and not (key == "volumeMounts" and not status[key])}
