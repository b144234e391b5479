"""Recorded timelines of a real cluster, replayed in fake time: what is written when, and how often it counts."""

from __future__ import annotations

import itertools

import pytest
from tests.unit.node.node_world import World, container

MISSING = (
    'rpc error: code = NotFound desc = failed to pull and unpack image "docker.io/library/nginx:1.17.5": '
    "failed to resolve image: docker.io/library/nginx:1.17.5: not found"
)


async def test_a_missing_tag_is_tried_at_growing_distances(world: World) -> None:
    """Golden 07: attempts at about 0, 13, 42, 85, 171 and 344 s for windows of 10, 20, 40, 80 and 160 s."""
    async with world.running():
        await world.apply("nginx", container("nginx", "nginx:1.17.5"))
        await world.clock.advance(400)

        pulls = [call for call in world.runtime.calls if call.method == "run_pod_sandbox"]
        assert len(pulls) == 1
        attempts = [second for second, count, reason, _ in world.event_log("nginx") if reason == "Pulling"]
        windows = [10, 20, 40, 80, 160]
        gaps = [later - earlier for earlier, later in itertools.pairwise(attempts)]
        for gap, window in zip(gaps, windows, strict=False):
            assert window <= gap < window + 15
        assert world.waiting("nginx", "nginx") in (
            ("ImagePullBackOff", f'Back-off pulling image "nginx:1.17.5": ErrImagePull: {MISSING}'),
            ("ErrImagePull", MISSING),
        )


async def test_the_first_minute_of_a_missing_tag(world: World) -> None:
    """Golden 07: status lags one sync, events carry counts, two budgets."""
    async with world.running():
        await world.apply("nginx", container("nginx", "nginx:1.17.5"))
        assert world.waiting("nginx", "nginx") == ("ErrImagePull", MISSING)
        assert [event[:3] for event in world.events("nginx")] == [
            (1, "Normal", "Pulling"),
            (1, "Warning", "Failed"),
            (1, "Warning", "Failed"),
            (1, "Normal", "BackOff"),
            (1, "Warning", "Failed"),
        ]
        await world.clock.advance(12.4)
        assert world.waiting("nginx", "nginx")[0] == "ErrImagePull"
        await world.clock.advance(0.2)  # the second sync shows the back-off and pulls again
        assert world.waiting("nginx", "nginx") == (
            "ImagePullBackOff",
            f'Back-off pulling image "nginx:1.17.5": ErrImagePull: {MISSING}',
        )
        await world.clock.advance(48)
        assert world.events("nginx") == [
            (3, "Normal", "Pulling", "spec.containers{nginx}", 'Pulling image "nginx:1.17.5"'),
            (3, "Warning", "Failed", "spec.containers{nginx}", f'Failed to pull image "nginx:1.17.5": {MISSING}'),
            (3, "Warning", "Failed", "spec.containers{nginx}", "Error: ErrImagePull"),
            (3, "Normal", "BackOff", "spec.containers{nginx}", 'Back-off pulling image "nginx:1.17.5"'),
            (3, "Warning", "Failed", "spec.containers{nginx}", "Error: ImagePullBackOff"),
        ]
        conditions = {each["type"]: each for each in world.status("nginx")["conditions"]}
        assert conditions["PodReadyToStartContainers"]["status"] == "True"
        assert conditions["Ready"]["message"] == "containers with unready status: [nginx]"
        assert world.status("nginx")["phase"] == "Pending"


async def test_a_good_container_runs_beside_one_whose_image_is_missing(world: World) -> None:
    """Golden 07, pod `two`: READY 1/2, phase Pending."""
    world.images.load("busybox:1.36")
    async with world.running():
        await world.apply("two", container("good", "busybox:1.36"), container("bad", "nginx:1.17.5"))
        await world.clock.advance(1)
        assert "running" in world.state("two", "good")
        assert world.waiting("two", "bad")[0] == "ErrImagePull"
        assert world.status("two")["phase"] == "Pending"


