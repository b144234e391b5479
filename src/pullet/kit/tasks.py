"""Structured tasks: named children under one root, one flight per key, one error out of a group.

Every task has a TaskGroup parent. `Supervisor` is the root of a program; `SingleFlight` runs shared work that
belongs to the group, not to its first caller; `Uninterrupted` finishes what a cancelled caller began; `one_error`
turns the group that does one thing into that thing's error; `spawn` is for groups that may be ending meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from pullet.kit.clock import Clock, SystemClock

log = logging.getLogger(__name__)
T = TypeVar("T")
K = TypeVar("K")


@contextmanager
def one_error() -> Iterator[None]:
    """Raise the first real error of the TaskGroup inside, instead of a group of it and its echoes."""
    try:
        yield
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from None


def spawn(group: asyncio.TaskGroup, work: Coroutine[Any, Any, T], *, name: str | None = None) -> asyncio.Task[T]:
    """`group.create_task(work)`, and `work` is closed where the group takes no more.

    Python 3.11 leaves it to be told of as "never awaited", whenever it is collected.

    Raises:
        RuntimeError: the group is ending.
    """
    try:
        return group.create_task(work, name=name)
    except RuntimeError:
        work.close()
        raise


class Supervisor:
    """A TaskGroup of named children that can each be restarted after a crash.

    Leaving the block waits for children that end by themselves after `stop()` cancelled them.
    A child started with `restart_seconds=None` that fails takes the whole group down; with a number it is logged
    and started again after that many seconds.
    """

    def __init__(self, *, clock: Clock | None = None) -> None:
        self._clock: Clock = clock or SystemClock()
        self._group = asyncio.TaskGroup()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        await self._group.__aexit__(kind, error, trace)

    def start(
        self, name: str, run: Callable[[], Coroutine[Any, Any, T]], *, restart_seconds: float | None = None
    ) -> asyncio.Task[T]:
        """Start `run()` as a child called `name`."""
        task = spawn(self._group, self._guard(name, run, restart_seconds), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    @property
    def group(self) -> asyncio.TaskGroup:
        """The group itself, for a SingleFlight whose work belongs to this root."""
        return self._group

    def stop(self) -> None:
        """Cancel every child; the block then ends."""
        for task in list(self._tasks):
            task.cancel()

    async def _guard(self, name: str, run: Callable[[], Coroutine[Any, Any, T]], restart_seconds: float | None) -> T:
        while True:
            try:
                # in a task of its own: a TaskGroup that fails leaves a cancellation counted on the task it was in,
                # and by that count it is told below whether this child was stopped
                return await asyncio.create_task(run(), name=name)
            except Exception as error:
                if restart_seconds is None:
                    raise
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    # What a group inside fails with while it is being cancelled must not pass for a crash: a child
                    # that was told to stop and starts again would never end.
                    raise asyncio.CancelledError from error
                log.exception("child failed, restarting", extra={"child": name, "restart_seconds": restart_seconds})
            await self._clock.sleep(restart_seconds)


class SingleFlight(Generic[K, T]):
    """Runs at most one piece of work per key; later callers wait for the one under way.

    The work belongs to `group`. Cancelling a caller cancels its wait; the work itself is cancelled only when its
    last waiter is gone.
    """

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self._flights: dict[K, asyncio.Task[_Outcome[T]]] = {}
        self._waiters: dict[K, int] = {}

    def is_flying(self, key: K) -> bool:
        """Whether work for `key` is under way."""
        return key in self._flights

    async def run(self, key: K, work: Callable[[], Awaitable[T]]) -> T:
        """The result of the flight for `key`, starting `work()` if there is none. Raises what the work raised."""
        flight = self._flights.get(key)
        if flight is None:

            async def fly() -> _Outcome[T]:
                try:
                    return _Outcome(value=await work())
                except Exception as error:  # noqa: BLE001 - handed to every waiter, never to the group
                    return _Outcome(error=error)
                finally:
                    self._flights.pop(key, None)

            flight = spawn(self._group, fly(), name=f"flight/{key}")
            self._flights[key] = flight
        self._waiters[key] = self._waiters.get(key, 0) + 1
        try:
            outcome = await asyncio.shield(flight)
        except asyncio.CancelledError:
            if self._waiters[key] == 1 and not flight.done():
                # leaving the table at once: a caller that arrives now must not join a dying flight
                if self._flights.get(key) is flight:
                    del self._flights[key]
                flight.cancel()
            raise
        finally:
            self._waiters[key] -= 1
            if not self._waiters[key]:
                del self._waiters[key]
        if outcome.error is not None:
            raise outcome.error
        return outcome.value  # type: ignore[return-value]  # no error means a value


class Uninterrupted:
    """Runs work that a cancelled caller must not tear in the middle: it belongs to `group` and runs to its end."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group

    async def run(self, work: Callable[[], Awaitable[T]]) -> T:
        """The result of `work()`. A cancelled caller waits until the work ended; an error of it is then dropped."""

        async def outcome() -> _Outcome[T]:
            try:
                return _Outcome(value=await work())
            except Exception as error:  # noqa: BLE001 - handed to the caller, never to the group
                return _Outcome(error=error)

        task = spawn(self._group, outcome())
        try:
            result = await asyncio.shield(task)
        except asyncio.CancelledError:
            while not task.done():
                with suppress(asyncio.CancelledError):
                    await asyncio.wait([task])
            raise
        if result.error is not None:
            raise result.error
        return result.value  # type: ignore[return-value]  # no error means a value


class _Outcome(Generic[T]):
    __slots__ = ("error", "value")

    def __init__(self, *, value: T | None = None, error: Exception | None = None) -> None:
        self.value, self.error = value, error
