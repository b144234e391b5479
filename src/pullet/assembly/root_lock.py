"""One pullet per root directory."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from pullet.base.errors import UsageError

LOCK_NAME = "pullet.lock"


class RootInUseError(UsageError):
    """Another process holds the root."""

    reason: ClassVar[str] = "RootInUse"


class RootLock:
    """Holds the root for the life of the block; the kernel lets go when the process dies, however it dies."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._descriptor = -1

    def __enter__(self) -> Self:
        try:
            self._root.mkdir(parents=True, exist_ok=True, mode=0o711)
            self._descriptor = os.open(self._root / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise UsageError(f"cannot use {self._root} as root directory: {error.strerror}") from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(self._descriptor, 32).decode(errors="replace").strip()
            os.close(self._descriptor)
            raise RootInUseError(
                f"{self._root} is in use by another pullet{f' (pid {holder})' if holder else ''}: "
                f"stop it with `pullet down --root {self._root}`, or give this one another --root"
            ) from error
        os.truncate(self._descriptor, 0)
        os.write(self._descriptor, f"{os.getpid()}\n".encode())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)
