"""Measured pulls, and the ratio of two tools inside the same run."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One measured pull."""

    tool: str
    image: str
    kind: str
    run: int
    wall_seconds: float
    cpu_seconds: float
    written_bytes: int
    peak_bytes: int
    requests: int
    body_bytes: int


def median_ratio(rows: Sequence[Row], ours: str, theirs: str, value: Callable[[Row], float]) -> float | None:
    """The median over the runs of ours ÷ theirs inside one run; None where they have no run in common."""
    mine = {row.run: value(row) for row in rows if row.tool == ours}
    pairs = [mine[row.run] / value(row) for row in rows if row.tool == theirs and row.run in mine and value(row)]
    return statistics.median(pairs) if pairs else None
