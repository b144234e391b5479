"""Compressed bytes in, uncompressed pieces of bounded size out. The format is told by its magic, not by media type.

Source: RFC 1952 2.2 (members follow each other), RFC 8878 3.1 (frames and skippable frames follow each other).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Protocol, cast

import zstandard
from isal import igzip_lib

PIECE_BYTES = 1 << 20
_GZIP_MAGIC = b"\x1f\x8b"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_SKIPPABLE = b"\x2a\x4d\x18"  # of 0x184D2A50 … 5F, little-endian, without its first byte
_MAGIC_BYTES = 4


class DecompressError(ValueError):
    """The compressed stream is broken; the text says how."""


class PieceSource(Protocol):
    """Gives pieces of compressed bytes, empty at the end."""

    def get(self) -> bytes:
        """The next piece."""
        ...


def decompress(source: PieceSource, *, max_window_bytes: int) -> Iterator[bytes]:
    """The uncompressed stream in pieces of at most PIECE_BYTES.

    Raises:
        DecompressError: broken, cut short, or a zstd window beyond the limit.
    """
    head = b""
    while len(head) < _MAGIC_BYTES and (piece := source.get()):
        head += piece
    if head.startswith(_GZIP_MAGIC):
        return _gunzip(source, head)
    if head.startswith(_ZSTD_MAGIC) or (head[1:4] == _SKIPPABLE and 0x50 <= head[0] <= 0x5F):
        return _unzstd(source, head, max_window_bytes)
    return _plain(source, head)


def _plain(source: PieceSource, head: bytes) -> Iterator[bytes]:
    while head:
        for at in range(0, len(head), PIECE_BYTES):
            yield head[at : at + PIECE_BYTES]
        head = source.get()


def _gunzip(source: PieceSource, data: bytes) -> Iterator[bytes]:
    """Every member, then zero padding (as tape archives and `gzip` itself accept) until the end."""
    while True:
        member = igzip_lib.IgzipDecompressor(igzip_lib.DECOMP_GZIP)
        try:
            while not member.eof:
                if piece := member.decompress(data, PIECE_BYTES):
                    yield piece
                data = b""
                if member.needs_input and not member.eof:
                    data = source.get()
                    if not data:
                        raise DecompressError("the gzip stream ends early")
        except (EOFError, igzip_lib.IsalError) as error:  # type: ignore[misc]  # the stubs make it a variable
            raise DecompressError(f"gzip: {error}") from error
        data = member.unused_data
        while not data.lstrip(b"\0"):
            data = source.get()
            if not data:
                return
        data = data.lstrip(b"\0")
        while len(data) < 2 and (more := source.get()):
            data += more
        if not data.startswith(_GZIP_MAGIC):
            raise DecompressError("bytes that are no gzip follow the gzip stream")


class _Reader:
    """The source as the file that zstandard reads from."""

    def __init__(self, source: PieceSource, head: bytes) -> None:
        self._source, self._left = source, head

    def read(self, count: int) -> bytes:
        data = self._left or self._source.get()
        self._left = data[count:]
        return data[:count]


def _unzstd(source: PieceSource, head: bytes, max_window_bytes: int) -> Iterator[bytes]:
    decompressor = zstandard.ZstdDecompressor(max_window_size=max_window_bytes)
    # it calls read alone, so the reader need not be all that IO[bytes] names
    stream = decompressor.stream_reader(cast(IO[bytes], _Reader(source, head)), read_across_frames=True, closefd=False)
    try:
        while piece := stream.read(PIECE_BYTES):
            yield piece
    except zstandard.ZstdError as error:
        raise DecompressError(f"zstd: {error}") from error
