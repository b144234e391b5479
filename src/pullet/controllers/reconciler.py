"""The engine of every controller: a queue of keys, each reconciled alone, again on change, later after failure.

A key that is added while it is being reconciled is reconciled once more afterwards; added ten times while it waits,
it is reconciled once. Failures of one key delay that key alone.
Source: client-go util/workqueue.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress

from pullet.base.errors import PulletError
from pullet.base.values import Value
from pullet.kit.clock import Clock
from pullet.kit.tasks import spawn
from pullet.kube.status import ConflictError, NotFoundError
from pullet.kubeclient.object_cache import Change, Key
from pullet.kubeclient.reflector import Reflector

log = logging.getLogger(__name__)

_BACK_OFF_START_SECONDS = 0.05
_BACK_OFF_LIMIT_SECONDS = 60.0


class Source(Value):
    """Changes of one collection and the keys each of them concerns."""

    reflector: Reflector
    keys: Callable[[Change], Iterable[Key]]


def same_key(change: Change) -> Iterable[Key]:
    """The changed object itself."""
    return (change.key,)


class Reconciler:
    """Runs `reconcile(key)` for keys of `sources`, and for those added by hand.

    `reconcile` reads the caches, decides, writes, and returns the seconds after which it wants to be called again
    (None: when something changes). Raising PulletError means: later again, with growing distance.
    """

    def __init__(
        self,
        *,
        name: str,
        clock: Clock,
        reconcile: Callable[[Key], Awaitable[float | None]],
        sources: Sequence[Source],
        needs: Sequence[Reflector] = (),
        workers: int = 1,
    ) -> None:
        self.name = name
        self._clock = clock
        self._reconcile = reconcile
        self._sources = sources
        self._needs = [*(source.reflector for source in sources), *needs]
        self._workers = workers
        self._waiting: dict[Key, None] = {}
        self._running: set[Key] = set()
        self._again: set[Key] = set()
        self._failures: dict[Key, int] = {}
        self._timers: dict[Key, tuple[float, asyncio.Task[None]]] = {}
        self._wake = asyncio.Condition()
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Reconcile until cancelled; nothing is done before every cache it reads is filled."""
        for reflector in self._needs:
            await reflector.wait_synced()
        async with asyncio.TaskGroup() as group:
            self._group = group
            for source in self._sources:
                group.create_task(self.follow(source), name=f"{self.name}/follow/{source.reflector.resource}")
            for number in range(self._workers):
                group.create_task(self._work(), name=f"{self.name}/worker/{number}")

    async def add(self, key: Key) -> None:
        """Reconcile the key as soon as a worker is free."""
        async with self._wake:
            if key in self._running:
                self._again.add(key)
            elif key not in self._waiting:
                self._waiting[key] = None
                self._wake.notify()

    def add_after(self, key: Key, seconds: float) -> None:
        """Reconcile the key in `seconds`, unless an earlier call for it is set already."""
        if self._group is None:
            raise RuntimeError(f"{self.name} is not running")
        due = self._clock.monotonic() + seconds
        known = self._timers.get(key)
        if known is not None and not known[1].done():
            if known[0] <= due:
                return
            known[1].cancel()
        with suppress(RuntimeError):  # all is ending: there is no later
            task = spawn(self._group, self._add_later(key, seconds), name=f"{self.name}/timer/{key}")
            self._timers[key] = (due, task)

    async def _add_later(self, key: Key, seconds: float) -> None:
        await self._clock.sleep(seconds)
        if self._timers.get(key, (0.0, None))[1] is asyncio.current_task():
            del self._timers[key]
        await self.add(key)

    async def follow(self, source: Source) -> None:
        """Add the keys of a source's changes until cancelled; for sources that come after the start."""
        changes = source.reflector.changes()
        try:
            async for change in changes:
                for key in source.keys(change):
                    await self.add(key)
        finally:
            changes.close()

    async def _work(self) -> None:
        while True:
            async with self._wake:
                await self._wake.wait_for(lambda: bool(self._waiting))
                key = next(iter(self._waiting))
                del self._waiting[key]
                self._running.add(key)
            try:
                await self._once(key)
            finally:
                self._running.discard(key)
            if key in self._again:
                self._again.discard(key)
                await self.add(key)

    async def _once(self, key: Key) -> None:
        try:
            again_in = await self._reconcile(key)
        except (ConflictError, NotFoundError) as error:
            # somebody wrote first: the watch brings what is now true, look again then
            self._retry(key, error, logging.DEBUG)
        except PulletError as error:
            self._retry(key, error, logging.WARNING)
        else:
            self._failures.pop(key, None)
            if again_in is not None:
                self.add_after(key, again_in)

    def _retry(self, key: Key, error: PulletError, level: int) -> None:
        count = self._failures.get(key, 0)
        self._failures[key] = count + 1
        delay = min(_BACK_OFF_START_SECONDS * 2 ** min(count, 16), _BACK_OFF_LIMIT_SECONDS)
        log.log(
            level,
            "reconcile failed",
            extra={"controller": self.name, "key": "/".join(key), "error": str(error), "retry_seconds": delay},
        )
        self.add_after(key, delay)
