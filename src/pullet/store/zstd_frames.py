"""A zstd stream handed to its decoder frame by frame, so that each frame's window is known, and allowed, beforehand.

The decoder keeps as many bytes of output as the frame's header says (its window): up to 128 MiB, by the compressor's
choice. Windows up to SMALL_WINDOW are free for every layer; of the larger ones there is one at a time in a process,
so that all layers being unpacked at once hold at most `layers × SMALL_WINDOW` and one large window.
Source: RFC 8878 3.1.1, "Zstandard Frames".
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum, auto
from typing import Final, Protocol

import zstandard

SMALL_WINDOW: Final = 8 << 20  # what the format recommends decoders to support at least
_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_SKIPPABLE: Final = b"\x2a\x4d\x18"  # of 0x184D2A50 … 5F, little-endian, without its first byte
_MAX_HEADER_BYTES: Final = 18
_SKIPPABLE_HEADER_BYTES: Final = 8
_BLOCK_HEADER_BYTES: Final = 3
_CHECKSUM_BYTES: Final = 4
_RLE, _RESERVED = 1, 3
_WAIT_SECONDS: Final = 0.2


class PieceSource(Protocol):
    """Gives pieces of compressed bytes, empty at the end."""

    def get(self) -> bytes:
        """The next piece."""
        ...


class StreamEndsEarlyError(ValueError):
    """The stream ends inside a frame."""


def starts_zstd(head: bytes) -> bool:
    """Whether these first four bytes begin a frame, skippable or not."""
    return head.startswith(_MAGIC) or (head[1:4] == _SKIPPABLE and 0x50 <= head[0] <= 0x5F)


class LargeWindow:
    """The one large window of a process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    @contextmanager
    def leave(self, check: Callable[[], None]) -> Iterator[Callable[[int], None]]:
        """For one layer: what to ask before each frame. It waits for its turn; `check` may end that by raising."""
        is_held = False

        def admit(window_bytes: int) -> None:
            nonlocal is_held
            if window_bytes > SMALL_WINDOW and not is_held:
                while not self._lock.acquire(timeout=_WAIT_SECONDS):
                    check()
                is_held = True

        try:
            yield admit
        finally:
            if is_held:
                self._lock.release()


class _Next(Enum):
    FRAME = auto()
    BLOCK = auto()
    CHECKSUM = auto()
    UNKNOWN = auto()  # no frame: the decoder shall say so


class FrameReader:
    """The source as the file that a decoder reads from: `read` never goes across the beginning of a frame."""

    def __init__(self, source: PieceSource, head: bytes, admit: Callable[[int], None]) -> None:
        self._source, self._data, self._at, self._admit = source, head, 0, admit
        self._next = _Next.FRAME
        self._has_checksum = False
        self._passable = 0  # bytes up to where the next header of frame or block begins

    def read(self, count: int) -> bytes:
        """Up to `count` bytes, empty at the end. Raises StreamEndsEarlyError."""
        if not self._passable and not self._advance():
            return b""
        if self._at == len(self._data):
            self._data, self._at = self._source.get(), 0
        data = self._data[self._at : self._at + min(count, self._passable)]
        if not data and self._next is not _Next.UNKNOWN:
            raise StreamEndsEarlyError
        self._at += len(data)
        self._passable -= len(data)
        return data

    def _peek(self, count: int) -> bytes:
        while len(self._data) - self._at < count and (piece := self._source.get()):
            self._data, self._at = self._data[self._at :] + piece, 0
        return self._data[self._at : self._at + count]

    def _advance(self) -> bool:
        """Look at the next header; False at the end of the stream."""
        match self._next:
            case _Next.FRAME:
                head = self._peek(_MAX_HEADER_BYTES)
                self._frame(head)
                return bool(head)
            case _Next.BLOCK:
                head = self._peek(_BLOCK_HEADER_BYTES)
                if len(head) < _BLOCK_HEADER_BYTES:
                    raise StreamEndsEarlyError
                number = int.from_bytes(head, "little")
                is_last, kind, size = number & 1, number >> 1 & 3, number >> 3
                self._passable = _BLOCK_HEADER_BYTES + (1 if kind == _RLE else size)
                if is_last:
                    self._next = _Next.CHECKSUM if self._has_checksum else _Next.FRAME
                if kind == _RESERVED:
                    self._next = _Next.UNKNOWN
            case _Next.CHECKSUM:
                self._passable, self._next = _CHECKSUM_BYTES, _Next.FRAME
            case _Next.UNKNOWN:
                self._passable = 1 << 62
        return True

    def _frame(self, head: bytes) -> None:
        if head.startswith(_MAGIC):
            try:
                parameters = zstandard.get_frame_parameters(head)
                self._passable = zstandard.frame_header_size(head)
            except zstandard.ZstdError as error:
                if len(head) < _MAX_HEADER_BYTES:
                    raise StreamEndsEarlyError from error
                self._next, self._passable = _Next.UNKNOWN, 1
                return
            self._admit(parameters.window_size)
            self._has_checksum, self._next = parameters.has_checksum, _Next.BLOCK
        elif 0 < len(head) < _SKIPPABLE_HEADER_BYTES:
            raise StreamEndsEarlyError
        elif starts_zstd(head):
            self._passable = _SKIPPABLE_HEADER_BYTES + int.from_bytes(head[4:8], "little")
        elif head:
            self._next, self._passable = _Next.UNKNOWN, 1
