"""Keeps memory that holds secrets out of files."""

from __future__ import annotations

import ctypes
import os
from typing import Final

_PR_SET_DUMPABLE: Final = 4


def forbid_core_dumps() -> None:
    """From here on this process leaves no core dump, and nobody without CAP_SYS_PTRACE may read its memory.

    It alone: programs that it starts dump core as their own limits say, as containers may want to. A core size limit
    would be passed on to them, and does not hold where cores are piped to a program.

    Raises:
        OSError: the kernel refused.
    Source: prctl(2), PR_SET_DUMPABLE; core(5).
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
