"""Streams of every format and cut come out whole, in bounded pieces, or are named broken."""

from __future__ import annotations

import gzip
import zlib

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from pullet.store.decompress import PIECE_BYTES, DecompressError, decompress

TEXT = b"the quick brown fox " * 5000
SKIPPABLE = b"\x5a\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"skip!"


class Pieces:
    def __init__(self, data: bytes, size: int) -> None:
        self._pieces = [data[at : at + size] for at in range(0, len(data), size)][::-1]

    def get(self) -> bytes:
        return self._pieces.pop() if self._pieces else b""


def run(data: bytes, size: int = 1000, window: int = 1 << 27) -> bytes:
    pieces = list(decompress(Pieces(data, size), max_window_bytes=window))
    assert all(0 < len(piece) <= PIECE_BYTES for piece in pieces)
    return b"".join(pieces)


@given(
    parts=st.lists(st.binary(max_size=5000), min_size=1, max_size=4),
    size=st.integers(1, 700),
    padding=st.integers(0, 600),
)
def test_gzip_members_and_zero_padding(parts: list[bytes], size: int, padding: int) -> None:
    assert run(b"".join(gzip.compress(part) for part in parts) + bytes(padding), size) == b"".join(parts)


@given(parts=st.lists(st.binary(max_size=5000), min_size=1, max_size=4), size=st.integers(1, 700))
def test_zstd_frames_and_skippable_frames(parts: list[bytes], size: int) -> None:
    frames = [zstandard.compress(part) + SKIPPABLE for part in parts]
    assert run(SKIPPABLE + b"".join(frames), size) == b"".join(parts)


@given(data=st.binary(max_size=5000).filter(lambda data: data[:2] != b"\x1f\x8b"), size=st.integers(1, 700))
def test_plain(data: bytes, size: int) -> None:
    assert run(data, size) == data


def test_a_small_piece_that_grows_a_thousandfold_comes_in_pieces() -> None:
    assert run(gzip.compress(bytes(50 << 20)), 1 << 20) == bytes(50 << 20)
    assert run(zstandard.compress(bytes(50 << 20)), 1 << 20) == bytes(50 << 20)


@pytest.mark.parametrize("cut", [1, 8, 100])
def test_gzip_cut_short(cut: int) -> None:
    with pytest.raises(DecompressError, match="ends early"):
        run(gzip.compress(TEXT)[:-cut])


def test_gzip_broken() -> None:
    data = bytearray(gzip.compress(TEXT))
    data[-6] ^= 1  # the checksum
    with pytest.raises(DecompressError, match="gzip"):
        run(bytes(data))
    with pytest.raises(DecompressError, match="follow"):
        run(gzip.compress(TEXT) + b"junk")


def test_zstd_broken_or_with_too_large_a_window() -> None:
    data = bytearray(zstandard.ZstdCompressor(write_checksum=True).compress(TEXT))
    data[-1] ^= 1
    with pytest.raises(DecompressError, match="zstd"):
        run(bytes(data))
    parameters = zstandard.ZstdCompressionParameters(window_log=25, write_content_size=False)
    stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    large = stream.compress(TEXT) + stream.flush()
    assert run(large) == TEXT
    with pytest.raises(DecompressError, match="zstd"):
        run(large, window=1 << 20)


def test_raw_deflate_is_no_gzip() -> None:
    assert run(zlib.compress(TEXT)) == zlib.compress(TEXT)  # taken for plain bytes, refused later as no tar
