"""The rows of `kubectl get pods`; STATUS is where a failing pull shows.

Source: kubernetes pkg/printers/internalversion/printers.go printPod.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pullet.apiserver.printing import AGE, NAME, NONE, Column, age_of
from pullet.base.jsonvalue import JsonObject
from pullet.base.values import State
from pullet.kube.duration import human_duration
from pullet.kube.meta import is_deleting, name_of, parse_time

POD_COLUMNS = (
    NAME,
    Column("Ready", description="The aggregate readiness state of this pod for accepting traffic."),
    Column("Status", description="The aggregate status of the containers in this pod."),
    Column("Restarts", description="The number of times the containers in this pod have been restarted."),
    AGE,
    Column("IP", priority=1, description="podIP address allocated to the pod."),
    Column("Node", priority=1, description="NodeName indicates in which node this pod is scheduled."),
    Column("Nominated Node", priority=1, description="The node the pod is nominated to run on by preemption."),
    Column("Readiness Gates", priority=1, description="The pod's readiness gates that are true."),
)


class _Tally(State):
    reason: str
    ready: int = 0
    restarts: int = 0
    sidecar_restarts: int = 0
    last_restart: datetime | None = None
    last_sidecar_restart: datetime | None = None
    is_initializing: bool = False


def pod_cells(pod: JsonObject, now: datetime) -> list[Any]:
    """The cells of one pod."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    total = len(spec.get("containers") or ())
    sidecars = {item["name"] for item in spec.get("initContainers") or () if item.get("restartPolicy") == "Always"}
    tally = _tally(pod, sidecars)
    if is_deleting(pod):
        if status.get("reason") == "NodeLost":
            tally.reason = "Unknown"
        elif status.get("phase") not in ("Succeeded", "Failed"):
            tally.reason = "Terminating"
    restarts = str(tally.restarts)
    if tally.restarts and tally.last_restart:
        restarts += f" ({human_duration(now - tally.last_restart)} ago)"
    return [
        name_of(pod),
        f"{tally.ready}/{total + len(sidecars)}",
        tally.reason,
        restarts,
        age_of(pod, now),
        next((item.get("ip") for item in status.get("podIPs") or ()), None) or status.get("podIP") or NONE,
        spec.get("nodeName") or NONE,
        status.get("nominatedNodeName") or NONE,
        _gates(spec, status),
    ]


def pod_status_text(pod: JsonObject, now: datetime) -> str:
    """The STATUS cell alone."""
    return str(pod_cells(pod, now)[2])


def _tally(pod: JsonObject, sidecars: set[str]) -> _Tally:
    status = pod.get("status") or {}
    tally = _Tally(str(status.get("reason") or status.get("phase") or ""))
    conditions = {item.get("type"): item for item in status.get("conditions") or ()}
    if (conditions.get("PodScheduled") or {}).get("reason") == "SchedulingGated":
        tally.reason = "SchedulingGated"
    _tally_inits(tally, pod, sidecars)
    if not tally.is_initializing or (conditions.get("Initialized") or {}).get("status") == "True":
        _tally_containers(tally, status, conditions)
    return tally


def _tally_inits(tally: _Tally, pod: JsonObject, sidecars: set[str]) -> None:
    total = len((pod.get("spec") or {}).get("initContainers") or ())
    for index, container in enumerate((pod.get("status") or {}).get("initContainerStatuses") or ()):
        count = container.get("restartCount") or 0
        tally.restarts += count
        finished = _last_finished(container)
        tally.last_restart = _later(tally.last_restart, finished)
        is_sidecar = container.get("name") in sidecars
        if is_sidecar:
            tally.sidecar_restarts += count
            tally.last_sidecar_restart = _later(tally.last_sidecar_restart, finished)
        state = container.get("state") or {}
        ended, waiting = state.get("terminated"), state.get("waiting")
        if ended is not None and not ended.get("exitCode"):
            continue
        if is_sidecar and container.get("started"):
            tally.ready += bool(container.get("ready"))
            continue
        tally.is_initializing = True
        if ended is not None:
            tally.reason = "Init:" + _ended_text(ended)
        elif waiting is not None and waiting.get("reason") not in (None, "", "PodInitializing"):
            tally.reason = f"Init:{waiting['reason']}"
        else:
            tally.reason = f"Init:{index}/{total}"
        return


def _tally_containers(tally: _Tally, status: Mapping[str, Any], conditions: Mapping[Any, Any]) -> None:
    tally.restarts, tally.last_restart = tally.sidecar_restarts, tally.last_sidecar_restart
    error_reason, has_running = "", False
    containers: Sequence[Mapping[str, Any]] = status.get("containerStatuses") or ()
    for container in reversed(containers):
        tally.restarts += container.get("restartCount") or 0
        tally.last_restart = _later(tally.last_restart, _last_finished(container))
        state = container.get("state") or {}
        ended, waiting = state.get("terminated"), state.get("waiting")
        if waiting is not None and waiting.get("reason"):
            tally.reason = waiting["reason"]
        elif ended is not None:
            tally.reason = _ended_text(ended)
            if ended.get("exitCode"):
                error_reason = tally.reason
        elif container.get("ready") and state.get("running") is not None:
            has_running = True
            tally.ready += 1
    if tally.reason == "Completed":
        if has_running and (conditions.get("Ready") or {}).get("status") == "True":
            tally.reason = "Running"
        elif error_reason:
            tally.reason = error_reason
        elif has_running:
            tally.reason = "NotReady"


def _ended_text(ended: Mapping[str, Any]) -> str:
    if ended.get("reason"):
        return str(ended["reason"])
    return f"Signal:{ended['signal']}" if ended.get("signal") else f"ExitCode:{ended.get('exitCode', 0)}"


def _last_finished(container: Mapping[str, Any]) -> datetime | None:
    last = (container.get("lastState") or {}).get("terminated") or {}
    return parse_time(last.get("finishedAt"))


def _later(one: datetime | None, other: datetime | None) -> datetime | None:
    return max(one, other) if one and other else one or other


def _gates(spec: Mapping[str, Any], status: Mapping[str, Any]) -> str:
    gates = [gate.get("conditionType") for gate in spec.get("readinessGates") or ()]
    if not gates:
        return NONE
    true = {item.get("type") for item in status.get("conditions") or () if item.get("status") == "True"}
    return f"{sum(gate in true for gate in gates)}/{len(gates)}"
