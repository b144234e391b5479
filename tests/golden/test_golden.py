"""Replays the recorded scenarios of a real cluster with stock kubectl on a real node, and compares.

All scenarios run at once, on two nodes, with the real timers of the kubelet; each aspect of each is a test of its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.e2e.harness import scratch_directory
from tests.golden import compare
from tests.golden.differences import expected_of
from tests.golden.images import SHARED_LAYER
from tests.golden.observation import Observation
from tests.golden.replay import Replay
from tests.golden.scenarios import NODE_OF, OWN_NODE, SCENARIOS, Scenario
from tests.golden.stage import Stage, registries, stage

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(600)]

DATA = Path(__file__).parent / "data"
EVERY = [scenario for group in SCENARIOS.values() for scenario in group]
ALL = [scenario.name for scenario in EVERY]
SETTLED = [scenario.name for scenario in EVERY if scenario.is_settled]
ASKING = [
    scenario.name for scenario in EVERY if json.loads((DATA / scenario.name / "expected.json").read_text())["outputs"]
]


@dataclass(frozen=True, kw_only=True)
class Performance:
    """What came of all replays: per scenario the observation, and the complaint where a wait was in vain."""

    seen: dict[str, Observation]
    failed: dict[str, str]
    stages: tuple[Stage, ...]


@pytest.fixture(scope="module")
def performance() -> Iterator[Performance]:
    with ExitStack() as stack:
        directory = stack.enter_context(scratch_directory("golden"))
        world = stack.enter_context(registries(directory))
        shared = stack.enter_context(stage(directory, world, "shared", {}))
        own = {name: stack.enter_context(stage(directory, world, name, config)) for name, config in OWN_NODE.items()}
        seen: dict[str, Observation] = {}
        failed: dict[str, str] = {}
        with ThreadPoolExecutor(len(SCENARIOS)) as pool:
            for group, scenarios in SCENARIOS.items():
                where = own[NODE_OF[group]] if group in NODE_OF else shared
                pool.submit(_play, where, scenarios, seen, failed)
        yield Performance(seen=seen, failed=failed, stages=(shared, *own.values()))


def _play(where: Stage, scenarios: tuple[Scenario, ...], seen: dict[str, Observation], failed: dict[str, str]) -> None:
    for scenario in scenarios:
        replay = Replay(where, scenario.name, scenario.images)
        try:
            replay.begin(scenario.given)
            scenario.steps(replay)
            replay.wait_told()
        except Exception as error:  # noqa: BLE001 - told by the tests of this scenario; the others go on
            failed[scenario.name] = f"{type(error).__name__}: {error}"
        seen[scenario.name] = replay.observation()


def _must_agree(
    performance: Performance, scenario: str, aspect: Callable[[Observation, Observation], list[str]]
) -> None:
    if complaints := _complaints(performance, scenario, aspect):
        pytest.fail(complaints, pytrace=False)  # an assert would cut the text short


def _complaints(
    performance: Performance, scenario: str, aspect: Callable[[Observation, Observation], list[str]]
) -> str:
    recorded = Observation.from_json(json.loads((DATA / scenario / "expected.json").read_text()))
    return "\n".join(aspect(expected_of(scenario, recorded), performance.seen[scenario]))


@pytest.mark.parametrize("scenario", ALL)
def test_every_step_was_reached(performance: Performance, scenario: str) -> None:
    assert performance.failed.get(scenario, "") == ""


@pytest.mark.parametrize("scenario", ALL)
def test_events(performance: Performance, scenario: str) -> None:
    _must_agree(performance, scenario, compare.events)


@pytest.mark.parametrize("scenario", EVERY, ids=lambda one: one.name)
def test_status_column(performance: Performance, scenario: Scenario) -> None:
    _must_agree(performance, scenario.name, scenario.statuses)


@pytest.mark.parametrize("scenario", SETTLED)
def test_container_statuses(performance: Performance, scenario: str) -> None:
    _must_agree(performance, scenario, compare.containers)


@pytest.mark.parametrize("scenario", EVERY, ids=lambda one: one.name)
def test_registry_requests(performance: Performance, scenario: Scenario) -> None:
    _must_agree(performance, scenario.name, scenario.requests)


@pytest.mark.parametrize("scenario", SETTLED)
def test_kubectl_describe(performance: Performance, scenario: str) -> None:
    _must_agree(performance, scenario, compare.description)


@pytest.mark.parametrize("scenario", ASKING)
def test_what_kubectl_printed(performance: Performance, scenario: str) -> None:
    _must_agree(performance, scenario, compare.outputs)


def test_a_layer_that_images_share_is_fetched_once(performance: Performance) -> None:
    for one in performance.stages:
        names = one.registries.pushed.names
        fetched = [request for request in one.public_log.requests() if names.get(request.reference) == SHARED_LAYER]
        assert len(fetched) == 1
