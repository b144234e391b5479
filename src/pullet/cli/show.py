"""What people read: tables, sizes, times. Plain text, no colour unless the terminal shows it."""

from __future__ import annotations

from collections.abc import Sequence

_UNITS = ("B", "kB", "MB", "GB", "TB")


def human_size(size_bytes: float) -> str:
    """Decimal units with three significant digits, as `docker images` prints them."""
    value = float(size_bytes)
    for unit in _UNITS:
        if value < 999.5 or unit == _UNITS[-1]:
            return f"{value:.0f}{unit}" if unit == "B" else f"{value:.3g}{unit}"
        value /= 1000
    raise AssertionError("unreachable")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns aligned with three spaces between, as kubectl prints them; no trailing spaces."""
    lines = [list(header), *[list(row) for row in rows]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def short_digest(digest: str) -> str:
    """The first twelve hex digits, as docker shows ids."""
    return digest.removeprefix("sha256:")[:12]
