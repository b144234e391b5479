"""ensure_image seen from outside: events, waiting states, what the runtime and the journal were told."""

from __future__ import annotations

import base64
import json

import pytest
from tests.unit.node.node_world import NAMESPACE, World, container

from pullet.cri.errors import CriError, RegistryUnavailableError
from pullet.kube.scheme import PODS, SECRETS
from pullet.testing.cri_fakes import RemoteImage

PRIVATE = "registry.example.com/team/app:1.0"
LOGIN = ("anna", "s3cret")


async def _add_secret(world: World, name: str, login: tuple[str, str] = LOGIN) -> None:
    auths = {"auths": {"registry.example.com": {"username": login[0], "password": login[1]}}}
    data = {".dockerconfigjson": base64.b64encode(json.dumps(auths).encode()).decode()}
    secret = {"metadata": {"name": name}, "type": "kubernetes.io/dockerconfigjson", "data": data}
    await world.api.create(SECRETS, NAMESPACE, secret)


async def test_an_invalid_name_is_said_at_each_sync_and_no_runtime_is_asked(world: World) -> None:
    text = (
        'Failed to apply default image tag "Nginx:1.17.1": couldn\'t parse image name "Nginx:1.17.1": '
        "invalid reference format: repository name (library/Nginx) must be lowercase"
    )
    async with world.running():
        await world.apply("bad", container("c", "Nginx:1.17.1"))
        await world.clock.advance(13)
        assert world.waiting("bad") == ("InvalidImageName", text)
        assert [event[:3] for event in world.events("bad")] == [
            (3, "Warning", "InspectFailed"),
            (3, "Warning", "Failed"),
        ]
        assert world.images.called("image_status") == []
        assert world.images.called("pull_image") == []


async def test_an_inspect_failure_names_no_image(world: World) -> None:
    world.images.fail_always("image_status", CriError("disk on fire"))
    async with world.running():
        await world.apply("p", container())
        await world.clock.advance(1)
        assert world.waiting("p") == ("ImageInspectError", 'Failed to inspect image "": disk on fire')
        assert world.events("p")[0][2:] == (
            "InspectFailed",
            "spec.containers{c}",
            'Failed to inspect image "": disk on fire',
        )


async def test_a_registry_that_is_unavailable_has_its_own_reason(world: World) -> None:
    world.images.fail_always("pull_image", RegistryUnavailableError("RegistryUnavailable: no route"))
    async with world.running():
        await world.apply("p", container())
        assert world.waiting("p") == (
            "RegistryUnavailable",
            "image pull failed for nginx:1.17.1 because the registry is unavailable: no route",
        )


async def test_always_pulls_again_while_present_and_never_asks_for_presence_first(world: World) -> None:
    world.images.load("nginx:latest")
    async with world.running():
        await world.apply("p", container("c", "nginx:latest"))
        await world.clock.advance(1)
        assert world.images.called("pull_image") == ["nginx:latest"]
        assert "nginx:latest" not in world.images.called("image_status")
        assert [event[2] for event in world.events("p")] == ["Pulling", "Pulled", "Created", "Started"]


async def test_credentials_are_tried_in_spec_order_and_only_one_pull_is_told_of(world: World) -> None:
    world.images.publish(PRIVATE, RemoteImage("app", allowed=frozenset({LOGIN})))
    await _add_secret(world, "wrong", ("eve", "guess"))
    await _add_secret(world, "right")
    async with world.running():
        await world.apply("p", container("c", PRIVATE), imagePullSecrets=[{"name": "wrong"}, {"name": "right"}])
        await world.clock.advance(1)
        assert world.status("p")["phase"] == "Running"
        assert [auth.username if auth else None for auth in world.images.auths] == ["eve", "anna"]
        assert [event[2] for event in world.events("p")] == ["Pulling", "Pulled", "Created", "Started"]
        [entry] = world.journal.entries
        assert entry.credential.startswith("secret shop/right")
        assert "s3cret" not in repr(entry)


async def test_why_a_registry_refused_is_told_in_every_pass_until_it_works(world: World) -> None:
    world.images.publish(PRIVATE, RemoteImage("app", allowed=frozenset({LOGIN})))
    refusal = CriError("...: 401 Unauthorized", cause="who is that?", next_step="log in")
    world.images.fail_always("pull_image", refusal)
    await _add_secret(world, "wrong", ("eve", "guess"))
    needs = "log in; image registry.example.com/team/app needs a pull secret with the key registry.example.com"
    async with world.running():
        await world.apply("p", container("c", PRIVATE), imagePullSecrets=[{"name": "wrong"}, {"name": "nosuch"}])
        await world.clock.advance(5)
        assert len(world.journal.entries) > 1
        for entry in world.journal.entries:
            assert entry.cause == "who is that?"
            assert entry.next_step == (
                f"{needs}; secret wrong has the key registry.example.com, whose login the registry refused; "
                "secret nosuch does not exist in the pod's namespace"
            )
        world.images.fail_always("pull_image", None)
        await _add_secret(world, "nosuch")
        await world.clock.advance(40)
        assert world.status("p")["phase"] == "Running"
        assert (world.journal.entries[-1].cause, world.journal.entries[-1].next_step) == ("", "")


