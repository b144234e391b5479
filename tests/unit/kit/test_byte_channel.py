"""Pieces pass in order, bounded, and either side's failure wakes the other."""

from __future__ import annotations

import threading

import pytest

from pullet.kit.byte_channel import ByteChannel


def test_pieces_pass_in_order_and_end() -> None:
    channel = ByteChannel(10)
    pieces = [b"%03d" % number for number in range(200)]

    def write() -> None:
        for piece in pieces:
            channel.put(piece)
        channel.end()

    writer = threading.Thread(target=write)
    writer.start()
    assert list(channel) == pieces
    assert channel.get() == b""
    writer.join()


def test_writer_waits_for_room_and_a_large_piece_travels_alone() -> None:
    channel = ByteChannel(10)
    channel.put(b"x" * 100)
    passed = threading.Event()

    def write() -> None:
        channel.put(b"y")
        passed.set()

    writer = threading.Thread(target=write)
    writer.start()
    assert not passed.wait(0.05)
    assert channel.get() == b"x" * 100
    assert passed.wait(5)
    writer.join()


@pytest.mark.parametrize("side", ["reader", "writer"])
def test_failure_wakes_the_other_side(side: str) -> None:
    channel = ByteChannel(1)
    if side == "writer":
        channel.put(b"full")
    seen: list[BaseException] = []

    def wait() -> None:
        try:
            if side == "reader":
                channel.get()
            else:
                channel.put(b"more")
        except OSError as error:
            seen.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    failure = OSError("cut")
    channel.fail(failure)
    channel.fail(ValueError("later"))
    waiter.join(5)
    assert seen == [failure]
    with pytest.raises(OSError, match="cut"):
        channel.put(b"after")


def test_writer_goes_on_when_half_of_the_room_is_free() -> None:
    channel = ByteChannel(8)
    for _ in range(4):
        channel.put(b"xx")
    passed = threading.Event()

    def write() -> None:
        channel.put(b"y")
        passed.set()

    writer = threading.Thread(target=write)
    writer.start()
    assert not passed.wait(0.05)
    assert [channel.get(), channel.get()] == [b"xx", b"xx"]
    assert passed.wait(30)
    writer.join()
