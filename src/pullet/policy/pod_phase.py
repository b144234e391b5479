"""From container statuses to the pod's phase and conditions.

`statuses` are container statuses as the API holds them (raw JSON), of all three lists together.
Source: kubernetes pkg/kubelet/kubelet_pods.go getPhase, pkg/kubelet/status/generate.go; kubelet-images spec 14.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

import msgspec

from pullet.base.jsonvalue import JsonObject
from pullet.base.quote import go_quote
from pullet.base.values import State
from pullet.kube import reasons
from pullet.kube.container import ContainerView, InitContainerView, RestartPolicy
from pullet.kube.pod import PodView
from pullet.policy.container_actions import effective_restart_policy, restarts_after_exit
from pullet.policy.wording import go_list


class PodPhase(StrEnum):
    """Where the pod is in its life."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    UNKNOWN = "Unknown"

    @property
    def is_terminal(self) -> bool:
        """Whether nothing of the pod will run again."""
        return self in (PodPhase.SUCCEEDED, PodPhase.FAILED)


class _Counts(State):
    pending_init: int = 0
    pending_sidecars: int = 0
    failed_for_good: int = 0
    unknown: int = 0
    running: int = 0
    waiting: int = 0
    exit_codes: dict[str, int] = msgspec.field(default_factory=dict)  # of stopped regular containers, by name


def compute_phase(pod: PodView, statuses: Sequence[Mapping[str, Any]], *, is_terminal: bool = False) -> PodPhase:
    """The phase. `is_terminal`: the pod is being ended, its containers will not be restarted whatever the policy.

    A pod with one running and one never started container is Pending. An image failure never makes a pod Failed.
    """
    counts = _count(pod, {str(status["name"]): status for status in statuses})
    if counts.failed_for_good:
        return PodPhase.FAILED
    has_begun = _has_any_regular_container_started(pod, statuses)
    if counts.pending_init or (counts.pending_sidecars and not has_begun) or counts.waiting:
        return PodPhase.PENDING
    if counts.unknown:
        return PodPhase.PENDING
    if counts.running:
        return PodPhase.RUNNING
    if not counts.exit_codes:
        return PodPhase.PENDING
    will_restart = any(
        restarts_after_exit(container, pod, counts.exit_codes[container.name])
        for container in pod.spec.containers
        if container.name in counts.exit_codes
    )
    if will_restart and not is_terminal:
        return PodPhase.RUNNING
    return PodPhase.FAILED if any(counts.exit_codes.values()) else PodPhase.SUCCEEDED


def _count(pod: PodView, by_name: Mapping[str, Mapping[str, Any]]) -> _Counts:
    counts = _Counts()
    for init in pod.spec.init_containers:
        if init.is_sidecar:
            _count_sidecar(counts, by_name.get(init.name))
        else:
            _count_init(counts, pod, init, by_name.get(init.name))
    for container in pod.spec.containers:
        status = by_name.get(container.name)
        state = _state(status)
        ended = state.get("terminated")
        if ended is None and "waiting" in state:
            ended = _last_terminated(status)
        if ended is not None:
            counts.exit_codes[container.name] = int(ended.get("exitCode", 0))
        elif "running" in state:
            counts.running += 1
        elif "waiting" in state:
            counts.waiting += 1
        else:
            counts.unknown += 1
    return counts


def _count_init(counts: _Counts, pod: PodView, container: InitContainerView, status: Mapping[str, Any] | None) -> None:
    state = _state(status)
    ended = state.get("terminated")
    if ended is None and "waiting" in state:
        ended = _last_terminated(status)
    if ended is None:
        counts.pending_init += 1
    elif ended.get("exitCode", 0) != 0:
        never = effective_restart_policy(container, pod) is RestartPolicy.NEVER
        if never and not restarts_after_exit(container, pod, int(ended["exitCode"])):
            counts.failed_for_good += 1
        else:
            counts.pending_init += 1


def _count_sidecar(counts: _Counts, status: Mapping[str, Any] | None) -> None:
    state = _state(status)
    if "running" in state:
        counts.running += 1
        if status is None or not status.get("started"):
            counts.pending_sidecars += 1
    elif "waiting" in state:
        if _last_terminated(status) is None:
            counts.pending_sidecars += 1
            counts.waiting += 1
    elif "terminated" not in state:
        counts.pending_sidecars += 1
        counts.unknown += 1


def _state(status: Mapping[str, Any] | None) -> Mapping[str, Any]:
    return (status or {}).get("state") or {}


