"""The node's endpoints, asked through ASGI."""

from __future__ import annotations

import asyncio

import httpx2
from starlette.types import ASGIApp
from tests.unit.node.node_world import NAMESPACE, World, container


async def test_logs_metrics_and_pods(world: World) -> None:
    world.images.load("busybox:1.36")
    apps: list[ASGIApp] = []

    async def serve(app: ASGIApp) -> None:
        apps.append(app)
        await asyncio.Event().wait()

    world.serve = serve
    async with world.running():
        await world.apply("talk", container("c", "busybox:1.36", command=["sh", "-c", "echo hello; sleep 1; exit 0"]))
        await world.apply("stuck", container("c", "busybox:nope"))
        await world.clock.advance(3)
        transport = httpx2.ASGITransport(apps[0])
        async with httpx2.AsyncClient(transport=transport, base_url="http://node") as client:
            logs = await client.get(f"/containerLogs/{NAMESPACE}/talk/c")
            assert (logs.status_code, logs.text) == (200, "hello\n")
            previous = await client.get(f"/containerLogs/{NAMESPACE}/talk/c?previous=true")
            assert (previous.status_code, previous.text) == (200, "hello\n")
            stuck = await client.get(f"/containerLogs/{NAMESPACE}/stuck/c")
            assert stuck.status_code == 400
            assert stuck.text.startswith('container "c" in pod "stuck" is waiting to start: ')
            missing = await client.get(f"/containerLogs/{NAMESPACE}/nosuch/c")
            assert (missing.status_code, missing.text) == (404, 'pod "nosuch" does not exist\n')
            assert (await client.get("/healthz")).text == "ok"
            metrics = (await client.get("/metrics")).text
            assert 'kubelet_started_containers_total{container_type="container"} 2\n' in metrics
            assert 'present_locally="false",pull_policy="ifnotpresent",pull_required="true"' in metrics
            pods = (await client.get("/pods")).json()
            assert [pod["metadata"]["name"] for pod in pods["items"]] == ["talk", "stuck"]
