"""Children that crash start again; children that were told to stop do not."""

from __future__ import annotations

import asyncio

import pytest

from pullet.kit.tasks import Supervisor, one_error
from pullet.testing.clock import FakeClock


async def test_a_crashed_child_starts_again_after_its_pause() -> None:
    clock, starts = FakeClock(), 0

    async def child() -> None:
        nonlocal starts
        starts += 1
        if starts < 3:
            raise ValueError("crash")
        await asyncio.Event().wait()

    async with Supervisor(clock=clock) as supervisor:
        supervisor.start("child", child, restart_seconds=5.0)
        await clock.advance(4.0)
        assert starts == 1
        await clock.advance(6.5)
        assert starts == 3


async def test_a_child_that_fails_because_it_is_cancelled_ends() -> None:
    async def child() -> None:
        async with asyncio.TaskGroup() as group:

            async def stubborn() -> None:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    raise RuntimeError("no more tasks in a group that shuts down") from None

            group.create_task(stubborn())
            await asyncio.Event().wait()

    async with asyncio.timeout(5), Supervisor(clock=FakeClock()) as supervisor:
        task = supervisor.start("child", child, restart_seconds=1.0)
        await asyncio.sleep(0)
    assert task.cancelled()


async def test_a_child_whose_group_fails_starts_again() -> None:
    clock, starts = FakeClock(), 0

    async def child() -> None:
        nonlocal starts
        starts += 1
        with one_error():
            async with asyncio.TaskGroup() as group:

                async def fail() -> None:
                    await asyncio.sleep(0)
                    raise OSError("no space left on device")

                group.create_task(fail())

    async with Supervisor(clock=clock) as supervisor:
        supervisor.start("child", child, restart_seconds=5.0)
        await clock.advance(11.0)
        assert starts == 3


async def test_a_child_without_restart_takes_the_group_down() -> None:
    async def child() -> None:
        raise ValueError("crash")

    async def supervise() -> None:
        async with Supervisor(clock=FakeClock()) as supervisor:
            supervisor.start("child", child)
            await asyncio.sleep(1)

    with pytest.raises(ExceptionGroup):
        await supervise()
