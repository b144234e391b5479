"""Types made safe to decode into from several threads at once.

msgspec learns what a Struct is made of when it first decodes into it, and runs Python on the way. A second thread that
decodes into the same Struct meanwhile meets half of what will be there, and the process dies of a segmentation fault.
So everything here that decodes into a type names it as `decodable(type)`, which lets msgspec learn it before, one type
at a time; a test of the tree holds every call to it.
"""

from __future__ import annotations

import threading
from typing import Any, Final, TypeVar

import msgspec

T = TypeVar("T")

_known: Final[set[Any]] = set()
_learning: Final = threading.Lock()


def decodable(kind: type[T]) -> type[T]:
    """`kind`, of which msgspec knows all that it is made of when this returns."""
    if kind not in _known:
        with _learning:
            msgspec.json.Decoder(kind)
            _known.add(kind)
    return kind
