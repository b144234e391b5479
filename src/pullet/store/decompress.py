"""Compressed bytes in, uncompressed pieces of bounded size out. The format is told by its magic, not by media type.

Source: RFC 1952 2.2 (members follow each other), RFC 8878 3.1 (frames and skippable frames follow each other).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import IO, cast

import zstandard
from isal import igzip_lib

from pullet.store.zstd_frames import FrameReader, PieceSource, StreamEndsEarlyError, starts_zstd

PIECE_BYTES = 1 << 20
_GZIP_MAGIC = b"\x1f\x8b"
_MAGIC_BYTES = 4


class DecompressError(ValueError):
    """The compressed stream is broken; the text says how."""


def decompress(
    source: PieceSource, *, max_window_bytes: int, admit: Callable[[int], None] = lambda _bytes: None
) -> Iterator[bytes]:
    """The uncompressed stream in pieces of at most PIECE_BYTES.

    `admit` is asked for leave, with the bytes of its window, before each zstd frame.

    Raises:
        DecompressError: broken, cut short, or a zstd window beyond the limit.
    """
    head = b""
    while len(head) < _MAGIC_BYTES and (piece := source.get()):
        head += piece
    if head.startswith(_GZIP_MAGIC):
        return _gunzip(source, head)
    if starts_zstd(head):
        return _unzstd(source, head, max_window_bytes, admit)
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


def _unzstd(source: PieceSource, head: bytes, max_window_bytes: int, admit: Callable[[int], None]) -> Iterator[bytes]:
    decompressor = zstandard.ZstdDecompressor(max_window_size=max_window_bytes)
    # it calls read alone, so the reader need not be all that IO[bytes] names
    reader = cast(IO[bytes], FrameReader(source, head, admit))
    stream = decompressor.stream_reader(reader, read_across_frames=True, closefd=False)
    try:
        while piece := stream.read(PIECE_BYTES):
            yield piece
    except zstandard.ZstdError as error:
        raise DecompressError(f"zstd: {error}") from error
    except StreamEndsEarlyError as error:
        raise DecompressError("the zstd stream ends early") from error