async def test_a_missing_pull_secret_is_said_on_the_pod_at_each_sync_and_the_pull_goes_on(world: World) -> None:
    world.images.publish("nginx:1.17.1")
    async with world.running():
        await world.apply("p", container(), imagePullSecrets=[{"name": "nosuch"}])
        await world.clock.advance(1)
        assert world.status("p")["phase"] == "Running"
        [event] = [each for each in world.events("p") if each[2] == "FailedToRetrieveImagePullSecret"]
        assert event[3:] == (
            "",
            "Unable to retrieve some image pull secrets (nosuch); attempting to pull the image may not succeed.",
        )
        assert event[0] == 2


async def test_an_image_pulled_with_a_secret_is_not_for_every_pod(world: World) -> None:
    """Golden 18: B without a secret must pull (and fails), C with Never is told it is not present."""
    world.images.publish(PRIVATE, RemoteImage("app", allowed=frozenset({LOGIN})))
    await _add_secret(world, "login")
    await _add_secret(world, "same-content")
    async with world.running():
        await world.apply("a", container("c", PRIVATE), imagePullSecrets=[{"name": "login"}])
        await world.apply("b", container("c", PRIVATE))
        await world.apply("c", container("c", PRIVATE, imagePullPolicy="Never"))
        pulls = len(world.images.called("pull_image"))
        await world.apply("d", container("c", PRIVATE), imagePullSecrets=[{"name": "same-content"}])
        await world.clock.advance(1)
        assert world.status("a")["phase"] == "Running"
        assert world.waiting("b")[0] in ("ErrImagePull", "ImagePullBackOff")
        assert world.waiting("c")[0] == "ErrImageNeverPull"
        assert world.status("d")["phase"] == "Running"
        assert len(world.images.called("pull_image")) == pulls


async def test_proofs_of_access_survive_a_restart_of_the_node(world: World) -> None:
    world.images.publish(PRIVATE, RemoteImage("app", allowed=frozenset({LOGIN})))
    await _add_secret(world, "login")
    async with world.running():
        await world.apply("a", container("c", PRIVATE), imagePullSecrets=[{"name": "login"}])
    async with world.running():
        await world.apply("b", container("c", PRIVATE, imagePullPolicy="Never"))
        assert world.waiting("b")[0] == "ErrImageNeverPull"
        await world.apply("d", container("c", PRIVATE, imagePullPolicy="Never"), imagePullSecrets=[{"name": "login"}])
        await world.clock.advance(1)
        assert world.status("d")["phase"] == "Running"


async def test_pulls_go_one_at_a_time_by_default(world: World) -> None:
    world.images.publish("one:1.0")
    world.images.publish("two:1.0")
    world.images.pull_seconds = 4
    async with world.running():
        await world.apply("one", container("c", "one:1.0"))
        await world.apply("two", container("c", "two:1.0"))
        await world.clock.advance(9)
        pulled = [event[4] for name in ("one", "two") for event in world.events(name) if event[2] == "Pulled"]
        assert pulled == [
            'Successfully pulled image "one:1.0" in 4s (4s including waiting). Image size: 1000 bytes.',
            'Successfully pulled image "two:1.0" in 4s (8s including waiting). Image size: 1000 bytes.',
        ]


async def test_deleting_a_pod_that_pulls_stops_its_wait_at_once(world: World) -> None:
    world.images.publish("slow:1.0")
    world.images.pull_seconds = 1000
    async with world.running():
        await world.apply("p", container("c", "slow:1.0"))
        await world.api.delete(PODS, NAMESPACE, "p")
        await world.clock.advance(3)
        assert world.pod("p") is None
        [entry] = world.journal.entries
        assert (entry.outcome, entry.decision, entry.image_ref) == ("stopped", "Pull", "")
        assert entry.summary.startswith("stopped before it was done")


@pytest.mark.parametrize("policy", ["IfNotPresent", "Always"])
async def test_an_image_volume_is_ensured_with_events_on_the_pod(world: World, policy: str) -> None:
    """Golden 17: pod-level events, before those of the container; the volume is ensured again by the next sync."""
    world.images.load("busybox:1.36")
    world.images.publish("data:v1")
    volume = {"name": "v", "image": {"reference": "data:v1", "pullPolicy": policy}}
    mounted = container("c", "busybox:1.36", volumeMounts=[{"name": "v", "mountPath": "/data"}])
    async with world.running():
        await world.apply("p", mounted, volumes=[volume])
        await world.clock.advance(1)
        events = world.events("p")
        assert [(event[2], event[3]) for event in events[:4]] == [
            ("Pulling", ""),
            ("Pulled", ""),
            ("Pulled", "spec.containers{c}"),
            ("Created", "spec.containers{c}"),
        ]
        [mount] = [m for m in world.runtime.config_of(world.runtime.running()["c"]).mounts if m.image]
        assert (mount.container_path, mount.is_readonly) == ("/data", True)
        assert len(world.images.called("pull_image")) == (2 if policy == "Always" else 1)


async def test_a_failing_image_volume_holds_back_only_the_container_that_mounts_it(world: World) -> None:
    world.images.load("busybox:1.36")
    volume = {"name": "v", "image": {"reference": "data:v9", "pullPolicy": "Never"}}
    mounted = container("c", "busybox:1.36", volumeMounts=[{"name": "v", "mountPath": "/data"}])
    async with world.running():
        await world.apply("p", mounted, container("free", "busybox:1.36"), volumes=[volume])
        await world.clock.advance(1)
        assert world.waiting("p") == (
            "ErrImageNeverPull",
            'Container image "data:v9" is not present with pull policy of Never',
        )
        assert "running" in world.state("p", "free")
