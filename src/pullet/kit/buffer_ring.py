"""Buffers that go round between a thread that fills them and one that reads them, and fail both ways.

A fast writer waits when all are full, so it never fills the memory, and goes on when half of them are free again, as
waking it for each would cost two threads' switching every time. Nothing is allocated or copied on the way, and the
buffer freed last is filled next, while the processor still has it at hand. When either side fails, the other is woken
with that failure instead of waiting for ever.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from pullet.kit.handover import Handover


class BufferRing(Handover):
    """One writer, one reader; `count` buffers of `size_bytes`, made when they are first needed."""

    def __init__(self, count: int, size_bytes: int) -> None:
        super().__init__()
        self._count, self._size_bytes = count, size_bytes
        self._made = 0
        self._free: list[memoryview] = []
        self._full: deque[memoryview] = deque()
        self._whole: deque[memoryview] = deque()  # the buffers that those in `_full` are the beginnings of

    def empty(self) -> memoryview:
        """A buffer to fill, waiting for one. Raises what `fail` was given."""
        with self._changed:
            while not self._free and self._made == self._count and self._failure is None:
                self._is_crowded = True
                self._changed.wait()
            self.check()
            if self._free:
                return self._free.pop()
            self._made += 1
        return memoryview(bytearray(self._size_bytes))

    def put(self, buffer: memoryview, count: int) -> None:
        """Hand over the first `count` bytes of a buffer that `empty` gave. Raises what `fail` was given."""
        with self._changed:
            self.check()
            self._full.append(buffer[:count])
            self._whole.append(buffer)
            self._changed.notify()

    def __iter__(self) -> Iterator[memoryview]:
        """What was put, in order, to its end; each piece is good until the next is asked for."""
        while True:
            with self._changed:
                while not self._full and not self._has_ended and self._failure is None:
                    self._changed.wait()
                self.check()
                if not self._full:
                    return
                piece, buffer = self._full.popleft(), self._whole.popleft()
            yield piece
            with self._changed:
                self._free.append(buffer)
                if self._is_crowded and 2 * len(self._free) >= self._count:
                    self._is_crowded = False
                    self._changed.notify()
