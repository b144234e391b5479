"""The API server's metrics in Prometheus' text form. Source: apiserver pkg/endpoints/metrics/metrics.go."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter

import msgspec

from pullet.apiserver.routing import RequestInfo
from pullet.apiserver.served_resources import ServedResources
from pullet.apiserver.storage import Storage
from pullet.base.values import State

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS = (
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0,
)  # fmt: skip
_LONG = frozenset({"log", "exec", "attach", "portforward"})

Labels = tuple[tuple[str, str], ...]


class _Histogram(State):
    counts: list[int] = msgspec.field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    total: float = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.total += seconds


class ApiMetrics:
    """Counts requests; `render()` gives the exposition. Watches and streams are counted, their length is not."""

    def __init__(self, *, storage: Storage, served: ServedResources, git_version: str) -> None:
        self._storage = storage
        self._served = served
        self._git_version = git_version
        self._requests: Counter[Labels] = Counter()
        self._seconds: dict[Labels, _Histogram] = {}
        self.inflight = 0

    def observe(self, info: RequestInfo, code: int, seconds: float, *, dry_run: bool) -> None:
        """One request answered."""
        labels = _labels(info)
        dry = (("dry_run", "All"),) if dry_run else (("dry_run", ""),)
        self._requests[tuple(sorted((*labels, *dry, ("code", str(code)))))] += 1
        if info.verb != "watch" and info.subresource_name not in _LONG:
            self._seconds.setdefault(labels, _Histogram()).observe(seconds)

    def render(self) -> str:
        """All of it."""
        lines = _head("apiserver_request_total", "counter", "Requests by verb, resource, scope and HTTP code.")
        lines += [_line("apiserver_request_total", labels, count) for labels, count in sorted(self._requests.items())]
        name = "apiserver_request_duration_seconds"
        lines += _head(name, "histogram", "Response latency in seconds, without watches and streams.")
        for labels, histogram in sorted(self._seconds.items(), key=lambda row: row[0]):
            seen = 0
            for bound, count in zip((*BUCKETS, "+Inf"), histogram.counts, strict=True):
                seen += count
                lines.append(_line(f"{name}_bucket", (*labels, ("le", str(bound))), seen))
            lines += [_line(f"{name}_sum", labels, round(histogram.total, 6)), _line(f"{name}_count", labels, seen)]
        lines += _head("apiserver_current_inflight_requests", "gauge", "Requests being answered, without watches.")
        lines.append(_line("apiserver_current_inflight_requests", (), self.inflight))
        lines += _head("apiserver_storage_objects", "gauge", "Stored objects by resource.")
        stored = {row.storage_key: row for row in reversed(self._served.rows()) if row.is_stored}
        lines += [
            _line("apiserver_storage_objects", (("resource", row.group_resource),), len(self._storage.list(key)))
            for key, row in sorted(stored.items(), key=lambda pair: pair[1].group_resource)
        ]
        lines += _head("kubernetes_build_info", "gauge", "The version served.")
        lines.append(_line("kubernetes_build_info", (("git_version", self._git_version),), 1))
        return "\n".join(lines) + "\n"


def _labels(info: RequestInfo) -> Labels:
    scope = "resource" if info.name else "namespace" if info.namespace else "cluster"
    row = info.resource
    return (
        ("component", "apiserver"), ("group", row.group), ("resource", row.plural), ("scope", scope),
        ("subresource", info.subresource_name), ("verb", _VERBS.get(info.verb, info.verb.upper())),
        ("version", row.version),
    )  # fmt: skip


_VERBS = {"create": "POST", "update": "PUT"}


def _head(name: str, kind: str, text: str) -> list[str]:
    return [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]


def _line(name: str, labels: Labels, value: float) -> str:
    inner = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels)
    return f"{name}{{{inner}}} {value}" if inner else f"{name} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
