"""The aims of a cold pull, held against the rows of one race: the median ratio of wall times, of CPU in brackets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.rows import Row, median_ratio


@dataclass(frozen=True)
class Aim:
    """`ours` takes at most `limit` times what `theirs` takes, or what is said for an image."""

    theirs: str
    limit: float
    ours: tuple[str, ...] = ("pullet", "pullet-node")  # the command alone, and the command asking a running node
    limits: dict[str, float] = field(default_factory=dict)


AIMS = (
    Aim("containerd2-erofs", 0.5),
    Aim("containerd2", 0.4, limits={"node": 0.25}),
    Aim("containerd2", 0.6, ours=("pullet-directory", "pullet-node-directory")),
    Aim("containerd", 0.3),
    Aim("podman", 0.25),
    Aim("verify only", 1.15),
)


def report_aims(rows: Sequence[Row]) -> None:
    """A row per aim whose tools raced, a column per image."""
    cold = [row for row in rows if row.kind == "cold"]
    images = list(dict.fromkeys(row.image for row in cold))
    tools = {row.tool for row in cold}
    print("\n| cold, ours ÷ theirs | " + " | ".join(images) + " |\n" + "|---" * (1 + len(images)) + "|")
    for aim in AIMS:
        for ours in (one for one in aim.ours if {one, aim.theirs} <= tools):
            cells = [_cell([row for row in cold if row.image == image], ours, aim, image) for image in images]
            print(f"| {ours} ÷ {aim.theirs} | " + " | ".join(cells) + " |")


def _cell(rows: Sequence[Row], ours: str, aim: Aim, image: str) -> str:
    limit = aim.limits.get(image, aim.limit)
    wall = median_ratio(rows, ours, aim.theirs, lambda row: row.wall_seconds)
    cpu = median_ratio(rows, ours, aim.theirs, lambda row: row.cpu_seconds)
    if wall is None or cpu is None:
        return ""
    return f"{wall:.2f} ({cpu:.2f}) {'yes' if wall <= limit else 'no'}, ≤ {limit}"
