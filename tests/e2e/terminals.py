"""A terminal with a command in it, and somebody who types and reads."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time
from collections.abc import Mapping, Sequence

ROWS, COLUMNS = 24, 80


class Typist:
    """Types into a command that runs in a terminal of its own, at first ROWS high and COLUMNS wide, and reads there."""

    def __init__(self, words: Sequence[str], environment: Mapping[str, str]) -> None:
        self.seen = b""
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            _set_size(0, ROWS, COLUMNS)
            os.execve(words[0], list(words), dict(environment))

    def resize(self, rows: int, columns: int) -> None:
        """Change the size of the window, as a terminal emulator tells it."""
        _set_size(self.descriptor, rows, columns)
        os.kill(self.pid, signal.SIGWINCH)

    def type(self, text: str) -> None:
        """Press these keys."""
        os.write(self.descriptor, text.encode())

    def expect(self, pattern: bytes, seconds: float = 40.0) -> None:
        """Until the pattern was seen, after what was expected before; fails the test when it does not come."""
        deadline = time.monotonic() + seconds
        while (found := re.search(pattern, self.seen)) is None:
            assert time.monotonic() < deadline, self.seen
            if select.select([self.descriptor], [], [], 0.2)[0]:
                self.seen += self._read()
        self.seen = self.seen[found.end() :]

    def end(self) -> int:
        """Read to the end; gives the exit code."""
        while data := self._read():
            self.seen += data
        os.close(self.descriptor)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def kill(self) -> None:
        """Close the window."""
        os.kill(self.pid, signal.SIGKILL)
        self.end()

    def _read(self) -> bytes:
        try:
            return os.read(self.descriptor, 4096)
        except OSError:  # how Linux tells that the other side is closed
            return b""


def _set_size(descriptor: int, rows: int, columns: int) -> None:
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
