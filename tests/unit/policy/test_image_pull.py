"""The decision table of the image manager, and the default policy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pullet.policy.image_pull import (
    Pull,
    PullDecision,
    PullFacts,
    PullPolicy,
    Refuse,
    UseLocal,
    Wait,
    decide_pull,
    default_pull_policy,
    effective_pull_policy,
)

ALWAYS, IF_NOT_PRESENT, NEVER = PullPolicy.ALWAYS, PullPolicy.IF_NOT_PRESENT, PullPolicy.NEVER
DIGEST = "@sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("nginx", ALWAYS),
        ("nginx:latest", ALWAYS),
        ("r.io:5000/x", ALWAYS),
        ("127.0.0.1:5000/nginx", ALWAYS),
        ("localhost/nginx", ALWAYS),
        ("registry.example.com/a/b/c", ALWAYS),
        ("tomcat:8.0", IF_NOT_PRESENT),
        ("tomcat:latest", ALWAYS),
        ("nginx:1.25", IF_NOT_PRESENT),
        ("nginx:Latest", IF_NOT_PRESENT),
        ("nginx:LATEST", IF_NOT_PRESENT),
        ("nginx:latest-alpine", IF_NOT_PRESENT),
        (f"nginx{DIGEST}", IF_NOT_PRESENT),
        (f"nginx:1{DIGEST}", IF_NOT_PRESENT),
        (f"nginx:latest{DIGEST}", ALWAYS),
        ("Nginx", IF_NOT_PRESENT),
        ("nginx:", IF_NOT_PRESENT),
        ("nginx latest", IF_NOT_PRESENT),
        ("nginx@sha256:abc", IF_NOT_PRESENT),
        ("a" * 64, IF_NOT_PRESENT),
        ("x" * 300, IF_NOT_PRESENT),
        ("", IF_NOT_PRESENT),
    ],
)
def test_default_policy_comes_from_the_tag(image: str, policy: PullPolicy) -> None:
    assert default_pull_policy(image) is policy
    assert effective_pull_policy("", image) is policy


@pytest.mark.parametrize(("written", "policy"), [("Never", NEVER), ("IfNotPresent", IF_NOT_PRESENT), ("nope", ALWAYS)])
def test_a_written_policy_outweighs_the_tag(written: str, policy: PullPolicy) -> None:
    assert effective_pull_policy(written, "nginx:latest") is policy


REF = "sha256:aa"


def facts(
    policy: PullPolicy, *, present: bool = False, verify: bool = False, backoff: float = 0.0, failure: str = ""
) -> PullFacts:
    return PullFacts(
        image="nginx:1",
        policy=policy,
        image_ref=REF if present else None,
        must_verify=verify,
        backoff_remaining_seconds=backoff,
        last_failure=failure,
    )


@pytest.mark.parametrize(
    ("given_facts", "kind"),
    [
        (facts(ALWAYS), Pull),
        (facts(ALWAYS, backoff=3), Wait),
        (facts(IF_NOT_PRESENT, present=True), UseLocal),
        (facts(IF_NOT_PRESENT, present=True, backoff=3), UseLocal),
        (facts(IF_NOT_PRESENT, present=True, verify=True), Pull),
        (facts(IF_NOT_PRESENT, present=True, verify=True, backoff=3), Wait),
        (facts(IF_NOT_PRESENT), Pull),
        (facts(IF_NOT_PRESENT, backoff=3), Wait),
        (facts(NEVER, present=True), UseLocal),
        (facts(NEVER, present=True, backoff=3), UseLocal),
        (facts(NEVER, present=True, verify=True), Refuse),
        (facts(NEVER), Refuse),
        (facts(NEVER, backoff=3), Refuse),
    ],
)
def test_decision_table(given_facts: PullFacts, kind: type[PullDecision]) -> None:
    decision = decide_pull(given_facts)
    assert isinstance(decision, kind)
    assert decision.trace[0] == f"imagePullPolicy is {given_facts.policy}"


def test_a_refusal_hides_whether_the_image_is_there() -> None:
    absent, hidden = decide_pull(facts(NEVER)), decide_pull(facts(NEVER, present=True, verify=True))
    assert isinstance(absent, Refuse)
    assert isinstance(hidden, Refuse)
    assert absent.reason == hidden.reason == "ErrImageNeverPull"


def test_the_trace_tells_the_last_failure_and_the_wait() -> None:
    decision = decide_pull(facts(IF_NOT_PRESENT, backoff=12.4, failure="ErrImagePull: not found"))
    assert decision.trace == (
        "imagePullPolicy is IfNotPresent",
        "nginx:1 is not on this machine",
        "the last pull failed: ErrImagePull: not found",
        "the next one is allowed in 12 s",
    )


def test_the_trace_gives_the_reason_of_access() -> None:
    known = PullFacts(image="a:1", policy=IF_NOT_PRESENT, image_ref=REF, access_reason="every pod may use it")
    assert decide_pull(known).trace == (
        "imagePullPolicy is IfNotPresent",
        "a:1 is on this machine as sha256:aa",
        "every pod may use it",
        "used from this machine: no registry is asked",
    )


@given(
    st.builds(
        facts,
        st.sampled_from(PullPolicy),
        present=st.booleans(),
        verify=st.booleans(),
        backoff=st.floats(0, 300),
        failure=st.text(max_size=5),
    )
)
def test_never_never_pulls_and_always_never_trusts_the_disk(any_facts: PullFacts) -> None:
    decision = decide_pull(any_facts)
    if any_facts.policy is NEVER:
        assert isinstance(decision, UseLocal | Refuse)
    if any_facts.policy is ALWAYS:
        assert isinstance(decision, Pull | Wait)
    if isinstance(decision, UseLocal):
        assert any_facts.image_ref is not None
        assert not any_facts.must_verify
    if isinstance(decision, Wait):
        assert decision.remaining_seconds == any_facts.backoff_remaining_seconds > 0
