"""What the API server says about Jobs and StatefulSets that cannot work."""

from __future__ import annotations

from typing import Any

import pytest

from pullet.base.jsonvalue import JsonObject
from pullet.policy.object_defaulting import default_job
from pullet.policy.workload_validation import (
    validate_job,
    validate_revision,
    validate_revision_update,
    validate_statefulset,
)

EXIT_CODES = {"operator": "In", "values": [42]}
INDEXED: Any = {"completionMode": "Indexed", "completions": 3}


def job(restart_policy: str = "Never", **spec: Any) -> JsonObject:
    container = {"name": "c", "image": "i"}
    template = {"spec": {"restartPolicy": restart_policy, "containers": [container]}}
    made: JsonObject = {"kind": "Job", "metadata": {"name": "j", "uid": "u"}, "spec": {"template": template} | spec}
    default_job(made)
    return made


def rules(*items: JsonObject) -> JsonObject:
    return {"podFailurePolicy": {"rules": list(items)}}


@pytest.mark.parametrize(
    "body",
    [
        job(),
        job(**INDEXED, backoffLimitPerIndex=1, maxFailedIndexes=3),
        job(**rules({"action": "FailJob", "onExitCodes": EXIT_CODES})),
        job(**INDEXED, backoffLimitPerIndex=0, **rules({"action": "FailIndex", "onExitCodes": EXIT_CODES})),
        job(**rules({"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]})),
        job(**INDEXED, successPolicy={"rules": [{"succeededCount": 1}]}),
    ],
)
def test_jobs_that_are_fine(body: JsonObject) -> None:
    assert validate_job(body) == []


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (
            job("OnFailure", **rules({"action": "FailJob", "onExitCodes": EXIT_CODES})),
            'spec.template.spec.restartPolicy: Invalid value: "OnFailure": '
            'only "Never" is supported when podFailurePolicy is specified',
        ),
        (
            job(completionMode="Indexed", parallelism=2),
            "spec.completions: Required value: when completion mode is Indexed",
        ),
        (job(backoffLimitPerIndex=1), "spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode"),
        (
            job(**INDEXED, maxFailedIndexes=1),
            "spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified",
        ),
        (
            job(**INDEXED, backoffLimitPerIndex=1, maxFailedIndexes=4),
            "spec.maxFailedIndexes: Invalid value: 4: must be less than or equal to completions",
        ),
        (
            job(**rules({"action": "FailIndex", "onExitCodes": EXIT_CODES})),
            'spec.podFailurePolicy.rules[0].action: Invalid value: "FailIndex": '
            "requires the backoffLimitPerIndex to be set",
        ),
        (
            job(**rules({"action": "Count", "onExitCodes": {"operator": "In", "values": [0]}})),
            "spec.podFailurePolicy.rules[0].onExitCodes.values[0]: Invalid value: 0: must not be 0 for the In operator",
        ),
        (
            job(**INDEXED, successPolicy={"rules": []}),
            "spec.successPolicy.rules: Required value: "
            "at least one rules must be specified when successPolicy is specified",
        ),
        (
            job(podReplacementPolicy="Never"),
            'spec.podReplacementPolicy: Unsupported value: "Never": supported values: "Failed", "TerminatingOrFailed"',
        ),
    ],
)
def test_jobs_that_are_refused(body: JsonObject, text: str) -> None:
    assert text in [str(error) for error in validate_job(body)]


def test_a_stateful_set_with_claims_is_told_what_to_use_instead() -> None:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template, "volumeClaimTemplates": [{}]}
    first, *_ = validate_statefulset({"kind": "StatefulSet", "metadata": {"name": "s"}, "spec": spec})
    assert str(first) == (
        "spec.volumeClaimTemplates: Forbidden: "
        "there is nobody here to provide volumes for claims: use a hostPath or emptyDir volume"
    )


def test_a_revision_has_data_for_life() -> None:
    assert validate_revision({"data": {}, "revision": 1}) == []
    assert [str(error) for error in validate_revision({"revision": -1})] == [
        "data: Required value: data is mandatory",
        "revision: Invalid value: -1: must be greater than or equal to 0",
    ]
    assert validate_revision_update({"data": {"a": 1}, "revision": 2}, {"data": {"a": 1}, "revision": 1}) == []
    (error,) = validate_revision_update({"data": {}}, {"data": {"a": 1}})
    assert str(error) == "data: Invalid value: {}: field is immutable"
