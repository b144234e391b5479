"""Compares a replay with a recording, aspect by aspect; each answer is a list of complaints, empty when they agree.

Order is kept everywhere. Pods that wait do so for as long as somebody watches: they are compared up to the same attempt
and the same STATUS row, never up to a second of the clock.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from tests.e2e.kubectls import kubectl_at, on_path
from tests.golden.observation import ContainerSeen, Observation, RequestSeen
from tests.golden.story import MOST_ATTEMPTS, compared, wrong_counts, wrong_times

Aspect: TypeAlias = Callable[[Observation, Observation], list[str]]

_BACK_OFF = re.compile(r'Back-off pulling image "[^"]+": ErrImagePull: ')
_IMAGE_VOLUMES_DESCRIBED_SINCE = (1, 31)  # older kubectls know no words for them
_TURNS = ("ErrImagePull", "ImagePullBackOff", "CrashLoopBackOff")


def events(recorded: Observation, replayed: Observation) -> list[str]:
    """Every version of every event: type, reason, fieldPath, message and count, in order."""
    complaints = []
    for name in sorted({*recorded.events, *replayed.events}):
        want, got = compared(recorded.events.get(name, []), replayed.events.get(name, []))
        different = _different(f"{name}: events", [told.line for told in want], [told.line for told in got])
        wrong = different or wrong_times(want, got)
        complaints += [*wrong, *(f"{name}: {text}" for text in wrong_counts(replayed.events.get(name, [])))]
    return complaints


def statuses(recorded: Observation, replayed: Observation) -> list[str]:
    """The STATUS column of `get pods -w`, repeats dropped; of a pod that waits as far as the recording goes."""
    complaints = []
    for pod in sorted({*recorded.statuses, *replayed.statuses}):
        want, got = rows_to_see(recorded.statuses.get(pod, [])), replayed.statuses.get(pod, [])
        if want and _is_turn(want[-1]):
            got = got[: len(want)]
        if want != got:
            complaints.append(f"{pod}: STATUS {' > '.join(got)}\n      recorded {' > '.join(want)}")
    return complaints


def begun_statuses(recorded: Observation, replayed: Observation) -> list[str]:
    """As `statuses`, of pods whose containers end again and again: as far as the recording goes."""
    cut = {pod: rows[: len(recorded.statuses.get(pod, rows))] for pod, rows in replayed.statuses.items()}
    return statuses(recorded, Observation(statuses=cut))


def rows_to_see(rows: Sequence[str]) -> list[str]:
    """The rows that are compared: of a pod that goes on waiting, those up to its last attempt that is."""
    if not rows or not _is_turn(rows[-1]):
        return list(rows)
    turns = [number for number, row in enumerate(rows) if _is_turn(row)]
    return list(rows[: turns[: 2 * (MOST_ATTEMPTS - 1)][-1] + 1])


def _is_turn(row: str) -> bool:
    return row.removeprefix("Init:") in _TURNS


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
    """Every request to the registry, in order."""
    return _different_requests("requests", recorded.requests, replayed.requests)


def requests_per_image(recorded: Observation, replayed: Observation) -> list[str]:
    """Every request, in order per image and login: for scenarios in which several pods pull on their own timers."""
    complaints = []
    want, got = _by_image(recorded.requests), _by_image(replayed.requests)
    for image in sorted({*want, *got}):
        complaints += _different_requests(f"requests for {image}", want.get(image, []), got.get(image, []))
    return complaints


def _different_requests(what: str, want: Sequence[RequestSeen], got: Sequence[RequestSeen]) -> list[str]:
    """What is asked for in vain is asked for again and again: compared as far as the recording goes."""
    if all(row.status >= 400 for row in got[len(want) :]):
        got = got[: len(want)]
    return _different(what, [str(row) for row in want], [str(row) for row in got])


def _by_image(rows: Sequence[RequestSeen]) -> dict[str, list[RequestSeen]]:
    """By image and login: pods with one login that pull one image cannot be told apart."""
    images: dict[str, list[RequestSeen]] = {}
    for row in rows:
        of_digest = row.reference.startswith("<")
        tag = row.reference.split()[1].rstrip(">").rpartition(":")[2] if of_digest else row.reference
        images.setdefault(f"{row.repository}:{tag} {row.user}".rstrip(), []).append(row)
    return images


def description(recorded: Observation, replayed: Observation) -> list[str]:
    """What `kubectl describe pods` said at the end."""
    want = recorded.description
    if "  <unknown>" in replayed.description and kubectl_at(on_path()).version < _IMAGE_VOLUMES_DESCRIBED_SINCE:
        joined = re.sub(r"(?m)^ +Type:  Image .*\n +Reference:.*\n +PullPolicy:.*$", "  <unknown>", "\n".join(want))
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
