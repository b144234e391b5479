"""Whether a pod has started, from its status alone."""

from __future__ import annotations

from typing import Any

from pullet.base.values import Value

# Waiting reasons that no amount of waiting mends: somebody has to change something.
HOPELESS = frozenset(
    {
        "ImagePullBackOff",
        "ErrImageNeverPull",
        "InvalidImageName",
        "ImageInspectError",
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
        "CrashLoopBackOff",
    }
)


class Verdict(Value):
    """A pod's end of the beginning. `problem` is empty when it started."""

    pod: str
    status: str
    problem: str = ""


def verdict_of(pod: dict[str, Any]) -> Verdict | None:
    """Started, cannot start, or None: too early to tell."""
    name, status = pod["metadata"]["name"], pod.get("status", {})
    phase = status.get("phase", "Pending")
    if phase == "Succeeded":
        return Verdict(name, "Completed")
    if phase == "Failed":
        return Verdict(name, "Failed", status.get("message") or status.get("reason") or "its containers failed")
    containers = [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]
    for container in containers:
        waiting = container.get("state", {}).get("waiting", {})
        if waiting.get("reason") in HOPELESS:
            return Verdict(name, waiting["reason"], waiting.get("message", ""))
    regular = status.get("containerStatuses", ())
    if phase == "Running" and regular and all(container.get("started") for container in regular):
        return Verdict(name, "Running")
    for condition in status.get("conditions", ()):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return Verdict(name, "Unschedulable", condition.get("message", ""))
    return None
