"""Thresholds of probes."""

from __future__ import annotations

import pytest

from pullet.kube.container import ProbeView
from pullet.policy.probe_state import ProbeResult, ProbeState, ProbeType, should_probe

SUCCESS, FAILURE, UNKNOWN = ProbeResult.SUCCESS, ProbeResult.FAILURE, ProbeResult.UNKNOWN


def after(probe_type: ProbeType, probe: ProbeView, *results: ProbeResult) -> ProbeState:
    state = ProbeState.initial(probe_type)
    for result in results:
        state = state.observe(result, probe)
    return state


@pytest.mark.parametrize(
    ("probe_type", "verdict"),
    [(ProbeType.LIVENESS, SUCCESS), (ProbeType.READINESS, FAILURE), (ProbeType.STARTUP, UNKNOWN)],
)
def test_before_the_first_probe(probe_type: ProbeType, verdict: ProbeResult) -> None:
    assert ProbeState.initial(probe_type).verdict is verdict
    assert not ProbeState.initial(probe_type).must_restart


def test_three_failures_in_a_row_restart() -> None:
    probe = ProbeView()
    assert not after(ProbeType.LIVENESS, probe, FAILURE, FAILURE).must_restart
    assert not after(ProbeType.LIVENESS, probe, FAILURE, FAILURE, SUCCESS, FAILURE, FAILURE).must_restart
    state = after(ProbeType.LIVENESS, probe, FAILURE, FAILURE, FAILURE)
    assert state.must_restart
    assert state.observe(SUCCESS, probe) == state  # on hold until the container is a new one


def test_readiness_goes_both_ways() -> None:
    probe = ProbeView(success_threshold=2, failure_threshold=2)
    assert after(ProbeType.READINESS, probe, SUCCESS).verdict is FAILURE
    assert after(ProbeType.READINESS, probe, SUCCESS, SUCCESS).verdict is SUCCESS
    assert after(ProbeType.READINESS, probe, SUCCESS, SUCCESS, FAILURE).verdict is SUCCESS
    state = after(ProbeType.READINESS, probe, SUCCESS, SUCCESS, FAILURE, FAILURE)
    assert state.verdict is FAILURE
    assert not state.must_restart
    assert state.observe(SUCCESS, probe).observe(SUCCESS, probe).verdict is SUCCESS


def test_a_probe_that_could_not_run_says_nothing() -> None:
    probe = ProbeView(failure_threshold=2)
    assert after(ProbeType.LIVENESS, probe, FAILURE, UNKNOWN, FAILURE).must_restart


@pytest.mark.parametrize(
    ("probe_type", "seconds", "is_started", "wanted"),
    [
        (ProbeType.STARTUP, 4, False, False),
        (ProbeType.STARTUP, 5, False, True),
        (ProbeType.STARTUP, 5, True, False),
        (ProbeType.LIVENESS, 5, False, False),
        (ProbeType.LIVENESS, 5, True, True),
        (ProbeType.READINESS, 4, True, False),
        (ProbeType.READINESS, 5, True, True),
    ],
)
def test_when_a_probe_runs(probe_type: ProbeType, seconds: float, is_started: bool, wanted: bool) -> None:
    probe = ProbeView(initial_delay_seconds=5)
    assert should_probe(probe_type, probe, seconds_since_start=seconds, is_started=is_started) is wanted
