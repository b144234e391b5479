"""Clocks for tests: one that moves only when told to, one that is faster than the machine's."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from pullet.kit.clock import SystemClock
from pullet.kit.worker_threads import WorkerThreads

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class FakeClock:
    """Clock for tests: `advance()` moves time and wakes sleepers in order of their deadlines.

    Time stands still while one of the `threads` pools is at work for somebody on the loop.
    """

    def __init__(self, start: datetime = EPOCH, *, threads: Sequence[WorkerThreads] = ()) -> None:
        self._start = start
        self._threads = tuple(threads)
        self._elapsed_seconds = 0.0
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        """Start plus what was advanced."""
        return self._start + timedelta(seconds=self._elapsed_seconds)

    def monotonic(self) -> float:
        """Seconds advanced so far."""
        return self._elapsed_seconds

    async def sleep(self, seconds: float) -> None:
        """Wait until `advance` moved time far enough."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._elapsed_seconds + seconds, next(self._order), future))
        await future

    async def advance(self, seconds: float) -> None:
        """Move time forward, waking each sleeper at its own moment and letting it run."""
        target = self._elapsed_seconds + seconds
        await self._settle()
        while self._sleepers and self._sleepers[0][0] <= target:
            deadline, _, future = heapq.heappop(self._sleepers)
            self._elapsed_seconds = max(self._elapsed_seconds, deadline)
            if not future.done():
                future.set_result(None)
            await self._settle()
        self._elapsed_seconds = target
        await self._settle()

    async def _settle(self) -> None:
        quiet_turns = 0
        while quiet_turns < 20:
            await asyncio.sleep(0)
            quiet_turns += 1
            if not all(pool.is_idle for pool in self._threads):
                quiet_turns = 0
                await asyncio.sleep(0.0005)


class FastClock:
    """A clock on which `factor` seconds pass within one: real work goes on beside waits that are shorter."""

    def __init__(self, factor: float) -> None:
        self._machine, self._factor = SystemClock(), factor
        self._began, self._began_monotonic = self._machine.now(), self._machine.monotonic()

    def now(self) -> datetime:
        """When it was made, and what passed since."""
        return self._began + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        """Seconds passed since it was made."""
        return (self._machine.monotonic() - self._began_monotonic) * self._factor

    async def sleep(self, seconds: float) -> None:
        """Wait until so many of its seconds have passed."""
        await self._machine.sleep(seconds / self._factor)
