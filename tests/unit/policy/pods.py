"""Pods and runtime statuses for the tests of decisions."""

from __future__ import annotations

from typing import Any

from pullet.cri.types import ContainerState, NamespaceMode, NamespaceOption, PodSandboxMetadata, PodSandboxState
from pullet.cri.types import PodSandboxStatus as Sandbox
from pullet.kube.pod import PodView, parse_pod
from pullet.policy.container_actions import container_hash
from pullet.policy.runtime_status import ContainerRuntimeStatus, PodRuntimeStatus

SECOND = 1_000_000_000
RUNNING, EXITED = ContainerState.RUNNING, ContainerState.EXITED
CREATED, UNKNOWN = ContainerState.CREATED, ContainerState.UNKNOWN


def container(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "image": f"{name}:1", **fields}


def make_pod(*containers: dict[str, Any], init: tuple[dict[str, Any], ...] = (), **spec: Any) -> PodView:
    metadata: dict[str, Any] = {"name": "p", "namespace": "ns", "uid": "u1"}
    if spec.pop("is_terminating", False):
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    status = spec.pop("status", {})
    body = {"containers": list(containers) or [container("c")], "initContainers": list(init), **spec}
    return parse_pod({"metadata": metadata, "spec": body, "status": status})


def sandbox(
    *,
    attempt: int = 0,
    ready: bool = True,
    ip: str = "10.88.0.5",
    network: NamespaceMode = NamespaceMode.POD,
    created_at: int = 0,
) -> Sandbox:
    return Sandbox(
        id=f"sb{attempt}",
        metadata=PodSandboxMetadata("p", "u1", "ns", attempt),
        state=PodSandboxState.READY if ready else PodSandboxState.NOTREADY,
        created_at=created_at or attempt + 1,
        ip=ip,
        namespaces=NamespaceOption(network=network),
    )


def ran(
    pod: PodView,
    name: str,
    state: ContainerState = RUNNING,
    *,
    exit_code: int = 0,
    restarts: int = 0,
    old_definition: bool = False,
) -> ContainerRuntimeStatus:
    """A container the runtime knows; ids are `<name>-<restarts>`."""
    view = pod.container(name)
    assert view is not None
    base = 1_800_000_000 * SECOND + restarts * 100 * SECOND
    return ContainerRuntimeStatus(
        name=name,
        id=f"{name}-{restarts}",
        state=state,
        hash="old" if old_definition else container_hash(view),
        restart_count=restarts,
        created_at=base,
        started_at=base + SECOND,
        finished_at=base + 3 * SECOND if state is EXITED else 0,
        exit_code=exit_code,
        image=f"docker.io/library/{view.image}",
        image_ref=f"docker.io/library/{name}@sha256:{'0' * 64}",
        image_id=f"sha256:{'1' * 64}",
        reason=("Completed" if exit_code == 0 else "Error") if state is EXITED else "",
    )


def runtime(*containers: ContainerRuntimeStatus, sandboxes: tuple[Sandbox, ...] | None = None) -> PodRuntimeStatus:
    return PodRuntimeStatus.of("u1", (sandbox(),) if sandboxes is None else sandboxes, containers)
