"""Buffers go round in order, never more than there are, and either side's failure wakes the other."""

from __future__ import annotations

import threading

import pytest

from pullet.kit.buffer_ring import BufferRing


def fill(ring: BufferRing, data: bytes) -> memoryview:
    buffer = ring.empty()
    buffer[: len(data)] = data
    ring.put(buffer, len(data))
    return buffer


def test_what_is_put_comes_out_in_order_whatever_the_pace() -> None:
    ring = BufferRing(4, 10)
    pieces = [b"%03d" % number for number in range(500)]
    buffers = set()

    def write() -> None:
        for piece in pieces:
            buffers.add(id(fill(ring, piece).obj))
        ring.end()

    writer = threading.Thread(target=write)
    writer.start()
    assert [bytes(piece) for piece in ring] == pieces
    writer.join()
    assert len(buffers) <= 4


def test_a_piece_is_good_until_the_next_is_asked_for_and_its_buffer_is_filled_again() -> None:
    ring = BufferRing(2, 4)
    first = fill(ring, b"1234")
    fill(ring, b"abcd")
    reading = iter(ring)
    piece = next(reading)
    assert bytes(piece) == b"1234"
    assert bytes(next(reading)) == b"abcd"
    assert fill(ring, b"5678").obj is first.obj
    assert bytes(piece) == b"5678"


def test_the_writer_waits_until_half_of_the_buffers_are_free() -> None:
    ring = BufferRing(4, 1)
    for _ in range(4):
        fill(ring, b"x")
    passed = threading.Event()

    def write() -> None:
        ring.empty()
        passed.set()

    writer = threading.Thread(target=write)
    writer.start()
    reading = iter(ring)
    next(reading), next(reading)
    assert not passed.wait(0.05)  # one is free
    next(reading)
    assert passed.wait(5)
    writer.join()


@pytest.mark.parametrize("side", ["reader", "writer"])
def test_failure_wakes_the_other_side(side: str) -> None:
    ring = BufferRing(1, 1)
    if side == "writer":
        fill(ring, b"x")
    seen: list[BaseException] = []

    def wait() -> None:
        try:
            if side == "reader":
                next(iter(ring))
            else:
                ring.empty()
        except OSError as error:
            seen.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    failure = OSError("the other side")
    ring.fail(failure)
    ring.fail(OSError("too late"))
    waiter.join(5)
    assert seen == [failure]
    with pytest.raises(OSError, match="the other side"):
        ring.put(memoryview(bytearray(1)), 1)
