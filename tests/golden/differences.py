"""Every accepted difference between the recordings and a replay, and every bound of the comparison, with its reason.

A difference edits the recording into what is expected of a replay; a bound says what the comparison leaves open.
docs/differences.md has the same tables; the tests fail when it does not, and on a difference that changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby

from tests.golden.observation import EventSeen, Observation, RequestSeen


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One accepted difference in one scenario."""

    scenario: str
    what: str
    reason: str
    edit: Callable[[Observation], None]


@dataclass(frozen=True, kw_only=True)
class Bound:
    """Something that the comparison does not hold to the recording's letter.

    `edit`, if any, takes it out of recording and replay of one scenario.
    """

    what: str
    reason: str
    scenario: str = ""
    edit: Callable[[Observation], None] | None = None


def _mixed_finds_its_image(recorded: Observation) -> None:
    """busybox:1.34 was removed from the recording's node between two pods; here nobody removes it."""
    refetched = [
        row
        for row in recorded.requests
        if row.reference in ("1.34", "<manifest busybox:1.34>", "<config busybox:1.34>")
    ][4:7]
    recorded.requests = [row for row in recorded.requests if not any(row is one for one in refetched)]
    where = "spec.initContainers{init1}"
    events = recorded.events["mixed"]
    pulling = next(row for row in events if row.reason == "Pulling" and row.where == where)
    pulled = next(row for row in events if row.reason == "Pulled" and row.where == where)
    events[events.index(pulled)] = EventSeen(
        type="Normal",
        reason="Pulled",
        where=where,
        message='Container image "busybox:1.34" already present on machine and can be accessed by the pod',
        count=1,
    )
    events.remove(pulling)


def _preloaded_first(recorded: Observation) -> None:
    """What was preloaded between two pods is preloaded before the first."""
    preloaded = [row for row in recorded.requests if "1.1" in row.reference]
    recorded.requests = preloaded + [row for row in recorded.requests if row not in preloaded]


def _credentials_at_once(recorded: Observation) -> None:
    """Drop each anonymous request that only learns what the next one then brings, but for a repository's first."""
    first, *rows = recorded.requests
    recorded.requests = [first] + [
        row
        for row, following in zip(rows, [*rows[1:], None], strict=True)
        if not (
            following is not None
            and (row.status, row.user) == (401, "")
            and (following.method, following.reference) == (row.method, row.reference)
            and following.user
        )
    ]


def _wrong_login_asked_once(recorded: Observation) -> None:
    """A login that is refused is shown once per attempt instead of four times."""
    kept: list[RequestSeen] = []
    for row, group in groupby(recorded.requests):
        rows = list(group)
        kept += rows[: len(rows) // 4] if (row.status, bool(row.user)) == (401, True) else rows
    recorded.requests = kept


def _asked_three_times(recorded: Observation) -> None:
    """A registry that is broken or busy is asked three times per attempt."""
    for name in ("err500", "err429"):
        rows = [row for row in recorded.requests if row.repository == f"library/{name}"]
        attempts = sum(event.reason == "Pulling" for event in recorded.events[name])
        recorded.requests = [row for row in recorded.requests if row not in rows] + rows[:1] * 3 * attempts


DIFFERENCES: tuple[Difference, ...] = (
    Difference(
        scenario="18-kep2535",
        what="the private image that is preloaded is preloaded before the first pod",
        reason="meanwhile the node itself has the login, which pods that wait for theirs would use",
        edit=_preloaded_first,
    ),
    *(
        Difference(
            scenario=scenario,
            what="credentials are sent at once to a repository known to want them",
            reason="containerd asks anonymously first for each pull and again for each manifest: two requests more",
            edit=_credentials_at_once,
        )
        for scenario in ("08-private", "18-kep2535")
    ),
    *(
        Difference(
            scenario=scenario,
            what="a login that is refused is shown once per attempt",
            reason="containerd shows it four times; the answer does not change",
            edit=_wrong_login_asked_once,
        )
        for scenario in ("08-private", "18-kep2535")
    ),
    Difference(
        scenario="10-registry-down",
        what="a registry that answers 429 or 500 is asked three times per attempt, with growing pauses",
        reason="containerd asks five times, or twice, within milliseconds",
        edit=_asked_three_times,
    ),
    Difference(
        scenario="15-init-shared",
        what="mixed/init1 finds busybox:1.34 present",
        reason="an artefact of the recording: another scenario on the same node removed the image in between",
        edit=_mixed_finds_its_image,
    ),
)


def _without_image_back_off_of_plain(seen: Observation) -> None:
    """Take out the turns in which `plain` waits for its image, not for its restart."""
    rows = seen.statuses.get("plain", [])
    seen.statuses["plain"] = [row for row in rows if row != "ImagePullBackOff"]
    told = seen.events.get("plain", [])
    seen.events["plain"] = [
        row for row in told if not row.message.startswith(("Back-off pulling", "Error: ImagePullBackOff"))
    ]


def _looks_asked_once(seen: Observation) -> None:
    """Keep the first of the requests that look whether data:v1 has changed."""
    looks = [row for row in seen.requests if row.repository == "library/data" and row.method == "HEAD"]
    seen.requests = [row for row in seen.requests if not any(row is look for look in looks[1:])]


BOUNDS: tuple[Bound, ...] = (
    Bound(
        what="a pod that waits is compared up to its third attempt, what it repeats between two up to the fourth time",
        reason="later ones take minutes; the tests of the node in fake time follow them",
    ),
    Bound(
        what="until its second attempt a pod may be synced once more or less",
        reason="how many news of a start come together is a matter of the moment, here and in the recordings",
    ),
    Bound(
        what="which of ErrImagePull and ImagePullBackOff a waiting container shows in the end is left open",
        reason="the recordings end at another moment; the order in which both are shown is compared",
    ),
    Bound(
        what="requests are compared in order per image and login where several pods pull on their own timers",
        reason="the timers have jitter",
    ),
    Bound(
        what="how often the image volume of 13 is asked for",
        reason="once per sync, and its init container ends before or after one",
        scenario="13-alwayspullimages-on",
        edit=_looks_asked_once,
    ),
    Bound(
        what="whether plain of 14 shows its image's back-off between two attempts",
        reason="its restart's back-off began a moment earlier; with jitter it ends before or after the image's",
        scenario="14-deployment",
        edit=_without_image_back_off_of_plain,
    ),
    Bound(
        what="the replay's nodes pull as often as they like (`registryPullQPS: 0`)",
        reason="the scenarios run at once there, one after the other in the recordings",
    ),
    Bound(
        what="which of two equal pods a ReplicaSet deletes first",
        reason="it goes by the second in which each got ready",
    ),
)


def expected_of(scenario: str, recorded: Observation) -> Observation:
    """The recording with the accepted differences applied."""
    for difference in DIFFERENCES:
        if difference.scenario == scenario:
            difference.edit(recorded)
    return without_chance(scenario, recorded)


def without_chance(scenario: str, seen: Observation) -> Observation:
    """A recording or a replay without what is left open."""
    for bound in BOUNDS:
        if bound.scenario == scenario and bound.edit is not None:
            bound.edit(seen)
    return seen
