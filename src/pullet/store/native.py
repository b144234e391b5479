"""What is compiled in pullet, where it was built; without it Python does the same, only slower.

`scripts/build_native.py` puts the library beside this file. It is plain C without Python's headers, called through
ctypes: one build serves every interpreter, and the interpreter lock is free during a call. `PULLET_NATIVE=off` in the
environment leaves it out.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

_PATH: Final = Path(__file__).with_name("libpullet_store.so")


def _load() -> ctypes.CDLL | None:
    if (
        sys.byteorder != "little" or os.environ.get("PULLET_NATIVE") == "off"
    ):  # inodes are written as they lie in memory
        return None
    try:
        return ctypes.CDLL(os.fspath(_PATH))
    except OSError:
        return None


_library = _load()
IS_COMPILED: Final = _library is not None


def native_function(name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
    """The function `name` with these ctypes types; to be called where IS_COMPILED."""
    if _library is None:
        return _missing
    function = _library[name]
    function.restype, function.argtypes = result, arguments
    return function


def _missing(*_: object) -> None:
    raise RuntimeError(f"{_PATH} was not built")


def address_of(data: bytes | bytearray | memoryview) -> Any:
    """Where `data` lies, to be given to a native function; it keeps `data` alive. A memoryview must be writable."""
    return ctypes.c_char_p(data) if isinstance(data, bytes) else ctypes.byref(ctypes.c_char.from_buffer(data))