def _last_terminated(status: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    return ((status or {}).get("lastState") or {}).get("terminated")


def _has_any_regular_container_started(pod: PodView, statuses: Iterable[Mapping[str, Any]]) -> bool:
    regular = {container.name for container in pod.spec.containers}
    return any(
        status["name"] in regular and ("running" in _state(status) or "terminated" in _state(status))
        for status in statuses
    )


# --- conditions -----------------------------------------------------------------------------------------------------


def compute_conditions(
    pod: PodView, statuses: Sequence[Mapping[str, Any]], phase: PodPhase, *, is_sandbox_ready: bool
) -> list[JsonObject]:
    """The five conditions in the order a kubelet writes them, without times; see `merge_conditions`."""
    containers_ready = _containers_ready(pod, statuses, phase)
    return [
        _condition(reasons.POD_READY_TO_START_CONTAINERS, is_true=is_sandbox_ready),
        _initialized(pod, statuses, phase),
        _ready(pod, containers_ready),
        containers_ready,
        _condition(reasons.POD_SCHEDULED, is_true=True),
    ]


def disruption_target(message: str) -> JsonObject:
    """The condition of a pod that the node ends for its own sake. Source: KEP-3329."""
    condition = _condition(reasons.DISRUPTION_TARGET, is_true=True)
    return condition | {"reason": "TerminationByKubelet", "message": message}


def merge_conditions(
    old: Iterable[Mapping[str, Any]], new: Iterable[JsonObject], *, now: str, observed_generation: int = 0
) -> list[JsonObject]:
    """`new` with transition times: kept while a condition's status stays, `now` (RFC 3339) when it changed.

    Conditions that other writers own (readiness gates, DisruptionTarget) are kept in front, as they were.
    """
    before = {str(condition.get("type")): condition for condition in old}
    computed = list(new)
    ours = {condition["type"] for condition in computed}
    merged: list[JsonObject] = [dict(each) for kind, each in before.items() if kind not in ours]
    for condition in computed:
        previous = before.get(condition["type"], {})
        is_same = previous.get("status") == condition["status"]
        full: JsonObject = {"type": condition["type"]}
        if observed_generation:
            full["observedGeneration"] = observed_generation
        full["status"] = condition["status"]
        full["lastProbeTime"] = None
        full["lastTransitionTime"] = (previous.get("lastTransitionTime") if is_same else None) or now
        full.update({key: condition[key] for key in ("reason", "message") if key in condition})
        merged.append(full)
    return merged


def _condition(kind: str, *, is_true: bool, reason: str = "", message: str = "") -> JsonObject:
    condition: JsonObject = {"type": kind, "status": "True" if is_true else "False"}
    if reason:
        condition["reason"] = reason
    if message:
        condition["message"] = message
    return condition


def _containers_ready(pod: PodView, statuses: Sequence[Mapping[str, Any]], phase: PodPhase) -> JsonObject:
    kind = reasons.CONTAINERS_READY
    by_name = {status["name"]: status for status in statuses}
    counted: list[ContainerView] = [*pod.sidecars, *pod.spec.containers]
    unknown = [each.name for each in counted if each.name not in by_name]
    unready = [each.name for each in counted if each.name in by_name and not by_name[each.name].get("ready")]
    if phase is PodPhase.SUCCEEDED and not unknown:
        return _condition(kind, is_true=False, reason=reasons.POD_COMPLETED)
    if phase is PodPhase.FAILED:
        return _condition(kind, is_true=False, reason=reasons.POD_FAILED)
    message = _names_message(unknown, "unready", unready)
    if message:
        return _condition(kind, is_true=False, reason=reasons.CONTAINERS_NOT_READY, message=message)
    return _condition(kind, is_true=True)


def _ready(pod: PodView, containers_ready: JsonObject) -> JsonObject:
    if containers_ready["status"] != "True":
        return {**containers_ready, "type": reasons.READY}
    gates = {str(each.get("type")): str(each.get("status")) for each in pod.status.get("conditions", ())}
    problems = []
    for gate in pod.spec.readiness_gates:
        name = go_quote(gate.condition_type)
        if gate.condition_type not in gates:
            problems.append(f"corresponding condition of pod readiness gate {name} does not exist.")
        elif gates[gate.condition_type] != "True":
            problems.append(f'the status of pod readiness gate {name} is not "True", but {gates[gate.condition_type]}')
    if problems:
        text = ", ".join(problems)
        return _condition(reasons.READY, is_true=False, reason=reasons.READINESS_GATES_NOT_READY, message=text)
    return _condition(reasons.READY, is_true=True)


def _initialized(pod: PodView, statuses: Sequence[Mapping[str, Any]], phase: PodPhase) -> JsonObject:
    kind = reasons.INITIALIZED
    by_name = {status["name"]: status for status in statuses}
    unknown = [each.name for each in pod.spec.init_containers if each.name not in by_name]
    incomplete = [
        each.name
        for each in pod.spec.init_containers
        if each.name in by_name and not by_name[each.name].get("started" if each.is_sidecar else "ready")
    ]
    if phase is PodPhase.SUCCEEDED and not unknown:
        return _condition(kind, is_true=True, reason=reasons.POD_COMPLETED)
    if _has_any_regular_container_started(pod, statuses):
        return _condition(kind, is_true=True)
    message = _names_message(unknown, "incomplete", incomplete)
    if message:
        return _condition(kind, is_true=False, reason=reasons.CONTAINERS_NOT_INITIALIZED, message=message)
    return _condition(kind, is_true=True)


def _names_message(unknown: Sequence[str], word: str, named: Sequence[str]) -> str:
    parts = []
    if unknown:
        parts.append(f"containers with unknown status: {go_list(unknown)}")
    if named:
        parts.append(f"containers with {word} status: {go_list(named)}")
    return ", ".join(parts)
