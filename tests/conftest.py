"""Shared fixtures: asyncio under anyio, and no blocking calls on the loop."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from blockbuster import BlockBuster, blockbuster_ctx
from hypothesis import settings

settings.register_profile("dev", max_examples=25, deadline=None)
settings.register_profile("ci", max_examples=200, deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def blockbuster() -> Iterator[BlockBuster]:
    """Any blocking call of ours made on the event loop fails the test."""
    with blockbuster_ctx("pullet") as guard:
        yield guard


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked root fail loudly when required parts are missing, and skip loudly otherwise."""
    required = set(filter(None, os.environ.get("PULLET_REQUIRE", "").split(",")))
    missing = sorted(part for part in required if shutil.which(part, path=f"{os.environ['PATH']}:/usr/sbin") is None)
    if missing:
        raise pytest.UsageError(f"PULLET_REQUIRE names parts that are not on this machine: {', '.join(missing)}")
    if os.geteuid() != 0:
        for item in items:
            if item.get_closest_marker("root"):
                if required:
                    raise pytest.UsageError("the tests on real parts need root")
                item.add_marker(pytest.mark.skip(reason="needs root"))
