from __future__ import annotations

import asyncio

import pytest

from pullet.kit.tasks import Uninterrupted


async def test_it_gives_the_result_or_raises_the_error() -> None:
    async def fail() -> int:
        raise ValueError("no")

    async def work() -> int:
        return 3

    async with asyncio.TaskGroup() as group:
        uninterrupted = Uninterrupted(group)
        assert await uninterrupted.run(work) == 3
        with pytest.raises(ValueError, match="no"):
            await uninterrupted.run(fail)


@pytest.mark.parametrize("fails", [False, True])
async def test_a_cancelled_caller_waits_for_the_end_of_the_work(fails: bool) -> None:
    done = []
    gate = asyncio.Event()

    async def work() -> None:
        await gate.wait()
        done.append("work")
        if fails:
            raise ValueError("dropped")

    async with asyncio.TaskGroup() as group:
        uninterrupted = Uninterrupted(group)
        caller = group.create_task(uninterrupted.run(work))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for _ in range(2):
            caller.cancel()
            await asyncio.sleep(0)
            assert not caller.done()
        gate.set()
        with pytest.raises(asyncio.CancelledError):
            await caller
    assert done == ["work"]
