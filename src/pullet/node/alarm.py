"""An event that also rings by itself after a while: how a worker waits for news or for its next turn."""

from __future__ import annotations

import asyncio

from pullet.kit.clock import Clock


class Alarm:
    """Rings when told to, or when the time given to `wait` is over; rings add up to one."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._event = asyncio.Event()

    def ring(self) -> None:
        """Wake the waiter, now or at its next `wait`."""
        self._event.set()

    async def wait(self, seconds: float | None = None) -> None:
        """Until the next ring, at most `seconds`; None waits for a ring alone."""
        if seconds is None or self._event.is_set():
            await self._event.wait()
        else:
            async with asyncio.TaskGroup() as group:
                sleeper = group.create_task(self._ring_after(seconds))
                await self._event.wait()
                sleeper.cancel()
        self._event.clear()

    async def _ring_after(self, seconds: float) -> None:
        await self._clock.sleep(seconds)
        self._event.set()
