"""A queue of byte pieces between two threads, bounded by bytes, that fails both ways.

The writer waits when the reader is behind, so a fast source never fills the memory; it goes on when half of the room is
free, as waking it for every piece would cost two threads' switching each time. When either side fails, the other is
woken with that failure instead of waiting for ever.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from pullet.kit.handover import Handover


class ByteChannel(Handover):
    """One writer, one reader. A single piece may exceed the bound; then it travels alone."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__()
        self._max_bytes = max_bytes
        self._pieces: deque[bytes] = deque()
        self._held_bytes = 0

    def put(self, piece: bytes) -> None:
        """Hand a piece over, waiting for room. Raises what `fail` was given."""
        with self._changed:
            while self._held_bytes and self._held_bytes + len(piece) > self._max_bytes and self._failure is None:
                self._is_crowded = True
                self._changed.wait()
            self.check()
            self._pieces.append(piece)
            self._held_bytes += len(piece)
            self._changed.notify()

    def fail(self, error: BaseException) -> None:
        super().fail(error)
        with self._changed:
            self._pieces.clear()
            self._held_bytes = 0

    def get(self) -> bytes:
        """The next piece, waiting for one; empty at the end. Raises what `fail` was given."""
        with self._changed:
            while not self._pieces and not self._has_ended and self._failure is None:
                self._changed.wait()
            self.check()
            if not self._pieces:
                return b""
            piece = self._pieces.popleft()
            self._held_bytes -= len(piece)
            if self._is_crowded and 2 * self._held_bytes <= self._max_bytes:
                self._is_crowded = False
                self._changed.notify()
            return piece

    def __iter__(self) -> Iterator[bytes]:
        while piece := self.get():
            yield piece
