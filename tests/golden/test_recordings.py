"""The comparison itself: every recording equals itself, a changed one does not, and no accepted difference is idle."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
from tests.golden import compare
from tests.golden.differences import BOUNDS, DIFFERENCES, Bound, Difference, expected_of
from tests.golden.normalise import digests_in, normalise
from tests.golden.observation import Observation
from tests.golden.scenarios import SCENARIOS

DATA = Path(__file__).parent / "data"
DOCUMENT = Path(__file__).parents[2] / "docs/differences.md"
NAMES = sorted(folder.name for folder in DATA.iterdir())
ASPECTS = (compare.events, compare.statuses, compare.containers, compare.requests, compare.description, compare.outputs)


def recorded(scenario: str) -> Observation:
    return Observation.from_json(json.loads((DATA / scenario / "expected.json").read_text()))


@pytest.mark.parametrize("scenario", NAMES)
def test_a_recording_equals_itself(scenario: str) -> None:
    expected = expected_of(scenario, recorded(scenario))
    assert [aspect(expected, copy.deepcopy(expected)) for aspect in ASPECTS] == [[]] * len(ASPECTS)


@pytest.mark.parametrize("scenario", NAMES)
def test_every_aspect_notices_a_change(scenario: str) -> None:
    expected = recorded(scenario)
    pod = next(pod for pod, rows in expected.events.items() if len(rows) > 2 and pod in expected.containers)
    changed = copy.deepcopy(expected)
    changed.events[pod][1], changed.events[pod][2] = changed.events[pod][2], changed.events[pod][1]
    changed.statuses[pod].insert(1, "Odd")
    changed.containers[pod][0].image_id = "odd"
    for request in changed.requests[:1]:
        request.status += 1
    changed.description.append("odd")
    changed.outputs.append("odd")
    silent = [aspect.__name__ for aspect in ASPECTS if not aspect(expected, changed)]
    assert silent == ([] if expected.requests else ["requests"])


@pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda one: f"{one.scenario}: {one.what}")
def test_an_accepted_difference_changes_its_recording(difference: Difference) -> None:
    before, after = recorded(difference.scenario), recorded(difference.scenario)
    difference.edit(after)
    assert after != before


@pytest.mark.parametrize("told", [*DIFFERENCES, *BOUNDS], ids=lambda one: one.what)
def test_what_is_accepted_is_told_to_everybody(told: Difference | Bound) -> None:
    document = DOCUMENT.read_text()
    assert f"| {told.what} | {told.reason} |" in document


def test_every_replayed_scenario_has_its_recording() -> None:
    replayed = {scenario.name for group in SCENARIOS.values() for scenario in group}
    assert replayed <= set(NAMES)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            'Successfully pulled image "a" in 1.173s (2m3.5s including waiting). Image size: 330254 bytes.',
            'Successfully pulled image "a" in <duration> (<duration> including waiting). Image size: <size> bytes.',
        ),
        (
            'failed to resolve reference "docker.io/library/a:1": docker.io/library/a:1: not found',
            "failed to resolve: docker.io/library/a:1: not found",
        ),
        (
            "failed to resolve image: docker.io/library/a:1: not found",
            "failed to resolve: docker.io/library/a:1: not found",
        ),
        ("pod a_ns(15355a4c-1a01-4981-97eb-229d14351e02)", "pod a_ns(<uid>)"),
        (f"a@sha256:{'1' * 64}", "a@<index a:1>"),
        (f"a@sha256:{'2' * 64}", f"a@sha256:{'2' * 64}"),
    ],
)
def test_normalise(text: str, words: str) -> None:
    names = {f"sha256:{'1' * 64}": "<index a:1>"}
    assert normalise(text, names) == words
    assert normalise(words, names) == words


def test_digests_go_back_into_a_manifest() -> None:
    names = {f"sha256:{'1' * 64}": "<index a:1>"}
    assert digests_in("image: a@<index a:1>", names) == f"image: a@sha256:{'1' * 64}"
