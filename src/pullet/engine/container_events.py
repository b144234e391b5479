"""Container events to whoever listens: one bounded queue per listener.

A listener that falls behind by more than the queue holds is cut off: its iterator ends, and it lists anew, as
the kubelet does when its event stream breaks. Nothing is dropped in silence.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from pullet.cri.types import ContainerEvent

QUEUE_SIZE: Final = 1000


class ContainerEvents:
    """The broadcaster of one engine; used on the event loop alone."""

    def __init__(self) -> None:
        self._listeners: set[asyncio.Queue[ContainerEvent | None]] = set()

    def publish(self, event: ContainerEvent) -> None:
        """Hand the event to every listener, without waiting."""
        for queue in list(self._listeners):
            if queue.full():
                self._listeners.discard(queue)
                queue.get_nowait()  # room for the end mark; this listener has lost events anyway
                queue.put_nowait(None)
            else:
                queue.put_nowait(event)

    def subscribe(self) -> AsyncIterator[ContainerEvent]:
        """Events from now on; closing the iterator ends the subscription."""
        queue: asyncio.Queue[ContainerEvent | None] = asyncio.Queue(QUEUE_SIZE)
        self._listeners.add(queue)
        return self._iterate(queue)

    async def _iterate(self, queue: asyncio.Queue[ContainerEvent | None]) -> AsyncIterator[ContainerEvent]:
        try:
            while (event := await queue.get()) is not None:
                yield event
        finally:
            self._listeners.discard(queue)
