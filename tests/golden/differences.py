"""Every accepted difference between the recordings and a replay, each with its reason.

An entry edits the recording into what is expected of a replay; docs/differences.md has the same table in words. The
test suite fails on an entry that changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.golden.observation import EventSeen, Observation


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One accepted difference in one scenario."""

    scenario: str
    what: str
    reason: str
    edit: Callable[[Observation], None]


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


def _without_preloaded_private(recorded: Observation) -> None:
    """The two pods that find an image preloaded with credentials outside the kubelet."""
    for pod in ("k-preloaded-nosecret-ifnp", "l-preloaded-nosecret-never"):
        for part in (recorded.events, recorded.statuses, recorded.phases, recorded.containers):
            del part[pod]
    recorded.requests = [row for row in recorded.requests if "1.1" not in row.reference]


def _pods_alone(recorded: Observation) -> None:
    """Without the Deployment, whose pod has a random name, and the ephemeral container added at the end."""
    for part in (recorded.events, recorded.statuses, recorded.phases, recorded.containers):
        for name in [name for name in part if name == "d" or name.startswith("d-")]:
            del part[name]


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


DIFFERENCES: tuple[Difference, ...] = (
    *(
        Difference(
            scenario=scenario,
            what="credentials are sent at once to a repository known to want them",
            reason="containerd asks anonymously first for each pull and again for each manifest: two requests more",
            edit=_credentials_at_once,
        )
        for scenario in ("08-private", "18-kep2535")
    ),
    Difference(
        scenario="13-alwayspullimages-on",
        what="the Deployment is left out",
        reason="its pod has a random name; Deployments are compared by the tests of kubectl",
        edit=_pods_alone,
    ),
    Difference(
        scenario="15-init-shared",
        what="mixed/init1 finds busybox:1.34 present",
        reason="an artefact of the recording: another scenario on the same node removed the image in between",
        edit=_mixed_finds_its_image,
    ),
    Difference(
        scenario="18-kep2535",
        what="the two pods with a preloaded private image are left out",
        reason="`pullet images pull` takes no credentials on its command line",
        edit=_without_preloaded_private,
    ),
)


def expected_of(scenario: str, recorded: Observation) -> Observation:
    """The recording with the accepted differences applied."""
    for difference in DIFFERENCES:
        if difference.scenario == scenario:
            difference.edit(recorded)
    return recorded
