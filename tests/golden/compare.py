"""Compares a replay with a recording, aspect by aspect; each answer is a list of complaints, empty when they agree.

Order is kept everywhere. What depends on how long somebody watched is held to bounds instead: the count of an event
that a failing pod repeats, and how many rows of a STATUS that goes to and fro were seen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from tests.e2e.kubectls import kubectl_at, on_path
from tests.golden.observation import ContainerSeen, EventSeen, Observation, RequestSeen

# reasons whose events a waiting pod repeats at every sync or attempt
REPEATED = frozenset({"BackOff", "Failed", "InspectFailed", "ErrImageNeverPull", "FailedToRetrieveImagePullSecret"})
IMAGE_VOLUMES_DESCRIBED_SINCE = (1, 31)  # older kubectls know no words for them
_BACK_OFF = re.compile(r'Back-off pulling image "[^"]+": ErrImagePull: ')
TO_AND_FRO = ("ErrImagePull", "ImagePullBackOff")


def events(recorded: Observation, replayed: Observation) -> list[str]:
    """Type, reason, fieldPath, message and count of every event of every pod, in order of first appearance."""
    complaints = []
    for pod in sorted({*recorded.events, *replayed.events}):
        want, got = _as_one(recorded.events.get(pod, [])), _as_one(replayed.events.get(pod, []))
        is_failing = any(row.reason in REPEATED for row in want)
        complaints += _different(f"{pod}: events", [_line(row) for row in want], [_line(row) for row in got])
        complaints += [
            f"{pod}: {_line(row)}: count {seen.count}, recorded {row.count}"
            for row, seen in zip(want, got, strict=False)
            if _line(row) == _line(seen) and not _count_fits(row, seen, is_failing=is_failing)
        ]
    return complaints


def _as_one(rows: Sequence[EventSeen]) -> list[EventSeen]:
    """Events whose texts differed only in a duration as one: whether they were one object is a matter of chance."""
    merged: list[EventSeen] = []
    for row in rows:
        same = next((one for one in merged if "<" in one.message and _line(one) == _line(row)), None)
        if same is None:
            merged.append(EventSeen(**vars(row)))
        else:
            same.count += row.count
    return merged


def _line(row: EventSeen) -> str:
    return f"{row.type} {row.reason} | {row.where} | {row.message}"


def _count_fits(want: EventSeen, got: EventSeen, *, is_failing: bool) -> bool:
    if want.reason in REPEATED or (want.reason == "Pulling" and is_failing):
        return 1 <= got.count <= want.count + 2
    if want.reason in ("Pulling", "Pulled") and not want.where:
        return abs(want.count - got.count) <= 2  # of an image volume: told again at every sync that starts something
    return want.count == got.count


OVERTAKEN = "ContainerCreating"


def statuses(recorded: Observation, replayed: Observation) -> list[str]:
    """The STATUS column of `get pods -w`, repeats dropped, turns between failed pull and back-off taken as one.

    A status that the next one overtook before it was written is never seen by a watcher. On a loaded machine that
    happens to ContainerCreating now and then; it may lack in a quarter of the pods that were recorded with it.
    """
    complaints = []
    overtaken = []
    creating = [pod for pod, rows in recorded.statuses.items() if OVERTAKEN in rows]
    for pod in sorted({*recorded.statuses, *replayed.statuses}):
        want, got = (_turns_as_one(one.statuses.get(pod, [])) for one in (recorded, replayed))
        if OVERTAKEN in want and OVERTAKEN not in got:
            overtaken.append(pod)
            if len(overtaken) <= max(1, len(creating) // 4):
                want = [row for row in want if row != OVERTAKEN]
        if want != got:
            complaints.append(f"{pod}: STATUS {' > '.join(got)}\n      recorded {' > '.join(want)}")
    return complaints


def begun_statuses(recorded: Observation, replayed: Observation) -> list[str]:
    """As `statuses`, of pods that were watched for a shorter or longer time than the recording's."""
    shorter, longer = Observation(), Observation()
    for pod in {*recorded.statuses, *replayed.statuses}:
        want, got = recorded.statuses.get(pod, []), replayed.statuses.get(pod, [])
        length = max(min(len(want), len(got)), 8)
        shorter.statuses[pod], longer.statuses[pod] = want[:length], got[:length]
    return statuses(shorter, longer)


