"""The `world` fixture: a node's surroundings on fakes and fake time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.unit.node.node_world import ListJournal, World

from pullet.kit.worker_threads import WorkerThreads
from pullet.node.settings import NodeSettings
from pullet.testing.api_fakes import FakeApi
from pullet.testing.clock import FakeClock
from pullet.testing.cri_fakes import FakeRuntimeService
from pullet.testing.cri_image_fakes import FakeImageService


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    threads = WorkerThreads("node", 4)
    clock = FakeClock(threads=[threads])
    images = FakeImageService(clock)
    async with FakeRuntimeService(clock, images, threads=threads) as runtime:
        yield World(
            clock=clock,
            api=FakeApi(clock),
            images=images,
            runtime=runtime,
            journal=ListJournal(),
            root=tmp_path / "node",
            settings=NodeSettings(resolv_conf="/nonexistent"),
            threads=threads,
        )
    await threads.aclose()
