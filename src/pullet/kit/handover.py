"""What the two sides of a passage of bytes between threads share: its end, and a failure that wakes the other side."""

from __future__ import annotations

import threading


class Handover:
    """One writer, one reader. Whoever looks at the state, or changes it, holds `_changed`."""

    def __init__(self) -> None:
        self._has_ended = False
        self._failure: BaseException | None = None
        self._is_crowded = False  # the writer waits
        self._changed = threading.Condition(threading.Lock())

    def end(self) -> None:
        """Nothing more comes."""
        with self._changed:
            self._has_ended = True
            self._changed.notify()

    def fail(self, error: BaseException) -> None:
        """Wake the other side with `error`; the first failure stays."""
        with self._changed:
            if self._failure is None:
                self._failure = error
            self._changed.notify_all()

    def check(self) -> None:
        """Raise what `fail` was given, if it was."""
        if self._failure is not None:
            raise self._failure