def _turns_as_one(rows: Sequence[str]) -> list[str]:
    kept: list[str] = []
    turns: set[str] = set()
    for row in rows:
        if row.removeprefix("Init:") not in TO_AND_FRO:
            turns.clear()
        elif row in turns:
            continue
        else:
            turns.add(row)
        kept.append(row)
    return kept


def containers(recorded: Observation, replayed: Observation) -> list[str]:
    """Policy, state, waiting reason and message, image, imageID, restarts and readiness of every container."""
    complaints = []
    for pod in sorted({*recorded.containers, *replayed.containers}):
        want, got = recorded.containers.get(pod, []), replayed.containers.get(pod, [])
        if recorded.phases.get(pod) != replayed.phases.get(pod):
            complaints.append(f"{pod}: phase {replayed.phases.get(pod)}, recorded {recorded.phases.get(pod)}")
        complaints += _different(
            f"{pod}: containers",
            [str(_waiting_as_one(row)) for row in want],
            [str(_waiting_as_one(row)) for row in got],
        )
    return complaints


def _waiting_as_one(row: ContainerSeen) -> ContainerSeen:
    """A container in back-off as right after its failed pull: which of both is seen depends on the moment."""
    found = _BACK_OFF.match(row.message)
    if row.reason != "ImagePullBackOff" or found is None:
        return row
    return ContainerSeen(**{**vars(row), "reason": "ErrImagePull", "message": row.message[found.end() :]})


def requests(recorded: Observation, replayed: Observation) -> list[str]:
    """Every request to the registry, in order; of those refused again and again only the first."""
    return _different("requests", _refused_once(recorded.requests), _refused_once(replayed.requests))


def _refused_once(rows: Sequence[RequestSeen]) -> list[str]:
    kept: list[str] = []
    for row in rows:
        if row.status < 400 or str(row) not in kept:
            kept.append(str(row))
    return kept


def requests_per_image(recorded: Observation, replayed: Observation) -> list[str]:
    """Every request, in order per image: for scenarios in which several pods pull on their own timers."""
    complaints = []
    want, got = _by_image(recorded.requests), _by_image(replayed.requests)
    for image in sorted({*want, *got}):
        complaints += _different(f"requests for {image}", want.get(image, []), got.get(image, []))
    return complaints


def kinds_of_requests(recorded: Observation, replayed: Observation) -> list[str]:
    """Which requests were made per image, how often aside: where several failing pods try one image again and again."""
    complaints = []
    want, got = _by_image(recorded.requests), _by_image(replayed.requests)
    for image in sorted({*want, *got}):
        kinds = [list(dict.fromkeys(rows)) for rows in (want.get(image, []), got.get(image, []))]
        complaints += _different(f"requests for {image}", *kinds)
    return complaints


def _by_image(rows: Sequence[RequestSeen]) -> dict[str, list[str]]:
    images: dict[str, list[str]] = {}
    for row in rows:
        tag = (
            row.reference.split()[1].rstrip(">").rpartition(":")[2] if row.reference.startswith("<") else row.reference
        )
        images.setdefault(f"{row.repository}:{tag}", []).append(str(row))
    return images


def description(recorded: Observation, replayed: Observation) -> list[str]:
    """What `kubectl describe pods` said at the end."""
    want = recorded.description
    if kubectl_at(on_path()).version < IMAGE_VOLUMES_DESCRIBED_SINCE:
        joined = re.sub(r"(?m)^  Type:  Image .*\n  Reference:.*\n  PullPolicy:.*$", "  <unknown>", "\n".join(want))
        want = joined.splitlines()
    return _different("kubectl describe", want, replayed.description)


def outputs(recorded: Observation, replayed: Observation) -> list[str]:
    """What kubectl printed where the scenario looks at it."""
    return _different("outputs", recorded.outputs, replayed.outputs)


def _different(what: str, want: Sequence[str], got: Sequence[str]) -> list[str]:
    if list(want) == list(got):
        return []
    return [f"{what} differ:", *_side_by_side(want, got)]


def _side_by_side(want: Sequence[str], got: Sequence[str]) -> Iterator[str]:
    for number in range(max(len(want), len(got))):
        left = want[number] if number < len(want) else "(nothing)"
        right = got[number] if number < len(got) else "(nothing)"
        if left == right:
            yield f"    = {left}"
        else:
            yield f"    - {left}"
            yield f"    + {right}"
