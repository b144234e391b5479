"""An answer whose body is read as it comes; its connection goes back to the pool when all was read."""

from __future__ import annotations

import http.client
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from pullet.base.values import Value
from pullet.kit.worker_threads import StopFlag
from pullet.oci.distribution import parse_rate_limit
from pullet.registry.connections import Connection, Connections
from pullet.registry.dial_target import DialTarget, os_text
from pullet.registry.errors import ContentMismatchError, RegistryUnavailableError

MAX_DRAINED_BYTES: Final = 64 * 1024


class RateLimit(Value):
    """What a registry says of its limit: `remaining` of `limit` requests (None: not told) in `window_seconds`."""

    remaining: int
    limit: int | None = None
    window_seconds: float | None = None


class Response:
    """Close it, or use it as a context manager. Used by one thread."""

    def __init__(
        self,
        answer: http.client.HTTPResponse,
        connection: Connection,
        connections: Connections,
        target: DialTarget,
        stop: StopFlag,
        forget_stop: Callable[[], None],
    ) -> None:
        self._answer, self._connection, self._connections = answer, connection, connections
        self._target, self._stop, self._forget_stop = target, stop, forget_stop
        self._is_closed = False
        self.status = answer.status
        self.length: int | None = answer.length  # bytes of body still to come; None is unknown

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(keeps_connection=kind is None)

    def header(self, name: str) -> str:
        """The value of a header, "" if absent."""
        return self._answer.getheader(name) or ""

    def header_values(self, name: str) -> list[str]:
        """Every value of a header that may come several times."""
        return self._answer.headers.get_all(name) or []

    @property
    def rate_limit(self) -> RateLimit | None:
        """The registry's limit on pulls, where it tells."""
        remaining = parse_rate_limit(self.header("RateLimit-Remaining"))
        if remaining is None:
            return None
        limit = parse_rate_limit(self.header("RateLimit-Limit"))
        return RateLimit(remaining[0], limit[0] if limit else None, remaining[1])

    @property
    def is_text(self) -> bool:
        """Whether the body may be shown to people."""
        kind = self.header("Content-Type")
        return kind.startswith("text/plain") or "json" in kind

    def read_some(self, size: int) -> bytes:
        """Up to `size` bytes as they arrive; b"" at the end of the body.

        Raises:
            StoppedError: stop was set.
            RegistryUnavailableError: the connection broke, or the body ended before its stated length.
        """
        try:
            data = self._answer.read1(size)
        except TimeoutError as error:
            self._stop.check()
            raise self.cut(f"read tcp {self._target.host}: i/o timeout") from error
        except OSError as error:
            self._stop.check()
            raise self.cut(f"read tcp {self._target.host}: read: {os_text(error)}") from error
        except (http.client.HTTPException, ValueError) as error:
            self._stop.check()
            raise self.cut("unexpected EOF") from error
        if not data and size:
            self._stop.check()
            if self._answer.length:
                raise self.cut("unexpected EOF")
        return data

    def read_all(
        self, limit_bytes: int, *, truncate: bool = False, is_late: Callable[[], bool] = lambda: False
    ) -> bytes:
        """The whole body, of at most `limit_bytes`; a longer one is cut with `truncate`.

        Raises:
            ContentMismatchError: the body is longer.
            RegistryUnavailableError, StoppedError: as read_some; also when `is_late` says so while bytes trickle in.
        """
        parts: list[bytes] = []
        left = limit_bytes
        while left > 0 and (data := self.read_some(left)):
            parts.append(data)
            left -= len(data)
            if self._answer.length and is_late():
                raise self._target.unavailable(f"download stalled: {limit_bytes - left} bytes is all that came in time")
        if left == 0 and not truncate and self.read_some(1):
            raise ContentMismatchError(
                host=self._target.host,
                url=self._target.url,
                what="the answer",
                want=f"at most {limit_bytes} bytes",
                got="more",
            )
        return b"".join(parts)

    def cut(self, detail: str) -> RegistryUnavailableError:
        """The error for a body that broke off here."""
        error = self._target.unavailable(detail)
        error.was_cut = True
        return error

    def close(self, *, keeps_connection: bool = True) -> None:
        """Give the connection back if the body ended, or ends soon; close it otherwise, or if it shall not be kept."""
        if self._is_closed:
            return
        self._is_closed = True
        try:
            keep = keeps_connection and self._drained() and not self._answer.will_close and not self._stop.is_set
        except (OSError, http.client.HTTPException, ValueError):
            keep = False
        self._forget_stop()
        self._answer.close()
        if keep:
            self._connections.give_back(self._connection)
        else:
            self._connections.drop(self._connection)

    def _drained(self) -> bool:
        left = self._answer.length
        if left is None:
            return self._answer.isclosed()
        if left > MAX_DRAINED_BYTES:
            return False
        while left > 0 and (data := self._answer.read1(left)):
            left -= len(data)
        return left == 0
