"""One API server in this process, spoken to over real TLS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from tests.unit.apiserver.api_world import Api, client_tls

from pullet.apiserver.server import ApiServer
from pullet.apiserver.settings import ApiServerSettings
from pullet.kit.worker_threads import WorkerThreads


@pytest.fixture
def settings() -> ApiServerSettings:
    return ApiServerSettings(port=0)


@pytest.fixture
async def server(tmp_path: Path, settings: ApiServerSettings) -> AsyncIterator[ApiServer]:
    async with ApiServer(root=tmp_path / "apiserver", settings=settings) as server:
        running = asyncio.create_task(server.run())
        yield server
        running.cancel()
        await asyncio.wait([running])


@pytest.fixture
async def threads() -> AsyncIterator[WorkerThreads]:
    pool = WorkerThreads("test", 1)
    yield pool
    await pool.aclose()


@pytest.fixture
async def api(server: ApiServer, tmp_path: Path, threads: WorkerThreads) -> AsyncIterator[Api]:
    context = await threads.run(client_tls, server, tmp_path, "admin", ["system:masters"])
    limits = httpx2.Limits(max_connections=None)
    async with httpx2.AsyncClient(base_url=server.url, verify=context, limits=limits, trust_env=False) as http:
        made = Api(server, http)
        account = {"metadata": {"name": "default"}}
        await made.ok("POST", "/api/v1/namespaces/default/serviceaccounts", account)
        yield made
