"""A node in a process of its own, to be killed: forked from a server that has everything imported already."""

from __future__ import annotations

import asyncio
import importlib
import multiprocessing
import os
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from tests.faults.node_side import open_node_side
from tests.faults.pull_world import open_world

from pullet.kit import faults
from pullet.testing.fake_registry import FakeRegistry

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([__name__])
END_SECONDS = 60.0


def die_pulling(armed: str, directory: Path, urls: tuple[str, ...]) -> int | None:
    """Let a node below `directory` pull with fault points `armed`; gives its exit code, None if it did not end.

    Blocking.
    """
    victim = _CONTEXT.Process(target=_pull, args=(armed, directory, urls))
    victim.start()
    return end_of(victim)


def kill_in_storm(directory: Path, registry: FakeRegistry, seed: int, after_requests: int) -> None:
    """Let a node live through a storm, and kill it when it has asked for so many blobs. Blocking."""
    registry.clear_log()
    victim = _CONTEXT.Process(target=_storm, args=(directory, registry.url, seed))
    victim.start()
    deadline = time.monotonic() + END_SECONDS
    try:
        while registry.blob_requests < after_requests:
            assert victim.is_alive(), f"the storm ended with {victim.exitcode}"
            assert time.monotonic() < deadline, f"only {registry.blob_requests} blobs were asked for"
            time.sleep(0.002)
    finally:
        victim.kill()
        victim.join()


def _storm(directory: Path, url: str, seed: int) -> None:
    from tests.faults.test_pull_storm import storm_without_end  # here: it imports this module

    asyncio.run(storm_without_end(directory, url, seed))


def end_of(victim: ForkServerProcess) -> int | None:
    """Wait for the end within the bound; whatever happens, the process is gone afterwards. Blocking."""
    victim.join(END_SECONDS)
    code = victim.exitcode
    victim.kill()
    victim.join()
    return code


def _pull(armed: str, directory: Path, urls: tuple[str, ...]) -> None:
    os.environ["PULLET_FAULTS"] = armed
    importlib.reload(faults)
    asyncio.run(_ensure(directory, urls))


async def _ensure(directory: Path, urls: tuple[str, ...]) -> None:
    async with (
        open_world(directory / "store", urls=urls) as world,
        open_node_side(directory / "node", world.service) as node,
    ):
        await node.ensure()
