"""Durations as Kubernetes prints them: Go's `1m30.5s` and kubectl's short ages.

Source: Go time.Duration.String and ParseDuration; apimachinery pkg/util/duration.
"""

from __future__ import annotations

import re
from datetime import timedelta

_NANOSECONDS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_TERM = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")


def parse_go_duration(text: str) -> timedelta:
    """`1h15m30.918273645s`, `-1.5h`, `300ms` as a timedelta (microsecond precision).

    Raises:
        ValueError: not in Go's syntax.
    """
    sign, rest = (-1, text[1:]) if text.startswith("-") else (1, text.removeprefix("+"))
    if rest == "0":
        return timedelta(0)
    total = 0.0
    position = 0
    for term in _TERM.finditer(rest):
        if term.start() != position:
            break
        total += float(term[1]) * _NANOSECONDS[term[2]]
        position = term.end()
    if not rest or position != len(rest):
        raise ValueError(f'time: invalid duration "{text}"')
    return timedelta(microseconds=sign * total / 1000)


def _decimal(value: int, unit: int) -> str:
    """`value / unit` with as many decimals as needed."""
    whole, part = divmod(value, unit)
    if not part:
        return str(whole)
    return f"{whole}.{str(part).zfill(len(str(unit)) - 1).rstrip('0')}"


def format_go_duration(duration: timedelta) -> str:
    """As Go prints it: `0s`, `1.5ms`, `2h0m30.25s`."""
    microseconds = round(duration / timedelta(microseconds=1))
    return format_go_nanoseconds(microseconds * 1000)


def format_go_nanoseconds(nanoseconds: int) -> str:
    """The same, from whole nanoseconds."""
    if nanoseconds == 0:
        return "0s"
    sign, value = ("-", -nanoseconds) if nanoseconds < 0 else ("", nanoseconds)
    if value < 1_000:
        return f"{sign}{value}ns"
    if value < 1_000_000:
        return f"{sign}{_decimal(value, 1_000)}µs"
    if value < 1_000_000_000:
        return f"{sign}{_decimal(value, 1_000_000)}ms"
    minutes, rest = divmod(value, _NANOSECONDS["m"])
    text = f"{_decimal(rest, 1_000_000_000)}s"
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{sign}{hours}h{minutes}m{text}"
    return f"{sign}{minutes}m{text}" if minutes else f"{sign}{text}"


def human_duration(age: timedelta) -> str:
    """Kubectl's age: two units at most, the second one only while it matters. Source: HumanDuration."""
    seconds = int(age.total_seconds())  # towards zero, as Go converts
    if seconds < -1:
        return "<invalid>"
    if seconds < 0:
        return "0s"
    if seconds < 120:
        return f"{seconds}s"
    minutes = seconds // 60
    if minutes < 10:
        rest = seconds % 60
        return f"{minutes}m{rest}s" if rest else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    hours = seconds // 3600
    if hours < 8:
        rest = minutes % 60
        return f"{hours}h{rest}m" if rest else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    days = hours // 24
    if hours < 192:
        rest = hours % 24
        return f"{days}d{rest}h" if rest else f"{days}d"
    if hours < 24 * 365 * 2:
        return f"{days}d"
    years = hours // 24 // 365
    if hours < 24 * 365 * 8:
        rest = days % 365
        return f"{years}y{rest}d" if rest else f"{years}y"
    return f"{years}y"
