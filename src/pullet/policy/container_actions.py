"""What to kill, create and start so that a pod becomes what its spec asks for.

    sandbox gone or changed ──► kill all, new sandbox, first init container (or the regular ones)
    not initialised         ──► the next init container; sidecars stay up beside
    initialised             ──► regular containers: start the absent, restart the ended, kill the changed or unhealthy
    nothing left to run     ──► kill the pod

Source: kubernetes pkg/kubelet/kuberuntime/kuberuntime_manager.go computePodActions, kuberuntime_container.go
computeInitContainerActions; kubelet-images spec 12.1, 15.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum

import msgspec

from pullet.base.values import State, Value
from pullet.cri.types import ContainerState, NamespaceMode, PodSandboxState
from pullet.kube.container import ContainerView, EphemeralContainerView, InitContainerView, RestartPolicy
from pullet.kube.pod import PodView
from pullet.policy.probe_state import ProbeResult, ProbeVerdicts
from pullet.policy.runtime_status import ContainerRuntimeStatus, PodRuntimeStatus


class KillReason(StrEnum):
    """Why a container is killed, where the way of killing depends on it."""

    DEFINITION_CHANGED = "DefinitionChanged"
    LIVENESS_PROBE = "LivenessProbe"
    STARTUP_PROBE = "StartupProbe"
    UNKNOWN_STATE = "Unknown"


class ContainerKill(Value):
    """A container to kill first. `message` is the text of its Killing event."""

    container: ContainerView
    id: str
    message: str
    reason: KillReason


class PodActions(Value, kw_only=True):
    """The steps of one sync, in this order: kills, sandbox, ephemeral, init, regular containers.

    `kill_pod` means everything that runs, and the old sandbox. `attempt` numbers the sandbox to be created; before it
    is made the runtime's records of init containers must be removed, or they would count as done in the new one.
    """

    kill_pod: bool = False
    create_sandbox: bool = False
    sandbox_id: str = ""
    attempt: int = 0
    containers_to_kill: tuple[ContainerKill, ...] = ()
    ephemeral_to_start: tuple[EphemeralContainerView, ...] = ()
    init_to_start: tuple[InitContainerView, ...] = ()
    containers_to_start: tuple[ContainerView, ...] = ()


def container_hash(container: ContainerView) -> str:
    """Changes when a running container no longer matches its spec: by name and image (kubelet ≥ 1.31)."""
    return hashlib.sha256(f"{container.name}\0{container.image}".encode()).hexdigest()[:8]


def effective_restart_policy(container: ContainerView, pod: PodView) -> RestartPolicy:
    """The container's own policy when it has one, else the pod's."""
    try:
        return RestartPolicy(container.restart_policy)
    except ValueError:
        return pod.spec.restart_policy


def restarts_after_exit(container: ContainerView, pod: PodView, exit_code: int) -> bool:
    """Whether an exit with that code is followed by a restart: first matching rule, then the policy (spec 15)."""
    for rule in container.restart_policy_rules:
        if rule.exit_codes is not None and rule.action in ("Restart", "RestartAllContainers"):
            is_listed = exit_code in rule.exit_codes.values
            if is_listed == (rule.exit_codes.operator == "In"):
                return True
    match effective_restart_policy(container, pod):
        case RestartPolicy.ALWAYS:
            return True
        case RestartPolicy.ON_FAILURE:
            return exit_code != 0
        case RestartPolicy.NEVER:
            return False


def should_be_running(container: ContainerView, pod: PodView, status: PodRuntimeStatus) -> bool:
    """Whether a container that does not run has to be (re)started; False for one that runs."""
    if pod.is_terminating:
        return False
    latest = status.latest(container.name)
    if latest is None:
        return True
    match latest.state:
        case ContainerState.RUNNING:
            return False
        case ContainerState.CREATED | ContainerState.UNKNOWN:
            return True
        case ContainerState.EXITED:
            return restarts_after_exit(container, pod, latest.exit_code)


def sandbox_change(pod: PodView, status: PodRuntimeStatus) -> tuple[bool, int, str]:
    """Whether a new sandbox is needed, its attempt number, and the id of the one to replace or use."""
    if not status.sandboxes:
        return True, 0, ""
    newest = status.sandboxes[0]
    network = NamespaceMode.NODE if pod.spec.host_network else NamespaceMode.POD
    next_attempt = newest.metadata.attempt + 1
    if len(status.ready_sandboxes) > 1 or newest.state is not PodSandboxState.READY:
        return True, next_attempt, newest.id
    if newest.namespaces.network is not network:
        return True, next_attempt, ""
    if not pod.spec.host_network and not newest.ip:
        return True, next_attempt, newest.id
    return False, newest.metadata.attempt, newest.id


def compute_pod_actions(pod: PodView, status: PodRuntimeStatus, probes: ProbeVerdicts | None = None) -> PodActions:
    """The actions of this sync. Containers to start stand in spec order; starting them is back-off's matter."""
    verdicts = probes or ProbeVerdicts()
    is_changed, attempt, sandbox_id = sandbox_change(pod, status)
    if is_changed:
        return _start_over(pod, status, attempt, sandbox_id)
    ephemeral = tuple(each for each in pod.spec.ephemeral_containers if status.latest(each.name) is None)
    init = _compute_init(pod, status, verdicts)
    if init.kill_pod or not init.is_initialized:
        return PodActions(
            kill_pod=init.kill_pod,
            sandbox_id=sandbox_id,
            attempt=attempt,
            ephemeral_to_start=ephemeral,
            init_to_start=init.to_start(pod),
            containers_to_kill=tuple(init.kills),
        )
    keeps, kills, starts = _compute_regular(pod, status, verdicts)
    is_done = not keeps and not starts
    return PodActions(
        kill_pod=is_done,
        sandbox_id=sandbox_id,
        attempt=attempt,
        ephemeral_to_start=ephemeral,
        init_to_start=() if is_done else init.to_start(pod),
        containers_to_kill=(*init.kills, *kills),
        containers_to_start=tuple(starts),
    )


