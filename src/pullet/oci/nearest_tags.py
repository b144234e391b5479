"""Which of a repository's tags somebody may have meant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

MAX_COMPARED: Final = 1000
MAX_DISTANCE: Final = 4


def nearest_tags(wanted: str, tags: Iterable[str], *, limit: int = 3) -> Sequence[str]:
    """At most `limit` of `tags`, nearest first; nothing where none is near.

    Near is: a few single-character edits away, fewer for short tags, or longer or shorter by whole parts (`1.17` for
    `1.17.1-alpine`).
    """
    allowed = min(MAX_DISTANCE, 1 + len(wanted) // 3)
    found: list[tuple[int, int, str]] = []
    for tag in list(tags)[:MAX_COMPARED]:
        distance = 1 if _is_part(wanted, tag) or _is_part(tag, wanted) else edit_distance(wanted, tag, allowed)
        if distance <= allowed:
            found.append((distance, -_common_start(wanted, tag), tag))
    return [tag for _, _, tag in sorted(found)[:limit]]


def edit_distance(one: str, other: str, limit: int) -> int:
    """Characters to insert, remove or replace to turn one into the other; `limit + 1` stands for more than `limit`."""
    if abs(len(one) - len(other)) > limit:
        return limit + 1
    row = list(range(len(other) + 1))
    for i, left in enumerate(one, 1):
        before, row = row, [i]
        for j, right in enumerate(other, 1):
            row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (left != right)))
        if min(row) > limit:
            return limit + 1
    return min(row[-1], limit + 1)


def _is_part(whole: str, start: str) -> bool:
    return len(start) < len(whole) and whole.startswith(start) and whole[len(start)] in ".-_+"


def _common_start(one: str, other: str) -> int:
    count = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        count += 1
    return count
