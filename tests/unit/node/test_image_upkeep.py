"""Garbage collection, rate limit, record files, recovery, static pods."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from tests.unit.node.node_world import World, container

from pullet.kube.scheme import PODS
from pullet.node.image_gc_manager import ImageGCError, ImageGCManager
from pullet.node.image_puller import TokenBucket
from pullet.node.machine import DiskSpace
from pullet.node.metrics import NodeMetrics
from pullet.node.pull_records import PullRecords
from pullet.node.settings import NodeSettings
from pullet.policy.image_gc import ImageGCPolicy
from pullet.policy.pull_record import record_file_name
from pullet.policy.wording import Wording
from pullet.testing.clock import FakeClock
from pullet.testing.cri_fakes import RemoteImage


class _Events:
    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    def event(self, involved: dict[str, object], event_type: str, reason: str, message: str, /) -> None:
        self.seen.append((reason, message))


def _manager(world: World, events: _Events, available_bytes: int) -> ImageGCManager:
    return ImageGCManager(
        images=world.images,
        runtime=world.runtime,
        policy=ImageGCPolicy(),
        pull_manager=None,
        events=events,
        node={"kind": "Node", "name": "node1"},
        wording=Wording(),
        metrics=NodeMetrics(),
        clock=world.clock,
        disk_space=lambda: DiskSpace(10_000, available_bytes, 0),
        threads=world.threads,
    )


async def test_a_full_disk_frees_old_images_but_none_in_use_pinned_or_young(world: World) -> None:
    world.images.load("used:1.0", RemoteImage("used", size_bytes=2000))
    world.images.load("old:1.0", RemoteImage("old", size_bytes=2000))
    world.images.load("pinned:1.0", RemoteImage("pinned", size_bytes=2000), is_pinned=True)
    async with world.running():
        await world.apply("p", container("c", "used:1.0"))
        events = _Events()
        manager = _manager(world, events, available_bytes=1000)  # 90 % used: 1000 bytes must go
        with pytest.raises(ImageGCError, match=r"Failed to free sufficient space"):
            await manager.collect()
        assert world.images.called("remove_image") == []  # all younger than two minutes
        await world.clock.advance(200)
        world.images.load("young:1.0", RemoteImage("young", size_bytes=2000))
        assert await manager.collect() == 2000
        names = {tag for image in await world.images.list_images() for tag in image.repo_tags}
        assert names == {
            "docker.io/library/used:1.0",
            "docker.io/library/pinned:1.0",
            "docker.io/library/young:1.0",
        }
        assert events.seen == [
            (
                "FreeDiskSpaceFailed",
                "Insufficient free disk space on the node's image filesystem (90% of 9.8 KiB used). Failed to free "
                "sufficient space by deleting unused images (freed 0 bytes). Investigate disk usage, as it could be "
                "used by active images, logs, volumes, or other data.",
            )
        ]


async def test_tokens_refill_with_time() -> None:
    clock = FakeClock()
    bucket = TokenBucket(rate=2, burst=2, clock=clock)
    assert [bucket.take(), bucket.take(), bucket.take()] == [True, True, False]
    await clock.advance(0.5)
    assert [bucket.take(), bucket.take()] == [True, False]
    assert TokenBucket(rate=0, burst=0, clock=clock).take()
    assert not TokenBucket(rate=1, burst=0, clock=clock).take()


async def test_beyond_the_rate_a_pull_fails_like_any_other(world: World) -> None:
    world.settings = msgspec.structs.replace(NodeSettings(), registry_pull_qps=1, registry_burst=1)
    world.images.publish("one:1.0")
    world.images.publish("two:1.0")
    async with world.running():
        await world.apply("p", container("a", "one:1.0"), container("b", "two:1.0"))
        assert world.waiting("p", "b")[1].endswith("pull QPS exceeded")
        assert 'Failed to pull image "two:1.0": pull QPS exceeded' in [event[4] for event in world.events("p")]


async def test_the_record_of_an_anonymous_pull_is_a_kubelets(world: World) -> None:
    world.images.publish("nginx:1.17.1")
    async with world.running():
        await world.apply("p", container())
    image = world.images.find("nginx:1.17.1")
    assert image is not None
    path = world.root / "image_manager" / "pulled" / record_file_name(image.id)
    assert json.loads(await world.read(str(path))) == {
        "kind": "ImagePulledRecord",
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "lastUpdatedTime": "2026-01-01T00:00:00Z",
        "imageRef": image.id,
        "credentialMapping": {"nginx": {"nodePodsAccessible": True}},
    }
    assert path.stat().st_mode & 0o777 == 0o600
    assert not list((world.root / "image_manager" / "pulling").iterdir())


async def test_an_intent_left_by_a_crash_means_that_everybody_must_prove_access(world: World) -> None:
    """Spec 11.3: the image came by a pull nobody remembers the credential of."""
    world.images.load("docker.io/library/nginx:1.17.1")

    def leave_intent() -> None:
        records = PullRecords(world.root)
        records.open()
        records.write_intent("docker.io/library/nginx:1.17.1")

    await world.threads.run(leave_intent)
    never = container("c", "docker.io/library/nginx:1.17.1", imagePullPolicy="Never")
    async with world.running():
        await world.apply("p", never)
        assert world.waiting("p")[0] == "ErrImageNeverPull"
        assert not list((world.root / "image_manager" / "pulling").iterdir())


async def test_manifests_in_the_static_directory_become_pods(world: World, tmp_path: Path) -> None:
    manifests = tmp_path / "manifests"
    manifests.mkdir()
    text = 'apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: c, image: "nginx:1.17.1"}]}\n'
    (manifests / "web.yaml").write_text(text)
    (manifests / "broken.yaml").write_text("a: [")
    world.settings = msgspec.structs.replace(world.settings, static_pod_path=str(manifests))
    world.images.load("nginx:1.17.1")
    async with world.running():
        await world.clock.advance(1)
        assert [pod["metadata"]["name"] for pod in world.api.objects(PODS)] == ["web-node1"]
        assert list(world.runtime.running()) == ["c"]
        await world.threads.run((manifests / "web.yaml").unlink)
        await world.clock.advance(25)
        assert world.api.objects(PODS) == []
        assert world.runtime.running() == {}
