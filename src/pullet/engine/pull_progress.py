"""Pulls under way, as values. Written by worker threads, read by whoever shows them."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pullet.cri.extensions import LayerPhase, LayerProgress, PullProgressUpdate
from pullet.kit.clock import Clock
from pullet.oci.digest import Digest


class PullTicket:
    """The progress of one pull. `add_bytes` is called per piece and costs an addition."""

    def __init__(self, image: str, started_at: float) -> None:
        self._image, self._started_at = image, started_at
        self._phase = "resolving"
        self._order: list[Digest] = []
        self._phases: dict[Digest, LayerPhase] = {}
        self._totals: dict[Digest, int] = {}
        self._done: dict[Digest, int] = {}

    def plan(self, layers: Sequence[tuple[Digest, int, bool]]) -> None:
        """The layers are known: digest, compressed bytes, whether it is here already."""
        for digest, size_bytes, is_present in layers:
            self._phases[digest] = LayerPhase.EXISTS if is_present else LayerPhase.WAITING
            self._totals[digest], self._done[digest] = size_bytes, size_bytes if is_present else 0
        self._order = list(self._phases)  # last: a reader sees either no layer or all of them
        self._phase = "pulling"

    def set_phase(self, digest: Digest, phase: LayerPhase) -> None:
        """A layer goes on."""
        self._phases[digest] = phase
        if phase is LayerPhase.COMPLETE:
            self._done[digest] = self._totals[digest]

    def add_bytes(self, digest: Digest, count: int) -> None:
        """Compressed bytes of a layer arrived."""
        self._done[digest] += count
        if self._done[digest] >= self._totals[digest]:
            self._phases[digest] = LayerPhase.COMMITTING

    def restart(self, digest: Digest) -> None:
        """What arrived of a layer was wrong: it is fetched anew."""
        self._done[digest] = 0
        self._phases[digest] = LayerPhase.DOWNLOADING

    def finish(self, *, is_done: bool) -> None:
        """The pull ended."""
        self._phase = "done" if is_done else "failed"

    def snapshot(self) -> PullProgressUpdate:
        """How far it is."""
        layers = tuple(
            LayerProgress(digest, self._phases[digest], self._done[digest], self._totals[digest])
            for digest in self._order
        )
        return PullProgressUpdate(self._image, self._phase, layers, self._started_at)


class PullBoard:
    """Every pull under way. Thread-safe."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._tickets: dict[int, PullTicket] = {}

    @contextmanager
    def pulling(self, image: str) -> Iterator[PullTicket]:
        """A ticket that is on the board for the block."""
        ticket = PullTicket(image, self._clock.monotonic())
        with self._lock:
            number = next(self._numbers)
            self._tickets[number] = ticket
        try:
            yield ticket
        except BaseException:
            ticket.finish(is_done=False)
            raise
        else:
            ticket.finish(is_done=True)
        finally:
            with self._lock:
                del self._tickets[number]

    def snapshot(self) -> tuple[PullProgressUpdate, ...]:
        """Every pull under way, oldest first."""
        with self._lock:
            tickets = list(self._tickets.values())
        return tuple(ticket.snapshot() for ticket in tickets)
