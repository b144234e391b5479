"""Worker threads, flights and locks: nothing runs on behind the back of whoever cancelled."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator

import pytest

from pullet.kit.locks import KeyedLock
from pullet.kit.tasks import SingleFlight, one_error, spawn
from pullet.kit.worker_threads import StopFlag, StoppedError, WorkerThreads


@pytest.fixture
async def threads() -> AsyncIterator[WorkerThreads]:
    pool = WorkerThreads("test", 2)
    yield pool
    await pool.aclose()


async def test_cancelling_waits_for_the_running_function(threads: WorkerThreads) -> None:
    begun, ended = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        threading.Event().wait(0.2)
        ended.set()

    task = asyncio.get_running_loop().create_task(threads.run(work))
    while not begun.is_set():
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


async def test_cancelling_asks_stoppable_work_to_stop(threads: WorkerThreads) -> None:
    begun = threading.Event()
    woken: list[str] = []

    def work(stop: StopFlag) -> None:
        stopped = threading.Event()
        stop.on_stop(stopped.set)
        stop.on_stop(lambda: woken.append("closed"))
        begun.set()
        stopped.wait(10)
        stop.check()

    task = asyncio.get_running_loop().create_task(threads.run_stoppable(work))
    while not begun.is_set():
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert woken == ["closed"]


def test_a_flag_already_set_calls_back_at_once_and_raises_on_check() -> None:
    flag, called = StopFlag(), []
    flag.stop()
    flag.on_stop(lambda: called.append(1))
    assert called == [1]
    with pytest.raises(StoppedError):
        flag.check()


async def test_one_flight_serves_all_who_ask_for_the_same() -> None:
    runs, go = 0, asyncio.Event()

    async def work() -> int:
        nonlocal runs
        runs += 1
        await go.wait()
        return 42

    async with asyncio.TaskGroup() as group:
        flights: SingleFlight[str, int] = SingleFlight(group)
        tasks = [group.create_task(flights.run("key", work)) for _ in range(3)]
        await asyncio.sleep(0)
        go.set()
    assert ([task.result() for task in tasks], runs) == ([42, 42, 42], 1)


async def test_a_flight_outlives_a_caller_that_leaves_but_not_the_last_one() -> None:
    cancelled = asyncio.Event()

    async def work() -> int:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return 1

    async with asyncio.TaskGroup() as group:
        flights: SingleFlight[str, int] = SingleFlight(group)
        first, second = (group.create_task(flights.run("key", work)) for _ in range(2))
        await asyncio.sleep(0.01)
        first.cancel()
        await asyncio.sleep(0.01)
        assert flights.is_flying("key")
        assert not cancelled.is_set()
        second.cancel()
        await asyncio.wait_for(cancelled.wait(), 5)
        assert not flights.is_flying("key")


async def test_every_waiter_gets_the_flights_error() -> None:
    async def work() -> int:
        await asyncio.sleep(0)
        raise ValueError("broken")

    async def ask(flights: SingleFlight[str, int]) -> str:
        try:
            await flights.run("key", work)
        except ValueError as error:
            return str(error)
        return ""

    async with asyncio.TaskGroup() as group:
        flights: SingleFlight[str, int] = SingleFlight(group)
        tasks = [group.create_task(ask(flights)) for _ in range(2)]
    assert [task.result() for task in tasks] == ["broken", "broken"]


async def test_the_lock_of_one_key_leaves_others_free() -> None:
    lock, order = KeyedLock(), []

    async def hold(key: str, name: str, seconds: float) -> None:
        async with lock.hold(key):
            order.append(f"+{name}")
            await asyncio.sleep(seconds)
            order.append(f"-{name}")

    async with asyncio.TaskGroup() as group:
        group.create_task(hold("a", "1", 0.1))
        group.create_task(hold("a", "2", 0))
        group.create_task(hold("b", "3", 0))
    assert order.index("-1") < order.index("+2")
    assert order.index("-3") < order.index("-1")


async def test_one_error_gives_the_cause_and_not_the_group() -> None:
    async def fail() -> None:
        raise ValueError("the cause")

    async def do() -> None:
        with one_error():
            async with asyncio.TaskGroup() as group:
                group.create_task(fail())
                group.create_task(asyncio.sleep(5))

    with pytest.raises(ValueError, match="the cause"):
        await do()


async def test_a_group_that_is_ending_closes_what_it_cannot_start() -> None:
    late = asyncio.sleep(1)

    async def start_late(group: asyncio.TaskGroup) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            with pytest.raises(RuntimeError, match="shutting down"):
                spawn(group, late)

    async def end_early() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(start_late(group))
            await asyncio.sleep(0)
            raise ValueError("ends the group")

    with pytest.raises(ExceptionGroup):
        await end_early()
    assert inspect.getcoroutinestate(late) == inspect.CORO_CLOSED
