"""Sparse files: their stored pieces, packed without alignment in the tar, are laid out again in aligned chunks.

The chunks lie behind the tar in the layer file; a chunk is written only where a piece touches it, and the holes inside
stay holes of the file that holds them, so nothing but the stored bytes takes space.
"""

from __future__ import annotations

import os
import struct
from typing import Final

from pullet.base.values import Value
from pullet.store.tar_scan import BLOCK_BITS, DATA_START
from pullet.store.tar_stream import TarMember

_MIN_CHUNK_BITS: Final = 12
_MAX_CHUNKS: Final = 1 << 18
_HOLE: Final = 0xFFFFFFFF
_COPY_BYTES: Final = 1 << 20


class ChunkMap(Value):
    """`addresses`: one little-endian block number per chunk, all ones for a hole."""

    chunk_bits: int
    addresses: bytes


def lay_out(
    descriptor: int, member: TarMember, data_end: int, *, checked: list[tuple[int, int]] | None = None
) -> tuple[ChunkMap, int]:
    """Copy `member`'s pieces inside the open layer file to chunks from DATA_START + `data_end` on.

    With `checked` nothing is written: ValueError is raised if the copies differ, and the stretches (start, end) of the
    file that were found right are appended. Gives the map and the new `data_end`. Blocking; raises OSError.
    """
    assert member.sparse is not None
    bits = _MIN_CHUNK_BITS
    while (member.size >> bits) >= _MAX_CHUNKS:
        bits += 1
    chunk = 1 << bits
    places: dict[int, int] = {}
    end = (data_end + chunk - 1) & ~(chunk - 1) if bits <= _MIN_CHUNK_BITS else (data_end + 4095) & ~4095
    source = DATA_START + member.offset
    for offset, length in member.sparse:
        done = 0
        while done < length:
            number, inside = divmod(offset + done, chunk)
            if number not in places:
                places[number], end = end, end + chunk
            count = min(chunk - inside, length - done, _COPY_BYTES)
            piece, place = os.pread(descriptor, count, source), DATA_START + places[number] + inside
            if checked is None:
                os.pwrite(descriptor, piece, place)
            elif os.pread(descriptor, count, place) != piece:
                raise ValueError("a piece of a sparse file was altered")
            else:
                checked.append((place, place + count))
            source, done = source + count, done + count
    count = (member.size + chunk - 1) >> bits
    addresses = [_HOLE] * count
    for number, place in places.items():
        addresses[number] = (DATA_START + place) >> BLOCK_BITS
    return ChunkMap(bits, struct.pack(f"<{count}I", *addresses)), end
