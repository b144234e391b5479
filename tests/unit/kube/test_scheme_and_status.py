"""The resource table and the texts of refusals."""

from __future__ import annotations

import pytest

from pullet.kube import scheme
from pullet.kube.field_error import aggregate_text, invalid, not_supported, required
from pullet.kube.status import (
    AlreadyExistsError,
    ApiError,
    ConflictError,
    ExpiredError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    error_from_status,
)


def test_rows_are_unique_by_path_and_by_kind() -> None:
    assert len({(row.group, row.version, row.plural) for row in scheme.RESOURCES}) == len(scheme.RESOURCES)
    assert len({(row.group_version, row.kind) for row in scheme.RESOURCES}) == len(scheme.RESOURCES)
    short_names = [name for row in scheme.RESOURCES if not row.storage for name in row.short_names]
    assert len(set(short_names)) == len(short_names)


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        (scheme.PODS.path("ns", "x", "log"), "/api/v1/namespaces/ns/pods/x/log"),
        (scheme.PODS.path(), "/api/v1/pods"),
        (scheme.NODES.path("ignored", "n"), "/api/v1/nodes/n"),
        (scheme.DEPLOYMENTS.path("ns"), "/apis/apps/v1/namespaces/ns/deployments"),
    ],
)
def test_paths(path: str, wanted: str) -> None:
    assert path == wanted


@pytest.mark.parametrize(
    ("error", "text", "code", "reason"),
    [
        (NotFoundError.on(scheme.PODS, "x"), 'pods "x" not found', 404, "NotFound"),
        (NotFoundError.on(scheme.DEPLOYMENTS, "x"), 'deployments.apps "x" not found', 404, "NotFound"),
        (AlreadyExistsError.on(scheme.SECRETS, "s"), 'secrets "s" already exists', 409, "AlreadyExists"),
        (
            ConflictError.on(scheme.PODS, "x"),
            'Operation cannot be fulfilled on pods "x": the object has been modified; please apply your changes to the '
            "latest version and try again",
            409,
            "Conflict",
        ),
        (ForbiddenError.on(scheme.PODS, "x", "no"), 'pods "x" is forbidden: no', 403, "Forbidden"),
        (ForbiddenError.on(scheme.PODS, "", "no"), "pods is forbidden: no", 403, "Forbidden"),
        (ExpiredError.watch(5, 80), "too old resource version: 5 (80)", 410, "Expired"),
        (
            InvalidError.on("apps", "Deployment", "d", [required("spec.a"), required("spec.b", "say it")]),
            'Deployment.apps "d" is invalid: [spec.a: Required value, spec.b: Required value: say it]',
            422,
            "Invalid",
        ),
    ],
)
def test_texts(error: ApiError, text: str, code: int, reason: str) -> None:
    status = error.to_status()
    assert (status["message"], status["code"], status["reason"]) == (text, code, reason)
    again = error_from_status(status)
    assert type(again) is type(error)
    assert str(again) == text


def test_causes_name_the_fields() -> None:
    error = InvalidError.on("", "Pod", "x", [not_supported("spec.p", "no", ("Always", "Never"))])
    assert error.causes == [
        {
            "reason": "FieldValueNotSupported",
            "message": 'Unsupported value: "no": supported values: "Always", "Never"',
            "field": "spec.p",
        }
    ]


def test_values_are_shown_as_go_shows_them() -> None:
    assert str(invalid("f", 'a"b\n', "x")) == 'f: Invalid value: "a\\"b\\n": x'
    assert str(invalid("f", True, "x")) == "f: Invalid value: true: x"
    assert aggregate_text([required("a"), required("a")]) == "a: Required value"


def test_a_body_that_is_no_status_still_becomes_the_error_of_its_code() -> None:
    assert isinstance(error_from_status({}, 404), NotFoundError)
    assert error_from_status({}, 418).http_code == 418
