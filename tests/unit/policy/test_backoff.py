"""Image and restart back-off against the tables of a real cluster."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pullet.kube.pod import parse_pod
from pullet.policy.backoff import ExponentialBackoff
from pullet.policy.pull_backoff import PullBackoff, pull_backoff_key
from pullet.policy.restart_backoff import RestartBackoff, restart_backoff_key

KEY = pull_backoff_key("uid", "nginx")


def fail(backoff: PullBackoff, now: float) -> float:
    return backoff.record_failure(KEY, now, reason="ErrImagePull", message="not found")


def test_delays_double_to_five_minutes() -> None:
    backoff, now, delays = PullBackoff(), 0.0, []
    for _ in range(8):
        delays.append(fail(backoff, now))
        now += delays[-1]
    assert delays == [10, 20, 40, 80, 160, 300, 300, 300]


def test_the_window_is_open_at_its_very_end() -> None:
    backoff = PullBackoff()
    fail(backoff, 100.0)
    assert backoff.remaining_seconds(KEY, 100.0) == 10
    assert backoff.remaining_seconds(KEY, 109.5) == 0.5
    assert backoff.remaining_seconds(KEY, 110.0) == 0


def test_names_with_and_without_tag_are_different_keys() -> None:
    assert pull_backoff_key("uid", "nginx") != pull_backoff_key("uid", "nginx:latest")
    assert pull_backoff_key("a", "nginx") != pull_backoff_key("b", "nginx")


def test_success_does_not_reset_the_delay() -> None:
    backoff = PullBackoff()
    fail(backoff, 0)
    fail(backoff, 10)
    backoff.record_success(30)
    assert fail(backoff, 40) == 40


def test_ten_quiet_minutes_reset_it() -> None:
    backoff = PullBackoff()
    fail(backoff, 0)
    assert fail(backoff, 600.0) == 20  # exactly 600 s is not yet expired
    assert fail(backoff, 1200.5) == 10


def test_a_later_success_of_any_image_clears_expired_entries() -> None:
    backoff = PullBackoff()
    fail(backoff, 0)
    backoff.record_success(601)
    assert backoff.last_failure(KEY) == ""
    assert fail(backoff, 601) == 10


def test_the_failure_is_remembered_until_the_next_attempt() -> None:
    backoff = PullBackoff()
    fail(backoff, 0)
    assert backoff.last_failure(KEY) == "ErrImagePull: not found"
    backoff.record_attempt(KEY)
    assert backoff.last_failure(KEY) == ""
    assert backoff.remaining_seconds(KEY, 1) == 9


def test_a_recorded_timeline_of_a_missing_tag() -> None:
    """Attempts of a pod with a tag that does not exist, as a cluster made them, fall on allowed moments only."""
    attempts = [1.2, 14.3, 43.3, 86.3, 172.3, 345.3]
    syncs = [1.6, 28.3, 57.4, 71.3, 100.3, 112.3, 187.3, 200.3]
    backoff = PullBackoff()
    for moment in sorted(attempts + syncs):
        may_pull = backoff.remaining_seconds(KEY, moment) == 0
        assert may_pull is (moment in attempts), moment
        if may_pull:
            fail(backoff, moment)


def test_a_recorded_crash_loop() -> None:
    """Starts and exits of a container that runs for two seconds (spec 15); the first restart is immediate."""
    starts = [1.9, 4.3, 17.0, 40.0, 90.0, 174.9, 340.0]
    backoff = RestartBackoff()
    nominal = []
    for start, following in zip(starts, [*starts[1:], None], strict=True):
        finished = start + 2.1
        nominal.append(backoff.remaining_seconds("k", finished, finished))
        if following is not None:
            assert backoff.remaining_seconds("k", finished, following) == 0
            backoff.record_restart("k", finished, following)
    assert nominal == [0, 10, 20, 40, 80, 160, 300]
    assert backoff.delay_seconds("k") == 300


def test_a_changed_image_starts_clean() -> None:
    def key(image: str) -> str:
        raw = {"metadata": {"name": "p", "uid": "u"}, "spec": {"containers": [{"name": "c", "image": image}]}}
        pod = parse_pod(raw)
        return restart_backoff_key(pod, pod.spec.containers[0])

    assert key("a:1") == key("a:1") != key("a:2")


@given(st.lists(st.floats(0, 700), max_size=12))
def test_a_delay_is_always_a_step_of_the_ladder(pauses: list[float]) -> None:
    backoff, now = ExponentialBackoff(), 0.0
    for pause in pauses:
        now += pause
        before = backoff.delay("k")
        delay = backoff.advance("k", now, now)
        assert delay in (10, 20, 40, 80, 160, 300)
        assert delay in (10, min(300, 2 * before))
        assert backoff.remaining_since_update("k", now) == pytest.approx(delay)
