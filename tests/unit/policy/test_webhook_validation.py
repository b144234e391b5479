"""Rules on webhook configurations."""

from __future__ import annotations

from typing import Any

import pytest

from pullet.policy.webhook_validation import validate_webhooks, webhook_warnings


def rule(resources: list[str], operations: tuple[str, ...] = ("*",)) -> dict[str, Any]:
    return {"apiGroups": [""], "apiVersions": ["v1"], "operations": list(operations), "resources": resources}


WEBHOOK: dict[str, Any] = {
    "name": "a.hooks.example.com",
    "clientConfig": {"url": "https://127.0.0.1:8443/a"},
    "rules": [rule(["configmaps"])],
    "failurePolicy": "Fail",
    "matchPolicy": "Equivalent",
    "timeoutSeconds": 10,
    "sideEffects": "None",
    "admissionReviewVersions": ["v1"],
}


def test_what_is_right_passes() -> None:
    assert validate_webhooks({"webhooks": [WEBHOOK, WEBHOOK | {"name": "b.hooks.example.com"}]}) == []


def test_names_are_unique() -> None:
    (error,) = validate_webhooks({"webhooks": [WEBHOOK, WEBHOOK]})
    assert str(error) == 'webhooks[1].name: Duplicate value: "a.hooks.example.com"'


def test_services_are_warned_of() -> None:
    service = {"clientConfig": {"service": {"name": "s", "namespace": "n"}}}
    assert webhook_warnings({"webhooks": [WEBHOOK]}) == []
    (text,) = webhook_warnings({"webhooks": [WEBHOOK | service]})
    assert text.startswith("webhooks[0].clientConfig.service: services are not routed by this API server")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "short"},
         'webhooks[0].name: Invalid value: "short": should be a domain with at least three segments separated by dots'),
        ({"sideEffects": None}, "webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun"),
        ({"sideEffects": "Some"},
         'webhooks[0].sideEffects: Unsupported value: "Some": supported values: "None", "NoneOnDryRun"'),
        ({"timeoutSeconds": 31},
         "webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds"),
        ({"timeoutSeconds": 0},
         "webhooks[0].timeoutSeconds: Invalid value: 0: the timeout value must be between 1 and 30 seconds"),
        ({"failurePolicy": "Maybe"},
         'webhooks[0].failurePolicy: Unsupported value: "Maybe": supported values: "Fail", "Ignore"'),
        ({"admissionReviewVersions": []},
         "webhooks[0].admissionReviewVersions: Required value: must specify one of v1, v1beta1"),
        ({"clientConfig": {}}, "webhooks[0].clientConfig: Required value: exactly one of url or service is required"),
        ({"clientConfig": {"url": "http://h/x"}},
         "webhooks[0].clientConfig.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; desired "
         "format: https://host[:port]/path"),
        ({"clientConfig": {"url": "https://h/x", "caBundle": "bm8="}},
         'webhooks[0].clientConfig.caBundle: Invalid value: "bm8=": unable to load root certificates: unable to parse '
         "bytes as PEM block"),
        ({"matchConditions": [{"name": "x", "expression": "true"}]},
         "webhooks[0].matchConditions: Forbidden: expressions are not evaluated by this API server; narrow the webhook "
         "by rules and selectors"),
        ({"rules": [rule(["pods"], ("MAKE",))]},
         'webhooks[0].rules[0].operations[0]: Unsupported value: "MAKE": supported values: "*", "CONNECT", "CREATE", '
         '"DELETE", "UPDATE"'),
        ({"rules": [rule(["*/*", "pods"])]},
         'webhooks[0].rules[0].resources: Invalid value: ["*/*","pods"]: if \'*/*\' is present, must not specify other '
         "resources"),
    ],
)  # fmt: skip
def test_each_rule_has_its_words(change: dict[str, Any], message: str) -> None:
    (error,) = validate_webhooks({"webhooks": [WEBHOOK | change]})
    assert str(error) == message