def is_initialized(pod: PodView, status: PodRuntimeStatus) -> bool:
    """Whether the init containers are through, as far as the runtime's records tell."""
    return _compute_init(pod, status, ProbeVerdicts()).is_initialized


def _start_over(pod: PodView, status: PodRuntimeStatus, attempt: int, sandbox_id: str) -> PodActions:
    may_restart = any(
        effective_restart_policy(each, pod) is not RestartPolicy.NEVER or each.restart_policy_rules
        for each in pod.spec.containers
    )
    keep_down = PodActions(kill_pod=True, create_sandbox=False, sandbox_id=sandbox_id, attempt=attempt)
    if not may_restart and attempt != 0 and status.containers:
        return keep_down
    starts = tuple(each for each in pod.spec.containers if not _has_succeeded_for_good(each, pod, status))
    if not starts and is_initialized(pod, status):
        return keep_down
    init = pod.spec.init_containers[:1]
    return PodActions(
        kill_pod=True,
        create_sandbox=True,
        sandbox_id=sandbox_id,
        attempt=attempt,
        init_to_start=init,
        containers_to_start=() if init else starts,
    )


def _has_succeeded_for_good(container: ContainerView, pod: PodView, status: PodRuntimeStatus) -> bool:
    latest = status.latest(container.name)
    return (
        effective_restart_policy(container, pod) is RestartPolicy.ON_FAILURE
        and latest is not None
        and latest.state is ContainerState.EXITED
        and latest.exit_code == 0
    )


def _compute_regular(
    pod: PodView, status: PodRuntimeStatus, verdicts: ProbeVerdicts
) -> tuple[int, list[ContainerKill], list[ContainerView]]:
    keeps = 0
    kills: list[ContainerKill] = []
    starts: list[ContainerView] = []
    for container in pod.spec.containers:
        latest = status.latest(container.name)
        if latest is None or latest.state is not ContainerState.RUNNING:
            if should_be_running(container, pod, status):
                starts.append(container)
                if latest is not None and latest.state is ContainerState.UNKNOWN:
                    kills.append(_kill_unknown(container, latest, "Container"))
            continue
        trouble = _trouble(container, latest, verdicts, "Container")
        if trouble is None:
            keeps += 1
            continue
        message, reason = trouble
        # a changed definition is restarted whatever the policy says
        policy_restarts = effective_restart_policy(container, pod) is not RestartPolicy.NEVER
        if reason is KillReason.DEFINITION_CHANGED or policy_restarts:
            message += ", will be restarted"
            starts.append(container)
        kills.append(ContainerKill(container, latest.id, message, reason))
    return keeps, kills, starts


