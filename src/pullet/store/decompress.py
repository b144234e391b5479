"""Compressed bytes in, uncompressed bytes into a buffer. The format is told by its magic, not by media type.

Source: RFC 1952 2.2 (members follow each other), RFC 8878 3.1 (frames and skippable frames follow each other).
"""

from __future__ import annotations

from collections.abc import Callable
from gzip import BadGzipFile
from typing import IO, BinaryIO, Protocol, cast

import zstandard
from isal import isal_zlib

from pullet.store.zstd_frames import FrameReader, PieceSource, StreamEndsEarlyError, starts_zstd

_READ_BYTES = 512 * 1024
_GZIP_MAGIC = b"\x1f\x8b"
_MAGIC_BYTES = 4


class DecompressError(ValueError):
    """The compressed stream is broken; the text says how."""


class Decompressed(Protocol):
    """The uncompressed stream."""

    def readinto(self, buffer: memoryview) -> int:
        """Fill `buffer` as far as the stream goes; gives the bytes written, 0 at the end. Raises DecompressError."""
        ...


def decompress(
    source: PieceSource, *, max_window_bytes: int, admit: Callable[[int], None] = lambda _bytes: None
) -> Decompressed:
    """The uncompressed stream of what `source` gives.

    `admit` is asked for leave, with the bytes of its window, before each zstd frame. Reading raises DecompressError for
    a stream that is broken, cut short, or needs a zstd window beyond the limit.
    """
    head = b""
    while len(head) < _MAGIC_BYTES and (piece := source.get()):
        head += piece
    if head.startswith(_GZIP_MAGIC):
        return _Gzip(_PieceFile(source, head))
    if starts_zstd(head):
        return _Zstd(FrameReader(source, head, admit), max_window_bytes)
    return _Plain(_PieceFile(source, head))


class _PieceFile:
    """The pieces as a file to read from."""

    def __init__(self, source: PieceSource, head: bytes) -> None:
        self._source, self._piece = source, memoryview(head)

    def read(self, count: int) -> bytes:
        buffer = memoryview(bytearray(count))
        return bytes(buffer[: self.readinto(buffer)])

    def readinto(self, buffer: memoryview) -> int:
        if not self._piece:
            self._piece = memoryview(self._source.get())
        part = self._piece[: len(buffer)]
        buffer[: len(part)] = part
        self._piece = self._piece[len(part) :]
        return len(part)


def _fill(readinto: Callable[[memoryview], int], buffer: memoryview) -> int:
    done = 0
    while done < len(buffer) and (count := readinto(buffer[done:])):
        done += count
    return done


class _Plain:
    def __init__(self, file: _PieceFile) -> None:
        self._file = file

    def readinto(self, buffer: memoryview) -> int:
        return _fill(self._file.readinto, buffer)


class _Gzip:
    """Every member, then zero padding (as tape archives and `gzip` itself accept) until the end.

    The reader behind `isal.igzip.IGzipFile`: of the library's, the one that inflates into a given buffer. New memory
    for every megabyte would cost a tenth of the inflating.
    """

    def __init__(self, file: _PieceFile) -> None:
        self._reader = isal_zlib._GzipReader(cast(BinaryIO, file), _READ_BYTES)  # it calls readinto alone

    def readinto(self, buffer: memoryview) -> int:
        try:
            count: int = self._reader.readinto(buffer)
        except EOFError as error:
            raise DecompressError("the gzip stream ends early") from error
        except BadGzipFile as error:
            what = "bytes that are no gzip follow the gzip stream" if str(error).startswith("Not a gzipped") else error
            raise DecompressError(f"gzip: {what}") from error
        except (isal_zlib.IsalError, OverflowError) as error:  # type: ignore[misc]  # the stubs make it a variable
            raise DecompressError(f"gzip: {error}") from error
        return count


class _Zstd:
    def __init__(self, frames: FrameReader, max_window_bytes: int) -> None:
        # it calls read alone, so the reader need not be all that IO[bytes] names
        self._stream = zstandard.ZstdDecompressor(max_window_size=max_window_bytes).stream_reader(
            cast(IO[bytes], frames), read_across_frames=True, closefd=False
        )

    def readinto(self, buffer: memoryview) -> int:
        try:
            return _fill(self._stream.readinto, buffer)
        except zstandard.ZstdError as error:
            raise DecompressError(f"zstd: {error}") from error
        except StreamEndsEarlyError as error:
            raise DecompressError("the zstd stream ends early") from error
