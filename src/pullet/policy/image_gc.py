"""Which images may be removed, in which order, and how much space is wanted.

    detect ──► records (first seen, last used) ──► not in use, not pinned ──► oldest use first
    age:   never used, or unused for longer than maxAge ──► remove
    space: usage ≥ high ──► remove until usage would be low, sparing what is younger than minAge

Deleting is the caller's; it walks the lists given here. Times are seconds on one base. `plan_collection` tells
beforehand what a run would do to each image, and why.
Source: kubernetes pkg/kubelet/images/image_gc_manager.go; kubelet-images spec 17.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from pullet.base.errors import UsageError
from pullet.base.values import Value

NEVER_USED = float("-inf")


class ImageGCPolicy(Value, kw_only=True):
    """The settings. Garbage collection is off when the high threshold is 100 and there is no maximal age.

    Raises:
        UsageError: a threshold out of range, or low above high.
    """

    high_threshold_percent: int = 85
    low_threshold_percent: int = 80
    min_age_seconds: float = 120.0
    max_age_seconds: float = 0.0

    def __post_init__(self) -> None:
        high, low = self.high_threshold_percent, self.low_threshold_percent
        if not 0 <= high <= 100:
            raise UsageError(f"invalid HighThresholdPercent {high}, must be in range [0-100]")
        if not 0 <= low <= 100:
            raise UsageError(f"invalid LowThresholdPercent {low}, must be in range [0-100]")
        if low > high:
            raise UsageError(f"LowThresholdPercent {low} can not be higher than HighThresholdPercent {high}")

    @property
    def is_off(self) -> bool:
        """Whether images are never removed by themselves."""
        return self.high_threshold_percent == 100 and self.max_age_seconds == 0


class ImageOnDisk(Value, kw_only=True):
    """An image as the runtime lists it."""

    id: str
    size_bytes: int
    is_pinned: bool = False


class ImageRecord(Value, kw_only=True):
    """What is remembered about an image since this node first saw it."""

    id: str
    first_detected: float
    last_used: float = NEVER_USED
    size_bytes: int = 0
    is_pinned: bool = False


def detect_images(
    records: Mapping[str, ImageRecord], images: Iterable[ImageOnDisk], used_ids: Collection[str], now: float
) -> dict[str, ImageRecord]:
    """The records after a look at the runtime: new images dated, used ones touched, vanished ones dropped.

    An image is used when any container, running or ended, refers to its id, or mounts it.
    """
    detected: dict[str, ImageRecord] = {}
    for image in images:
        known = records.get(image.id)
        detected[image.id] = ImageRecord(
            id=image.id,
            first_detected=known.first_detected if known else now,
            last_used=now if image.id in used_ids else (known.last_used if known else NEVER_USED),
            size_bytes=image.size_bytes,
            is_pinned=image.is_pinned,
        )
    return detected


def removal_order(records: Mapping[str, ImageRecord], used_ids: Collection[str]) -> list[ImageRecord]:
    """Images that are neither used nor pinned: least recently used first, then first seen first."""
    candidates = (record for record in records.values() if record.id not in used_ids and not record.is_pinned)
    return sorted(candidates, key=lambda record: (record.last_used, record.first_detected, record.id))


def choose_aged(
    candidates: Iterable[ImageRecord], policy: ImageGCPolicy, *, began_at: float, now: float
) -> list[ImageRecord]:
    """Candidates unused for longer than maxAge; none until collection has itself run that long. minAge is not asked."""
    if policy.max_age_seconds <= 0 or now - began_at <= policy.max_age_seconds:
        return []
    return [record for record in candidates if now - record.last_used > policy.max_age_seconds]


def choose_for_space(candidates: Iterable[ImageRecord], *, min_age_seconds: float, now: float) -> list[ImageRecord]:
    """Candidates that may go for space, in order: not used since `now`, and seen for at least minAge.

    Remove one after the other until enough is freed; an error on one does not stop the walk.
    """
    return [
        record for record in candidates if record.last_used < now and now - record.first_detected >= min_age_seconds
    ]


class SpaceNeed(Value):
    """How full the image filesystem is and what has to go. `to_free_bytes` 0: below the high threshold."""

    usage_percent: int
    to_free_bytes: int


def compute_space_need(policy: ImageGCPolicy, *, capacity_bytes: int, available_bytes: int) -> SpaceNeed:
    """The need of a filesystem whose capacity is not 0; more available than there is counts as all of it."""
    available = min(available_bytes, capacity_bytes)
    usage = 100 - available * 100 // capacity_bytes
    if usage < policy.high_threshold_percent:
        return SpaceNeed(usage, 0)
    to_free = capacity_bytes * (100 - policy.low_threshold_percent) // 100 - available
    return SpaceNeed(usage, max(0, to_free))


class ImageVerdict(Value):
    """What a run does with one image, and why, as a sentence."""

    id: str
    size_bytes: int
    is_removed: bool
    why: str


class CollectionPlan(Value):
    """A run told beforehand: the images that go first, in the order they go."""

    need: SpaceNeed
    verdicts: tuple[ImageVerdict, ...]

    @property
    def removed_ids(self) -> tuple[str, ...]:
        """The images that go."""
        return tuple(verdict.id for verdict in self.verdicts if verdict.is_removed)


def plan_collection(
    records: Mapping[str, ImageRecord],
    users: Mapping[str, str],
    policy: ImageGCPolicy,
    *,
    need: SpaceNeed,
    began_at: float,
    now: float,
    removes_all_unused: bool = False,
) -> CollectionPlan:
    """What `collect` (or, with `removes_all_unused`, a run under disk pressure) does if no removal fails.

    `users` says of each image in use who uses it.
    """
    candidates = removal_order(records, users.keys())
    aged = [] if removes_all_unused else choose_aged(candidates, policy, began_at=began_at, now=now)
    gone = {record.id for record in aged}
    left = [record for record in candidates if record.id not in gone]
    eligible = choose_for_space(left, min_age_seconds=policy.min_age_seconds, now=now)
    freed, for_space = 0, []
    for record in eligible:
        if not removes_all_unused and freed >= need.to_free_bytes:
            break
        for_space.append(record)
        freed += record.size_bytes
    verdicts = [ImageVerdict(each.id, each.size_bytes, True, _aged_sentence(each, policy, now)) for each in aged]
    verdicts += [ImageVerdict(each.id, each.size_bytes, True, _unused_sentence(each, now)) for each in for_space]
    gone |= {record.id for record in for_space}
    may_go = {record.id for record in eligible}
    for record in sorted(records.values(), key=lambda each: each.id):
        if record.id not in gone:
            why = _kept_sentence(record, users, policy, need, now=now, may_go=record.id in may_go)
            verdicts.append(ImageVerdict(record.id, record.size_bytes, False, why))
    return CollectionPlan(need, tuple(verdicts))


def _unused_sentence(record: ImageRecord, now: float) -> str:
    return "never used" if record.last_used == NEVER_USED else f"last used {now - record.last_used:.0f} s ago"


def _aged_sentence(record: ImageRecord, policy: ImageGCPolicy, now: float) -> str:
    return f"{_unused_sentence(record, now)}, imageMaximumGCAge is {policy.max_age_seconds:.0f} s"


def _kept_sentence(
    record: ImageRecord, users: Mapping[str, str], policy: ImageGCPolicy, need: SpaceNeed, *, now: float, may_go: bool
) -> str:
    if record.id in users:
        return f"in use by {users[record.id]}"
    if record.is_pinned:
        return "pinned"
    if not may_go:
        age = now - record.first_detected
        return f"here for {age:.0f} s only, imageMinimumGCAge is {policy.min_age_seconds:.0f} s"
    if need.usage_percent < policy.high_threshold_percent:
        return (
            f"the disk is {need.usage_percent} % full, imageGCHighThresholdPercent is {policy.high_threshold_percent}"
        )
    return "enough is freed by those before it"
