"""The CRI log line: `<RFC3339Nano> <stdout|stderr> <F|P> <text>`.

Source: kubernetes pkg/kubelet/kuberuntime/logs; one record per line written by the container, P for a part of a line
longer than the buffer.
"""

from __future__ import annotations

from datetime import UTC, datetime

from pullet.base.values import Value


class LogRecord(Value):
    """One record. `text` has no newline; `is_partial` says the line goes on in the next record of that stream."""

    timestamp: str  # RFC3339 with nanoseconds, UTC
    stream: str  # stdout | stderr
    is_partial: bool
    text: bytes


def format_timestamp(time_ns: int) -> str:
    """Nanoseconds since the epoch as Go's RFC3339Nano in UTC (always nine digits)."""
    seconds, nanos = divmod(time_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanos:09d}Z"


def format_record(record: LogRecord) -> bytes:
    """The line with its newline."""
    tag = b"P" if record.is_partial else b"F"
    return b"%s %s %s %s\n" % (record.timestamp.encode(), record.stream.encode(), tag, record.text)


def parse_record(line: bytes) -> LogRecord | None:
    """Read one line (with or without its newline); None if it is not a CRI log line."""
    parts = line.rstrip(b"\n").split(b" ", 3)
    if len(parts) != 4 or parts[1] not in (b"stdout", b"stderr"):
        return None
    timestamp, stream, tag, text = parts
    return LogRecord(timestamp.decode("ascii", "replace"), stream.decode(), tag.startswith(b"P"), text)
