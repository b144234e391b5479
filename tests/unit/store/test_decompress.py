"""Streams of every format and cut come out whole, in bounded pieces, or are named broken."""

from __future__ import annotations

import gzip
import threading
import zlib
from collections.abc import Callable

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from pullet.kit.worker_threads import StoppedError
from pullet.store.decompress import DecompressError, decompress
from pullet.store.zstd_frames import SMALL_WINDOW, LargeWindow, starts_zstd

TEXT = b"the quick brown fox " * 5000
SKIPPABLE = b"\x5a\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"skip!"


class Pieces:
    def __init__(self, data: bytes, size: int) -> None:
        self._pieces = [data[at : at + size] for at in range(0, len(data), size)][::-1]

    def get(self) -> bytes:
        return self._pieces.pop() if self._pieces else b""


def run(
    data: bytes, size: int = 1000, window: int = 1 << 27, admit: Callable[[int], None] = lambda _bytes: None
) -> bytes:
    stream = decompress(Pieces(data, size), max_window_bytes=window, admit=admit)
    pieces, buffer = [], memoryview(bytearray(1 << 16))
    while count := stream.readinto(buffer):
        pieces.append(bytes(buffer[:count]))
    assert all(len(piece) == len(buffer) for piece in pieces[:-1])  # filled as far as the stream goes
    assert stream.readinto(buffer) == 0
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


def is_plain(data: bytes) -> bool:
    return data[:2] != b"\x1f\x8b" and not (len(data) >= 4 and starts_zstd(data[:4]))


@given(data=st.binary(max_size=5000).filter(is_plain), size=st.integers(1, 700))
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
        run(gzip.compress(TEXT) + b"no gzip at all")
    with pytest.raises(DecompressError, match="ends early"):
        run(gzip.compress(TEXT) + b"\x1f\x8b")


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


@given(cut=st.floats(0, 1, exclude_max=True), size=st.integers(1, 700))
def test_zstd_cut_short(cut: float, size: int) -> None:
    data = zstandard.ZstdCompressor(write_checksum=True).compress(TEXT) + SKIPPABLE + zstandard.compress(TEXT)
    length = int(len(data) * cut)
    whole = len(zstandard.ZstdCompressor(write_checksum=True).compress(TEXT))
    if length < 4:
        assert run(data[:length], size) == data[:length]  # too short to be told from plain bytes
    elif length in {whole, whole + len(SKIPPABLE)}:
        assert run(data[:length], size) == TEXT
    else:
        with pytest.raises(DecompressError, match="zstd"):
            run(data[:length], size)


def test_each_frame_asks_for_its_window() -> None:
    asked: list[int] = []
    small = zstandard.ZstdCompressor(level=1).compress(TEXT)
    parameters = zstandard.ZstdCompressionParameters(window_log=26, write_content_size=False)
    stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    large = stream.compress(TEXT) + stream.flush()
    blob = small + SKIPPABLE + large + small
    assert run(blob, 100, admit=asked.append) == TEXT * 3
    assert asked == [len(TEXT), 1 << 26, len(TEXT)]


def test_one_large_window_at_a_time() -> None:
    window, order, checks = LargeWindow(), list[str](), threading.Event()

    def second() -> None:
        with window.leave(checks.set) as admit:
            admit(SMALL_WINDOW)
            order.append("small")
            admit(SMALL_WINDOW + 1)
            admit(SMALL_WINDOW * 4)
            order.append("second")

    with window.leave(checks.set) as admit:
        admit(SMALL_WINDOW * 2)
        thread = threading.Thread(target=second)
        thread.start()
        assert checks.wait(60)  # it waits, and looks whether it should go on
        order.append("first")
    thread.join()
    assert order == ["small", "first", "second"]


def test_who_waits_for_a_large_window_can_be_stopped() -> None:
    window = LargeWindow()

    def stop() -> None:
        raise StoppedError

    with window.leave(stop) as admit:
        admit(SMALL_WINDOW * 2)
        with pytest.raises(StoppedError), window.leave(stop) as another:
            another(SMALL_WINDOW * 2)
    with window.leave(stop) as admit:
        admit(SMALL_WINDOW * 2)


def test_raw_deflate_is_no_gzip() -> None:
    assert run(zlib.compress(TEXT)) == zlib.compress(TEXT)  # taken for plain bytes, refused later as no tar
