"""Details of pods that their users count on: grace, hooks' words, variables, tokens that are renewed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from tests.unit.node.node_world import NAMESPACE, World, container, pod_object

from pullet.cri.types import ExecSyncResponse
from pullet.kube.container import ResourceFieldSelectorView
from pullet.kube.pod import PodView, parse_pod
from pullet.kube.scheme import PODS
from pullet.node.container_killer import ContainerKiller
from pullet.node.downward import NodeFacts, resource_value
from pullet.node.environment import ApiServerAddresses
from pullet.node.lifecycle_hooks import LifecycleHooks
from pullet.policy.container_actions import KillReason
from pullet.policy.wording import Wording
from pullet.testing.clock import FakeClock
from pullet.testing.cri_fakes import FakeRuntimeService
from pullet.testing.cri_image_fakes import FakeImageService


def pod(*containers: dict[str, Any], deletion_grace: int | None = None, **spec: Any) -> PodView:
    made = pod_object("p", *containers, **spec)
    made["metadata"] |= {"uid": "u", "deletionGracePeriodSeconds": deletion_grace}
    return parse_pod(made)


class PatientRuntime(FakeRuntimeService):
    """Notes how long containers were given to end."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock, FakeImageService(clock))
        self.graces: list[float] = []

    async def stop_container(self, container_id: str, timeout_seconds: float) -> None:
        self.graces.append(timeout_seconds)


class Silence:
    def event(self, reference: Mapping[str, Any], event_type: str, reason: str, message: str) -> None:
        """Nobody listens."""


PROBES: Any = {
    "livenessProbe": {"exec": {"command": ["a"]}, "terminationGracePeriodSeconds": 3},
    "startupProbe": {"exec": {"command": ["a"]}, "terminationGracePeriodSeconds": 7},
}


@pytest.mark.parametrize(
    ("view", "reason", "grace"),
    [
        (pod(container()), None, 30.0),
        (pod(container(), terminationGracePeriodSeconds=5), KillReason.LIVENESS_PROBE, 5.0),
        (pod(container(**PROBES)), KillReason.LIVENESS_PROBE, 3.0),
        (pod(container(**PROBES)), KillReason.STARTUP_PROBE, 7.0),
        (pod(container(**PROBES)), KillReason.DEFINITION_CHANGED, 30.0),
        (pod(container(**PROBES), deletion_grace=12), KillReason.LIVENESS_PROBE, 12.0),
    ],
)
async def test_how_long_a_container_has_to_end(view: PodView, reason: KillReason | None, grace: float) -> None:
    clock = FakeClock()
    runtime = PatientRuntime(clock)
    hooks = LifecycleHooks(runtime=runtime, clock=clock)
    killer = ContainerKiller(runtime=runtime, hooks=hooks, events=Silence(), wording=Wording(), clock=clock)
    await killer.kill_container(view, view.spec.containers[0], "id", reason=reason)
    assert runtime.graces == [grace]


async def test_a_failed_post_start_hook_is_told_to_the_event_and_in_full_to_the_status(world: World) -> None:
    world.images.load("nginx:1.17.1")
    world.runtime.on_exec = lambda _id, command: ExecSyncResponse(b"", b"no register\n", 2)
    hook = {"postStart": {"exec": {"command": ["register", "me"]}}}
    async with world.running():
        made = await world.apply("p", container("c", "nginx:1.17.1", lifecycle=hook))
        events = [event[2:] for event in world.events("p")]
        assert ("FailedPostStartHook", "spec.containers{c}", "PostStartHook failed") in events
        await world.clock.advance(1)
        states = [
            each["state"].get("waiting") or {}
            for _, _, plural, obj in world.api.history
            if plural == "pods"
            for each in (obj.get("status") or {}).get("containerStatuses") or ()
        ]
    message = next(state["message"] for state in states if state.get("reason") == "PostStartHookError")
    assert message == (
        f'Exec lifecycle hook ([register me]) for Container "c" in Pod "p_{NAMESPACE}({made["metadata"]["uid"]})" '
        "failed - error: command 'register me' exited with 2: no register\n, message: \"no register\\n\""
    )


async def test_a_failed_pre_stop_hook_is_told_and_keeps_nobody(world: World) -> None:
    world.images.load("nginx:1.17.1")
    world.runtime.on_exec = lambda _id, command: ExecSyncResponse(b"", b"", 1)
    hook = {"preStop": {"exec": {"command": ["deregister"]}}}
    async with world.running():
        await world.apply("p", container("c", "nginx:1.17.1", lifecycle=hook))
        await world.clock.advance(1)
        await world.api.delete(PODS, NAMESPACE, "p")
        await world.clock.advance(5)
        events = [event[1:] for event in world.events("p")]
        assert ("Warning", "FailedPreStopHook", "spec.containers{c}", "PreStopHook failed") in events
        assert world.pod("p") is None


