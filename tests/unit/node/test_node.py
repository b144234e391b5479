"""The whole way of a pod through the node: seen, started, shown, deleted."""

from __future__ import annotations

from tests.unit.node.node_world import NAMESPACE, World, container

from pullet.kube.scheme import NODES, PODS


async def test_a_pod_runs_and_says_so(world: World) -> None:
    world.images.publish("nginx:1.17.1")
    async with world.running():
        await world.apply("web", container())
        await world.clock.advance(1)

        status = world.status("web")
        assert status["phase"] == "Running"
        [shown] = status["containerStatuses"]
        assert shown["ready"]
        assert shown["containerID"].startswith("fake://")
        assert shown["image"] == "docker.io/library/nginx:1.17.1"
        assert status["podIP"]
        assert [event[1:] for event in world.events("web")] == [
            ("Normal", "Pulling", "spec.containers{c}", 'Pulling image "nginx:1.17.1"'),
            (
                "Normal",
                "Pulled",
                "spec.containers{c}",
                'Successfully pulled image "nginx:1.17.1" in 0s (0s including waiting). Image size: 1000 bytes.',
            ),
            ("Normal", "Created", "spec.containers{c}", "Container created"),
            ("Normal", "Started", "spec.containers{c}", "Container started"),
        ]


async def test_a_deleted_pod_is_stopped_and_its_object_removed(world: World) -> None:
    world.images.publish("nginx:1.17.1")
    async with world.running():
        await world.apply("web", container())
        await world.api.delete(PODS, NAMESPACE, "web")
        await world.clock.advance(3)

        assert world.pod("web") is None
        assert world.runtime.running() == {}
        assert await world.runtime.list_pod_sandbox() == []
        assert await world.runtime.list_containers() == []
        assert not list((world.root / "pods").iterdir())


async def test_the_node_registers_itself(world: World) -> None:
    async with world.running():
        [node] = world.api.objects(NODES)
        assert node["metadata"]["labels"]["kubernetes.io/hostname"] == "node1"
        conditions = {each["type"]: each["status"] for each in node["status"]["conditions"]}
        assert conditions["Ready"] == "True"


async def test_stopping_the_node_leaves_containers_running_and_the_next_one_adopts_them(world: World) -> None:
    world.images.publish("nginx:1.17.1")
    async with world.running():
        await world.apply("web", container())
        await world.clock.advance(1)
    before = world.runtime.running()
    assert list(before) == ["c"]
    async with world.running():
        await world.clock.advance(5)
        assert world.runtime.running() == before
        assert world.status("web")["containerStatuses"][0]["restartCount"] == 0
        assert len(world.runtime.called("create_container")) == 1


async def test_a_pod_deleted_while_the_node_was_down_is_removed(world: World) -> None:
    world.images.publish("nginx:1.17.1")
    async with world.running():
        await world.apply("web", container())
        await world.clock.advance(1)
    await world.api.delete(PODS, NAMESPACE, "web", grace_period_seconds=0)
    async with world.running():
        await world.clock.advance(5)
        assert await world.runtime.list_pod_sandbox() == []
