"""Hard eviction thresholds of the disks: when a node is under disk pressure.

Signals of memory and process ids are accepted and not acted on: this node evicts no pods, it frees disk.
Source: kubernetes pkg/kubelet/eviction/helpers.go, pkg/kubelet/apis/config/v1beta1/defaults_linux.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pullet.base.errors import UsageError
from pullet.kube.quantity import parse_quantity


class EvictionSignal(StrEnum):
    """What a threshold is about. `nodefs` holds pods' files and logs, `imagefs` the images."""

    NODEFS_AVAILABLE = "nodefs.available"
    NODEFS_INODES_FREE = "nodefs.inodesFree"
    IMAGEFS_AVAILABLE = "imagefs.available"
    IMAGEFS_INODES_FREE = "imagefs.inodesFree"


DEFAULT_EVICTION_HARD = {
    "memory.available": "100Mi",
    "nodefs.available": "10%",
    "nodefs.inodesFree": "5%",
    "imagefs.available": "15%",
    "imagefs.inodesFree": "5%",
}
IGNORED_SIGNALS = frozenset(
    {"memory.available", "allocatableMemory.available", "pid.available", "containerfs.available"}
    | {"containerfs.inodesFree"}
)


@dataclass(frozen=True, slots=True)
class EvictionThreshold:
    """Less than this is pressure: a share of the capacity (0 to 1), or an amount when `share` is None."""

    signal: EvictionSignal
    share: float | None = None
    amount: int = 0

    def is_met(self, observation: Observation) -> bool:
        """Whether there is too little left. A file system that tells no capacity (of inodes) is never short of it."""
        if observation.capacity <= 0:
            return False
        limit = self.amount if self.share is None else observation.capacity * self.share
        return observation.available < limit


@dataclass(frozen=True, slots=True)
class Observation:
    """What is left of what there is: bytes, or inodes."""

    available: int
    capacity: int


def parse_thresholds(values: Mapping[str, str]) -> tuple[EvictionThreshold, ...]:
    """The disk thresholds of `evictionHard`. A value of 0 (or 0 %) switches its signal off.

    Raises:
        UsageError: an unknown signal, or neither a percentage nor a quantity.
    """
    known = {signal.value for signal in EvictionSignal}
    thresholds = []
    for name, value in values.items():
        if name in IGNORED_SIGNALS:
            continue
        if name not in known:
            raise UsageError(f"evictionHard: unknown signal {name!r}: one of {', '.join(sorted(known))}")
        threshold = _parse(EvictionSignal(name), value)
        if threshold.share or threshold.amount:
            thresholds.append(threshold)
    return tuple(thresholds)


def _parse(signal: EvictionSignal, value: str) -> EvictionThreshold:
    try:
        if value.endswith("%"):
            share = float(value[:-1]) / 100
            if not 0 <= share < 1:
                raise ValueError(value)
            return EvictionThreshold(signal, share=share)
        amount = parse_quantity(value).units
    except ValueError as error:
        text = f"evictionHard: {signal.value}: {value!r} is neither a percentage below 100% nor a quantity such as 1Gi"
        raise UsageError(text) from error
    if amount < 0:
        raise UsageError(f"evictionHard: {signal.value}: {value} must be positive")
    return EvictionThreshold(signal, amount=amount)


def met_thresholds(
    thresholds: Sequence[EvictionThreshold], observations: Mapping[EvictionSignal, Observation]
) -> tuple[EvictionThreshold, ...]:
    """Those that are met; a signal that was not observed is not."""
    return tuple(each for each in thresholds if each.signal in observations and each.is_met(observations[each.signal]))