@pytest.mark.parametrize(
    ("resource", "divisor", "value"),
    [
        ("limits.cpu", "0", "2"),
        ("limits.cpu", "1m", "1500"),
        ("requests.cpu", "1", "1"),
        ("limits.memory", "1Mi", "65"),
        ("limits.memory", "0", "67108865"),
        ("requests.memory", "1Ki", "4"),
        ("limits.ephemeral-storage", "1Gi", "7"),  # not set: what the node has to give
        ("requests.ephemeral-storage", "1", "0"),
    ],
)
def test_resources_in_variables_are_divided_and_rounded_up(resource: str, divisor: str, value: str) -> None:
    limits = {"cpu": "1500m", "memory": "67108865"}
    view = pod(container(resources={"limits": limits, "requests": {"cpu": "250m", "memory": "4Ki"}}))
    node = NodeFacts(name="n", allocatable={"ephemeral-storage": "7Gi"})
    selector = ResourceFieldSelectorView(resource=resource, divisor=divisor)
    assert resource_value(view, view.spec.containers[0], selector, node) == value


def test_where_pods_find_the_api_server() -> None:
    addresses = ApiServerAddresses(on_host_network="127.0.0.1", on_pod_network="fd00::1", port=7443)
    own, on_host = pod(container()), pod(container(), hostNetwork=True)
    assert addresses.variables(on_host)["KUBERNETES_SERVICE_HOST"] == "127.0.0.1"
    assert addresses.variables(own) == {
        "KUBERNETES_SERVICE_HOST": "fd00::1",
        "KUBERNETES_SERVICE_PORT": "7443",
        "KUBERNETES_SERVICE_PORT_HTTPS": "7443",
        "KUBERNETES_PORT": "tcp://[fd00::1]:7443",
        "KUBERNETES_PORT_7443_TCP": "tcp://[fd00::1]:7443",
        "KUBERNETES_PORT_7443_TCP_PROTO": "tcp",
        "KUBERNETES_PORT_7443_TCP_PORT": "7443",
        "KUBERNETES_PORT_7443_TCP_ADDR": "fd00::1",
    }
    assert ApiServerAddresses(on_host_network="127.0.0.1").variables(own) == {}


async def test_a_mounted_token_is_renewed_in_time(world: World) -> None:
    world.images.load("nginx:1.17.1")
    source = {"serviceAccountToken": {"path": "token", "expirationSeconds": 100}}
    volume = {"name": "v", "projected": {"sources": [source], "defaultMode": 0o644}}
    mount = {"name": "v", "mountPath": "/v"}
    async with world.running():
        await world.apply("p", container("c", "nginx:1.17.1", volumeMounts=[mount]), volumes=[volume])
        await world.clock.advance(1)
        (uid,) = [each["metadata"]["uid"] for each in world.api.objects(PODS)]
        where = str(next((world.root / "pods" / uid).rglob("v/token")))
        first = await world.read(where)
        await world.clock.advance(70)
        assert await world.read(where) == first
        await world.clock.advance(90)  # beyond four fifths of its life
        assert await world.read(where) != first


async def test_a_restarted_node_changes_nobodys_readiness(world: World) -> None:
    world.images.load("nginx:1.17.1")
    probes = {
        "startupProbe": {"exec": {"command": ["started"]}, "periodSeconds": 1},
        "readinessProbe": {"exec": {"command": ["ready"]}, "periodSeconds": 10, "failureThreshold": 2},
    }
    async with world.running():
        await world.apply("p", container("c", "nginx:1.17.1", **probes))
        await world.clock.advance(15)
        assert world.status("p")["containerStatuses"][0]["ready"]
    before = len(world.api.history)
    world.runtime.on_exec = lambda _id, command: ExecSyncResponse(b"", b"", 1)
    async with world.running():
        await world.clock.advance(5)
        (one,) = world.status("p")["containerStatuses"]
        assert (one["ready"], one["started"], one["restartCount"]) == (True, True, 0)
        assert not any(plural == "pods" for _, _, plural, _ in world.api.history[before:])
        await world.clock.advance(10)  # the second failure in a row counts
        assert not world.status("p")["containerStatuses"][0]["ready"]