async def test_never_is_checked_again_at_each_sync_and_starts_once_the_image_is_there(world: World) -> None:
    """Golden 05: seven checks in 67 s, no growth, not one pull; a preload is picked up at the next sync."""
    text = 'Container image "nginx:1.16" is not present with pull policy of Never'
    async with world.running():
        await world.apply("absent", container("c", "nginx:1.16", imagePullPolicy="Never"))
        await world.clock.advance(67)
        assert world.waiting("absent") == ("ErrImageNeverPull", text)
        assert world.events("absent") == [
            (7, "Warning", "ErrImageNeverPull", "spec.containers{c}", text),
            (7, "Warning", "Failed", "spec.containers{c}", "Error: ErrImageNeverPull"),
        ]
        world.images.load("nginx:1.16")
        await world.clock.advance(15)
        assert world.status("absent")["phase"] == "Running"
        assert world.events("absent")[2][2:] == (
            "Pulled",
            "spec.containers{c}",
            'Container image "nginx:1.16" already present on machine and can be accessed by the pod',
        )
        assert world.images.called("pull_image") == []


@pytest.mark.parametrize(("image", "pulls_each_time"), [("crash:latest", True), ("crashifnp:1.0", False)])
async def test_a_crashing_container_waits_longer_each_time(world: World, image: str, pulls_each_time: bool) -> None:
    """Golden 12: starts at about 0, 2, 15, 38, 88, 173 and 338 s: 0, 10, 20, 40, 80, 160 s after each exit."""
    world.images.publish(image)
    async with world.running():
        await world.apply("crash", container("crash", image, command=["sh", "-c", "sleep 2; exit 1"]))
        await world.clock.advance(460)

        starts = [second for second, _, reason, _ in world.event_log("crash") if reason == "Started"]
        gaps = [later - earlier - 2 for earlier, later in itertools.pairwise(starts)]
        # pulled anew each time, the seventh start is over the budget of 25 events
        assert len(starts) == (6 if pulls_each_time else 7)
        for gap, window in zip(gaps, [0, 10, 20, 40, 80, 160], strict=False):
            assert window <= gap <= window + 15
        [shown] = world.status("crash")["containerStatuses"]
        assert shown["restartCount"] == 6
        assert shown["state"]["waiting"]["reason"] == "CrashLoopBackOff"
        assert shown["lastState"]["terminated"]["exitCode"] == 1
        pulls = world.images.called("pull_image")
        assert len(pulls) == (7 if pulls_each_time else 1)
        uid = world.pod("crash")["metadata"]["uid"]  # type: ignore[index]  # the pod is there
        text = f"Back-off restarting failed container crash in pod crash_shop({uid})"
        assert any(
            event[1:] == ("Warning", "BackOff", "spec.containers{crash}", text) for event in world.events("crash")
        )


async def test_a_crash_shows_error_then_the_back_off(world: World) -> None:
    """Golden 12: Running → Error → Running(1) → Error; CrashLoopBackOff is written by the sync that restarts."""
    world.images.publish("crash:1.0")
    async with world.running():
        await world.apply("crash", container("crash", "crash:1.0", command=["sh", "-c", "sleep 2; exit 1"]))
        await world.clock.advance(20)
        seen = []
        for _, _, plural, obj in world.api.history:
            for shown in (obj.get("status") or {}).get("containerStatuses") or () if plural == "pods" else ():
                [(name, state)] = shown["state"].items()
                seen.append((state.get("reason", name), shown["restartCount"]))
        assert list(dict.fromkeys(seen)) == [
            ("ContainerCreating", 0),
            ("running", 0),
            ("Error", 0),
            ("running", 1),
            ("Error", 1),
            ("CrashLoopBackOff", 1),
            ("running", 2),
            ("Error", 2),
        ]
