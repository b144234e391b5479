"""Hard eviction thresholds: when a node is short of disk or memory.

Signals of process ids and of a separate container file system are accepted and not acted on.
Source: kubernetes pkg/kubelet/eviction/helpers.go, pkg/kubelet/apis/config/v1beta1/defaults_linux.go.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from decimal import Decimal
from enum import StrEnum

from pullet.base.errors import UsageError
from pullet.base.values import Value
from pullet.kube.quantity import Quantity, parse_quantity

MEMORY_PRESSURE = "MemoryPressure"
DISK_PRESSURE = "DiskPressure"
MEMORY, STORAGE, INODES = "memory", "ephemeral-storage", "inodes"
NOTHING = Quantity(Decimal(0))


class EvictionSignal(StrEnum):
    """What a threshold is about, most urgent first. `nodefs` holds pods' files and logs, `imagefs` the images."""

    MEMORY_AVAILABLE = "memory.available"
    NODEFS_AVAILABLE = "nodefs.available"
    NODEFS_INODES_FREE = "nodefs.inodesFree"
    IMAGEFS_AVAILABLE = "imagefs.available"
    IMAGEFS_INODES_FREE = "imagefs.inodesFree"

    @property
    def resource(self) -> str:
        """What the node is low on: `memory`, `ephemeral-storage` or `inodes`."""
        if self is EvictionSignal.MEMORY_AVAILABLE:
            return MEMORY
        return INODES if self.value.endswith(".inodesFree") else STORAGE

    @property
    def condition(self) -> str:
        """The node's condition while the threshold is met."""
        return MEMORY_PRESSURE if self is EvictionSignal.MEMORY_AVAILABLE else DISK_PRESSURE

    @property
    def is_of_imagefs(self) -> bool:
        """Whether it is about the file system of the images."""
        return self.value.startswith("imagefs.")


DEFAULT_EVICTION_HARD = {
    "memory.available": "100Mi",
    "nodefs.available": "10%",
    "nodefs.inodesFree": "5%",
    "imagefs.available": "15%",
    "imagefs.inodesFree": "5%",
}
IGNORED_SIGNALS = frozenset(
    {"allocatableMemory.available", "pid.available", "containerfs.available", "containerfs.inodesFree"}
)


class Observation(Value):
    """What is left of what there is: bytes, or inodes."""

    available: int
    capacity: int


class EvictionThreshold(Value):
    """Less than this is pressure: a share of the capacity (0 to 1), or an amount when `share` is None."""

    signal: EvictionSignal
    share: float | None = None
    amount: Quantity = NOTHING

    def quantity(self, observation: Observation) -> Quantity:
        """The threshold for this capacity."""
        if self.share is None:
            return self.amount
        return Quantity(Decimal(int(observation.capacity * self.share)), "BinarySI")

    def is_met(self, observation: Observation) -> bool:
        """Whether there is too little left. A file system that tells no capacity (of inodes) is never short of it."""
        return observation.capacity > 0 and observation.available < self.quantity(observation).value


def parse_thresholds(values: Mapping[str, str]) -> tuple[EvictionThreshold, ...]:
    """The thresholds of `evictionHard`, most urgent first. A value of 0 (or 0 %) switches its signal off.

    Raises:
        UsageError: an unknown signal, or neither a percentage nor a quantity.
    """
    known = list(EvictionSignal)
    thresholds = []
    for name, value in values.items():
        if name in IGNORED_SIGNALS:
            continue
        if name not in {signal.value for signal in known}:
            raise UsageError(f"evictionHard: unknown signal {name!r}: one of {', '.join(sorted(known))}")
        threshold = _parse(EvictionSignal(name), value)
        if threshold.share or threshold.amount:
            thresholds.append(threshold)
    return tuple(sorted(thresholds, key=lambda threshold: known.index(threshold.signal)))


def _parse(signal: EvictionSignal, value: str) -> EvictionThreshold:
    try:
        if value.endswith("%"):
            share = _single(_single(float(value[:-1])) / 100)
            if not 0 <= share < 1:
                raise ValueError(value)
            return EvictionThreshold(signal, share=share)
        amount = parse_quantity(value)
    except ValueError as error:
        text = f"evictionHard: {signal.value}: {value!r} is neither a percentage below 100% nor a quantity such as 1Gi"
        raise UsageError(text) from error
    if amount.value < 0:
        raise UsageError(f"evictionHard: {signal.value}: {value} must be positive")
    return EvictionThreshold(signal, amount=amount)


def _single(number: float) -> float:
    """Rounded to single precision, in which the kubelet keeps percentages: its messages show the last digit."""
    rounded: float = struct.unpack("f", struct.pack("f", number))[0]
    return rounded


def met_thresholds(
    thresholds: Sequence[EvictionThreshold], observations: Mapping[EvictionSignal, Observation]
) -> tuple[EvictionThreshold, ...]:
    """Those that are met; a signal that was not observed is not."""
    return tuple(each for each in thresholds if each.signal in observations and each.is_met(observations[each.signal]))
