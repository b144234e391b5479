"""What the CRI fakes share: calls in order, errors on demand, times in nanoseconds."""

from __future__ import annotations

from collections import defaultdict, deque
from datetime import datetime

from pullet.base.values import Value
from pullet.cri.errors import CriError


class Call(Value):
    """One call of a method, with its first argument (image, id or pod name) for easy reading."""

    method: str
    argument: str


class CallLog:
    """Calls in order, and the errors that the next calls of a method shall raise."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._errors: dict[str, deque[CriError]] = defaultdict(deque)
        self._standing: dict[str, CriError] = {}

    def fail_next(self, method: str, error: CriError, *, times: int = 1) -> None:
        """The next `times` calls of `method` raise `error`."""
        self._errors[method].extend([error] * times)

    def fail_always(self, method: str, error: CriError | None) -> None:
        """Every call of `method` raises `error`, until None takes it back."""
        if error is None:
            self._standing.pop(method, None)
        else:
            self._standing[method] = error

    def called(self, method: str) -> list[str]:
        """The arguments of the calls of `method`, in order."""
        return [call.argument for call in self.calls if call.method == method]

    def record(self, method: str, argument: str = "") -> None:
        """Note the call; raise what was ordered for it."""
        self.calls.append(Call(method, argument))
        if self._errors[method]:
            raise self._errors[method].popleft()
        if method in self._standing:
            raise self._standing[method]


def nanoseconds(moment: datetime) -> int:
    """Nanoseconds since the epoch."""
    return int(moment.timestamp() * 1_000_000) * 1000
