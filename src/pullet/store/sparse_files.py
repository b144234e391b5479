"""Files with holes, looked at and copied without reading the holes: their apparent size may be absurd."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator

_READ_BYTES = 1 << 20


def data_stretches(descriptor: int) -> Iterator[tuple[int, int]]:
    """Where the file may hold something else than zeros: (start, end), in order."""
    at = 0
    while True:
        try:
            at = os.lseek(descriptor, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:  # no more data
                raise
            return
        end = os.lseek(descriptor, at, os.SEEK_HOLE)
        yield at, end
        at = end


def is_zero_outside(descriptor: int, stretches: Iterable[tuple[int, int]]) -> bool:
    """Whether the open file has nothing but zeros besides these stretches (start, end)."""
    known = iter(sorted(stretches))
    start, end = next(known, (None, 0))
    for data_at, data_end in data_stretches(descriptor):
        at = data_at
        while at < data_end:
            while start is not None and end <= at:
                start, end = next(known, (None, 0))
            if start is not None and start <= at:
                at = end
                continue
            gap = os.pread(descriptor, min(_READ_BYTES, (data_end if start is None else min(start, data_end)) - at), at)
            if not gap or gap.strip(b"\0"):
                return False
            at += len(gap)
    return True


def copy_sparse(source: int, target: int) -> None:
    """Copy an open file into an empty one, holes as holes."""
    os.ftruncate(target, os.fstat(source).st_size)
    for start, end in data_stretches(source):
        while start < end:
            data = os.pread(source, min(_READ_BYTES, end - start), start)
            start += os.pwrite(target, data, start)
