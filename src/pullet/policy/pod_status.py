"""The whole status of a pod as the node writes it: phase, conditions, addresses, container statuses.

Source: kubernetes pkg/kubelet/kubelet_pods.go generateAPIPodStatus; kubelet-images spec 14.
"""

from __future__ import annotations

import msgspec

from pullet.base.jsonvalue import JsonObject
from pullet.base.values import Value
from pullet.kube.container import ContainerKind
from pullet.kube.pod import PodView
from pullet.policy.container_actions import sandbox_change
from pullet.policy.container_state import ReasonCache, container_statuses
from pullet.policy.pod_phase import PodPhase, compute_conditions, compute_phase, disruption_target, merge_conditions
from pullet.policy.probe_state import ProbeVerdicts
from pullet.policy.qos import compute_qos
from pullet.policy.runtime_status import PodRuntimeStatus

_LISTS = {
    "initContainerStatuses": ContainerKind.INIT,
    "containerStatuses": ContainerKind.REGULAR,
    "ephemeralContainerStatuses": ContainerKind.EPHEMERAL,
}


class PodStatusFacts(Value, kw_only=True):
    """What the status is made from. `old` is the status written last; `now` and `started_at` are RFC 3339 times.

    `is_terminal`: the pod is being ended and nothing will be restarted. `reason` and `message` stand when the node
    itself ended the pod (DeadlineExceeded, Evicted); `is_disruption`: for its own sake.
    """

    pod: PodView
    runtime: PodRuntimeStatus
    failures: ReasonCache
    probes: ProbeVerdicts
    runtime_name: str
    now: str
    host_ips: tuple[str, ...] = ()
    old: JsonObject = msgspec.field(default_factory=dict)
    is_terminal: bool = False
    has_failed: bool = False
    reason: str = ""
    message: str = ""
    is_disruption: bool = False


def generate_pod_status(facts: PodStatusFacts) -> JsonObject:
    """The status to write. A terminal phase that was once written stays, whatever the runtime says later."""
    pod, old = facts.pod, facts.old
    lists = {
        key: container_statuses(
            pod,
            facts.runtime,
            kind,
            old=old.get(key) or (),
            failures=facts.failures,
            probes=facts.probes,
            runtime_name=facts.runtime_name,
        )
        for key, kind in _LISTS.items()
    }
    every = [*lists["initContainerStatuses"], *lists["containerStatuses"]]
    phase = _phase(facts, every)
    is_sandbox_ready = not sandbox_change(pod, facts.runtime)[0]
    conditions = compute_conditions(pod, every, phase, is_sandbox_ready=is_sandbox_ready)
    if facts.is_disruption:
        conditions.append(disruption_target(facts.message))
    generation = pod.metadata.generation
    status: JsonObject = {"observedGeneration": generation} if generation else {}
    status["phase"] = str(phase)
    previous = old.get("conditions") or pod.status.get("conditions") or ()
    status["conditions"] = merge_conditions(previous, conditions, now=facts.now, observed_generation=generation)
    for key in ("message", "reason"):
        text = getattr(facts, key) or (old.get(key) if old.get("phase") == status["phase"] else "")
        if text:
            status[key] = text
    _add_addresses(status, facts)
    status["startTime"] = old.get("startTime") or pod.status.get("startTime") or facts.now
    status.update({key: value for key, value in lists.items() if value})
    status["qosClass"] = str(pod.status.get("qosClass") or compute_qos(pod))
    status["resources"] = {}  # of the pod as a whole
    return status


def refused_pod_status(pod: PodView, *, reason: str, message: str, now: str) -> JsonObject:
    """The status of a pod that the node did not take: nothing of it was ever here, so nothing is said of containers.

    Source: kubernetes pkg/kubelet/kubelet.go rejectPod.
    """
    generation = pod.metadata.generation
    return {
        **({"observedGeneration": generation} if generation else {}),
        "phase": str(PodPhase.FAILED),
        "conditions": list(pod.status.get("conditions") or ()),
        "message": message,
        "reason": reason,
        "startTime": now,
        "qosClass": str(pod.status.get("qosClass") or compute_qos(pod)),
    }


def _phase(facts: PodStatusFacts, every: list[JsonObject]) -> PodPhase:
    written = facts.old.get("phase") or facts.pod.status.get("phase")
    if written in (PodPhase.FAILED, PodPhase.SUCCEEDED):
        return PodPhase(written)
    if facts.has_failed:
        return PodPhase.FAILED
    return compute_phase(facts.pod, every, is_terminal=facts.is_terminal)


def _add_addresses(status: JsonObject, facts: PodStatusFacts) -> None:
    if facts.host_ips:
        status["hostIP"] = facts.host_ips[0]
        status["hostIPs"] = [{"ip": ip} for ip in facts.host_ips]
    ips = facts.runtime.ips
    if not ips and facts.pod.spec.host_network:
        ips = facts.host_ips
    # an ended pod keeps the address it had
    kept = tuple(str(each["ip"]) for each in facts.old.get("podIPs") or ())
    if addresses := ips or kept:
        status["podIP"] = addresses[0]
        status["podIPs"] = [{"ip": ip} for ip in addresses]
