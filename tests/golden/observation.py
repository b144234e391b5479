"""What is compared: the same shape for a recording of a real cluster and for a replay.

Read from kubectl's output alone: `get events -w`, `get pods -w`, `get pods -o json`, and from a registry's request log.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(kw_only=True)
class EventSeen:
    """One version of one Event object as a watcher saw it. `where` is its fieldPath, "" for the object itself."""

    type: str
    reason: str
    where: str
    message: str
    count: int


@dataclass(kw_only=True)
class ContainerSeen:
    """The last status of one container. `reason` and `message` are of waiting or terminated."""

    name: str
    policy: str
    state: str
    reason: str
    message: str
    image: str
    image_id: str
    restarts: int
    ready: bool


@dataclass(kw_only=True)
class RequestSeen:
    """One request to a registry. `user` is the name in Basic credentials, "" for none."""

    method: str
    repository: str
    kind: str
    reference: str
    status: int
    user: str = ""

    def __str__(self) -> str:
        return f"{self.method} {self.repository} {self.kind}/{self.reference} {self.status} {self.user}".rstrip()


@dataclass(kw_only=True)
class Observation:
    """One scenario as seen from outside. Lists are in the order of appearance."""

    events: dict[str, list[EventSeen]] = field(default_factory=dict)  # by the name of what they are about
    statuses: dict[str, list[str]] = field(default_factory=dict)  # STATUS column of `get pods -w`, repeats dropped
    phases: dict[str, str] = field(default_factory=dict)
    containers: dict[str, list[ContainerSeen]] = field(default_factory=dict)
    requests: list[RequestSeen] = field(default_factory=list)
    description: list[str] = field(default_factory=list)  # `kubectl describe pods --show-events=false` at the end
    outputs: list[str] = field(default_factory=list)  # of the kubectl commands whose output is part of the scenario

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Observation:
        return cls(
            events={pod: [EventSeen(**row) for row in rows] for pod, rows in value["events"].items()},
            statuses=value["statuses"],
            phases=value["phases"],
            containers={pod: [ContainerSeen(**row) for row in rows] for pod, rows in value["containers"].items()},
            requests=[RequestSeen(**row) for row in value["requests"]],
            description=value["description"],
            outputs=value["outputs"],
        )


def containers_of(pod: dict[str, Any]) -> list[ContainerSeen]:
    """The containers of a pod as kubectl prints it (spec and status): init and regular ones."""
    rows = []
    for kind in ("initContainer", "container"):
        specs, statuses = f"{kind}s", f"{kind}Statuses"
        by_name = {status["name"]: status for status in pod["status"].get(statuses, [])}
        for spec in pod["spec"].get(specs) or []:
            status = by_name.get(spec["name"], {})
            states: dict[str, dict[str, Any]] = status.get("state", {})
            state, facts = next(iter(states.items()), ("", {}))
            rows.append(
                ContainerSeen(
                    name=spec["name"],
                    policy=spec.get("imagePullPolicy", ""),
                    state=state,
                    reason=facts.get("reason", ""),
                    message=facts.get("message", ""),
                    image=status.get("image", ""),
                    image_id=status.get("imageID", ""),
                    restarts=status.get("restartCount", 0),
                    ready=status.get("ready", False),
                )
            )
    return rows


def add_status(statuses: dict[str, list[str]], pod: str, status: str) -> None:
    """Append a STATUS row unless it repeats the last one."""
    rows = statuses.setdefault(pod, [])
    if not rows or rows[-1] != status:
        rows.append(status)