def _trouble(
    container: ContainerView, latest: ContainerRuntimeStatus, verdicts: ProbeVerdicts, noun: str
) -> tuple[str, KillReason] | None:
    if latest.hash and latest.hash != container_hash(container):
        return f"{noun} {container.name} definition changed", KillReason.DEFINITION_CHANGED
    if verdicts.liveness.get(latest.id) is ProbeResult.FAILURE:
        return f"{noun} {container.name} failed liveness probe", KillReason.LIVENESS_PROBE
    if verdicts.startup.get(latest.id) is ProbeResult.FAILURE:
        return f"{noun} {container.name} failed startup probe", KillReason.STARTUP_PROBE
    return None


def _kill_unknown(container: ContainerView, latest: ContainerRuntimeStatus, noun: str) -> ContainerKill:
    message = f'{noun} is in "unknown" state, try killing it before restart'
    return ContainerKill(container, latest.id, message, KillReason.UNKNOWN_STATE)


class _InitActions(State):
    is_initialized: bool = False
    kill_pod: bool = False
    kills: list[ContainerKill] = msgspec.field(default_factory=list)
    indexes: set[int] = msgspec.field(default_factory=set)

    def to_start(self, pod: PodView) -> tuple[InitContainerView, ...]:
        return tuple(pod.spec.init_containers[index] for index in sorted(self.indexes))

    def give_up(self) -> None:
        """The pod has failed for good: nothing is started any more."""
        self.kill_pod, self.is_initialized = True, False
        self.indexes.clear()


def _compute_init(pod: PodView, status: PodRuntimeStatus, verdicts: ProbeVerdicts) -> _InitActions:
    actions = _InitActions()
    containers = pod.spec.init_containers
    if not containers:
        actions.is_initialized = True
        return actions
    latest_regular = (status.latest(each.name) for each in pod.spec.containers)
    # a regular container that runs proves that the init containers were through; an ended one may be of an old sandbox
    actions.is_initialized = any(
        each is not None and each.state in (ContainerState.CREATED, ContainerState.RUNNING) for each in latest_regular
    )
    # from the last to the first: records of finished init containers may have been removed meanwhile
    later_has_begun = actions.is_initialized
    for index in reversed(range(len(containers))):
        container = containers[index]
        latest = status.latest(container.name)
        if latest is None:
            if later_has_begun and container.is_sidecar:
                actions.indexes.add(index)
            continue
        if later_has_begun and not container.is_sidecar:
            continue
        if container.is_sidecar:
            _step_sidecar(actions, containers, index, latest, verdicts, later_has_begun=later_has_begun)
        else:
            _step_init(actions, pod, index, latest)
        if actions.kill_pod:
            return actions
        later_has_begun = True
    if not later_has_begun:
        actions.indexes.add(0)
    return actions


def _step_init(actions: _InitActions, pod: PodView, index: int, latest: ContainerRuntimeStatus) -> None:
    container = pod.spec.init_containers[index]
    match latest.state:
        case ContainerState.RUNNING:
            return
        case ContainerState.CREATED:
            actions.indexes.add(index)
        case ContainerState.EXITED if latest.exit_code == 0:
            _advance(actions, pod.spec.init_containers, index)
        case ContainerState.EXITED:
            if restarts_after_exit(container, pod, latest.exit_code):
                actions.indexes.add(index)
            else:
                actions.give_up()
        case ContainerState.UNKNOWN:
            if effective_restart_policy(container, pod) is RestartPolicy.NEVER:
                actions.give_up()
            else:
                actions.kills.append(_kill_unknown(container, latest, "Init container"))
                actions.indexes.add(index)


def _step_sidecar(
    actions: _InitActions,
    containers: tuple[InitContainerView, ...],
    index: int,
    latest: ContainerRuntimeStatus,
    verdicts: ProbeVerdicts,
    *,
    later_has_begun: bool,
) -> None:
    container = containers[index]
    if latest.state is not ContainerState.RUNNING:
        if latest.state is ContainerState.UNKNOWN:
            actions.kills.append(_kill_unknown(container, latest, "Init container"))
        actions.indexes.add(index)
        return
    startup = verdicts.startup.get(latest.id)
    is_started = container.startup_probe is None or startup is ProbeResult.SUCCESS
    if is_started and not later_has_begun:
        _advance(actions, containers, index)
    trouble = _trouble(container, latest, verdicts, "Init container")
    if trouble is not None:
        actions.kills.append(ContainerKill(container, latest.id, *trouble))
        actions.indexes.add(index)


def _advance(actions: _InitActions, containers: tuple[InitContainerView, ...], index: int) -> None:
    if index == len(containers) - 1:
        actions.is_initialized = True
    else:
        actions.indexes.add(index + 1)
