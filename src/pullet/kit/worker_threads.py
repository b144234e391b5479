"""Bounded thread pools whose work is waited for, even on cancellation.

The loop moves small things and decides; threads hash, decompress, write and talk to SQLite. Cancelling a task that
waits on a thread asks the thread to stop (through `StopFlag`) and waits until it did, so nothing runs on behind
the back of whoever cancelled.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import ParamSpec, TypeVar

from pullet.base.errors import PulletError

P = ParamSpec("P")
T = TypeVar("T")


class StoppedError(PulletError):
    """The work was asked to stop and did, leaving nothing half-visible behind."""

    reason = "Stopped"


class StopFlag:
    """Asks work on threads to stop; `on_stop` callbacks wake it out of blocking calls (close the socket)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_set = False
        self._callbacks: list[Callable[[], object]] = []

    @property
    def is_set(self) -> bool:
        """Whether stop was asked for."""
        return self._is_set

    def check(self) -> None:
        """Raise StoppedError if stop was asked for; called between chunks."""
        if self._is_set:
            raise StoppedError("stopped on request")

    def stop(self) -> None:
        """Ask for stop; callbacks run once, in the calling thread."""
        with self._lock:
            if self._is_set:
                return
            self._is_set = True
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            with suppress(OSError):
                callback()

    def on_stop(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Call `callback` at stop (at once if already stopped); the returned function takes it back."""
        with self._lock:
            if not self._is_set:
                self._callbacks.append(callback)

                def forget() -> None:
                    with self._lock, suppress(ValueError):
                        self._callbacks.remove(callback)

                return forget
        with suppress(OSError):  # as in `stop`: a socket that is gone already needs no waking
            callback()
        return lambda: None


class WorkerThreads:
    """A bounded, named pool. `run` never abandons a running function."""

    def __init__(self, name: str, size: int) -> None:
        self._pool = ThreadPoolExecutor(max_workers=size, thread_name_prefix=name)
        self.size = size
        self._waiting = 0

    @property
    def is_idle(self) -> bool:
        """Whether nobody on the loop waits for this pool."""
        return self._waiting == 0

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work(*args, **kwargs)` on the pool. Cancelled: not started work is dropped, running work waited out."""
        return await self._wait(lambda: work(*args, **kwargs), None)

    async def run_stoppable(self, work: Callable[[StopFlag], T]) -> T:
        """Run `work(flag)`; cancelling the caller sets the flag and waits for the work to come back."""
        flag = StopFlag()
        return await self._wait(lambda: work(flag), flag)

    async def _wait(self, work: Callable[[], T], flag: StopFlag | None) -> T:
        future = self._pool.submit(work)
        waiting = asyncio.wrap_future(future)
        self._waiting += 1
        try:
            return await asyncio.shield(waiting)
        except asyncio.CancelledError:
            if not future.cancel():
                if flag is not None:
                    flag.stop()
                while not waiting.done():
                    with suppress(asyncio.CancelledError, Exception):
                        await asyncio.wait([waiting])
                if not waiting.cancelled():
                    waiting.exception()  # seen; the cancellation is what the caller gets
            raise
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Wait for running work and end the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    async def aclose(self) -> None:
        """`close` for callers on the loop, which must not block it."""
        await asyncio.get_running_loop().run_in_executor(None, self.close)
