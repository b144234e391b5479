"""The node's metrics in Prometheus' text form. Source: kubelet-images spec 23 (pkg/kubelet/metrics/metrics.go)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import msgspec

from pullet.base.values import State

MIB = 1 << 20
GIB = 1 << 30
PULL_BUCKETS = (1, 5, 10, 20, 30, 60, 120, 180, 240, 300, 360, 480, 600, 900, 1200, 1800, 2700, 3600)
_SIZES = (
    (100 * GIB, "GT100GB"),
    (60 * GIB, "60GB-100GB"),
    (40 * GIB, "40GB-60GB"),
    (30 * GIB, "30GB-40GB"),
    (20 * GIB, "20GB-30GB"),
    (10 * GIB, "10GB-20GB"),
    (5 * GIB, "5GB-10GB"),
    (GIB, "1GB-5GB"),
    (500 * MIB, "500MB-1GB"),
    (100 * MIB, "100MB-500MB"),
    (10 * MIB, "10MB-100MB"),
    (0, "0-10MB"),
)


def image_size_label(size_bytes: int) -> str:
    """The label `image_size_in_bytes`; exactly 10 MiB is still 0-10MB."""
    if size_bytes == 0:
        return "N/A"
    return next(label for bound, label in _SIZES if size_bytes > bound)


class _Histogram(State):
    buckets: Sequence[float]
    counts: list[int] = msgspec.field(default_factory=list)
    total: float = 0.0
    count: int = 0

    def observe(self, value: float) -> None:
        self.counts = self.counts or [0] * len(self.buckets)
        for number, bound in enumerate(self.buckets):
            self.counts[number] += value <= bound
        self.total += value
        self.count += 1


class NodeMetrics:
    """Counters and histograms; `render()` gives the exposition."""

    def __init__(self) -> None:
        self._counters: dict[str, Counter[tuple[tuple[str, str], ...]]] = defaultdict(Counter)
        self._pulls: dict[str, _Histogram] = defaultdict(lambda: _Histogram(PULL_BUCKETS))

    def count(self, name: str, **labels: str) -> None:
        """One more of the counter `name`."""
        self._counters[name][tuple(sorted(labels.items()))] += 1

    def observe_pull(self, *, size_bytes: int, seconds: float) -> None:
        """A pull succeeded; `seconds` includes waiting."""
        self._pulls[image_size_label(size_bytes)].observe(seconds)

    def render(self, gauges: Mapping[str, float]) -> str:
        """Prometheus text format 0.0.4."""
        lines: list[str] = []
        for name, value in sorted(gauges.items()):
            lines += [f"# TYPE {name} gauge", f"{name} {value:g}"]
        for name, series in sorted(self._counters.items()):
            lines.append(f"# TYPE {name} counter")
            lines += [f"{name}{_labels(labels)} {value}" for labels, value in sorted(series.items())]
        if self._pulls:
            name = "kubelet_image_pull_duration_seconds"
            lines.append(f"# TYPE {name} histogram")
            for size, histogram in sorted(self._pulls.items()):
                lines += _histogram_lines(name, size, histogram)
        return "\n".join([*lines, ""])


def _histogram_lines(name: str, size: str, histogram: _Histogram) -> list[str]:
    label = ("image_size_in_bytes", size)
    lines = [
        f"{name}_bucket{_labels((label, ('le', f'{bound:g}')))} {count}"
        for bound, count in zip(histogram.buckets, histogram.counts, strict=True)
    ]
    lines.append(f"{name}_bucket{_labels((label, ('le', '+Inf')))} {histogram.count}")
    lines.append(f"{name}_sum{_labels((label,))} {histogram.total:g}")
    lines.append(f"{name}_count{_labels((label,))} {histogram.count}")
    return lines


def _labels(labels: Sequence[tuple[str, str]]) -> str:
    inside = ",".join(f'{name}="{value}"' for name, value in labels)
    return f"{{{inside}}}" if inside else ""
