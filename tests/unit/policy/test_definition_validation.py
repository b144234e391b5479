"""Rules on definitions beyond what the API tests try over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from pullet.policy.definition_defaulting import default_definition, prepare_definition
from pullet.policy.definition_validation import definition_warnings, validate_definition, validate_definition_update

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"spec": {"type": "object", "properties": {"color": {"type": "string"}, "list": {
        "type": "array", "items": {"type": "string"}}}}},
}  # fmt: skip


def definition(**more: Any) -> dict[str, Any]:
    """A definition that is right, its one version with `more`."""
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": SCHEMA}, **more}
    names = {"plural": "shirts", "kind": "Shirt"}
    spec = {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]}
    made: dict[str, Any] = {"metadata": {"name": "shirts.example.com"}, "spec": spec}
    prepare_definition(made)
    default_definition(made)
    return made


def texts(made: dict[str, Any]) -> list[str]:
    return [str(error) for error in validate_definition(made)]


@pytest.mark.parametrize(
    ("more", "wrong"),
    [
        ({}, ""),
        ({"selectableFields": [{"jsonPath": ".spec.color"}]}, ""),
        ({"selectableFields": [{"jsonPath": ".spec.size"}]}, "spec.selectableFields[0].jsonPath: Invalid value: "),
        ({"selectableFields": [{"jsonPath": ".spec.list"}]}, "spec.selectableFields[0].jsonPath: Invalid value: "),
        ({"selectableFields": [{"jsonPath": ""}]}, "spec.selectableFields[0].jsonPath: Required value"),
        ({"deprecationWarning": "x"},
         'spec.versions[0].deprecationWarning: Invalid value: "x": can only be set for deprecated versions'),
        ({"deprecated": True, "deprecationWarning": "x"}, ""),
        ({"name": "V1"}, 'spec.versions[0].name: Invalid value: "V1": a DNS-1035 label must consist of'),
        ({"storage": False}, "spec.versions: Invalid value: "),
        ({"subresources": {"scale": {"specReplicasPath": ".spec.n", "statusReplicasPath": ""}}},
         "spec.subresources.scale.statusReplicasPath: Required value"),
        ({"subresources": {"scale": {"specReplicasPath": ".spec.n", "statusReplicasPath": ".status.n",
                                     "labelSelectorPath": ".metadata.n"}}},
         'spec.subresources.scale.labelSelectorPath: Invalid value: ".metadata.n": should be a json path under'),
        ({"additionalPrinterColumns": [{"name": "", "type": "string", "jsonPath": ".a"}]},
         "spec.additionalPrinterColumns[0].name: Required value"),
        ({"additionalPrinterColumns": [{"name": "A", "type": "string", "jsonPath": "a"}]},
         'spec.additionalPrinterColumns[0].JSONPath: Invalid value: "a": must be a simple json path starting with .'),
        ({"additionalPrinterColumns": [{"name": "A", "type": "string", "jsonPath": ".a", "format": "x"}]},
         'spec.additionalPrinterColumns[0].format: Invalid value: "x": must be one of binary,byte,date,date-time'),
    ],
)  # fmt: skip
def test_versions(more: dict[str, Any], wrong: str) -> None:
    found = texts(definition(**more))
    assert (len(found), found[0][: len(wrong)]) == (1, wrong) if wrong else found == []


def test_what_versions_do_not_share_is_named_by_its_version() -> None:
    made = definition()
    wrong = {"type": "object", "properties": {"spec": {}}}
    other = {"name": "v2", "served": True, "storage": False, "schema": {"openAPIV3Schema": wrong}}
    path = "openAPIV3Schema.properties[spec].type: Required value: must not be empty for specified object fields"
    made["spec"]["versions"].append(other)
    assert texts(made) == [f"spec.versions[1].schema.{path}"]
    made["spec"]["versions"][0]["schema"] = other["schema"]
    assert texts(made) == [f"spec.validation.{path}"]


def test_columns_that_cannot_be_read_are_warned_of() -> None:
    column = {"name": "Odd", "type": "string", "jsonPath": ".spec[?(@.a>1)]"}
    made = definition(additionalPrinterColumns=[column])
    assert texts(made) == []
    [warning] = definition_warnings(made)
    assert warning.startswith(
        'printer column Odd stays empty: Invalid value: ".spec[?(@.a>1)]": is an invalid JSONPath'
    )


def test_before_it_is_established_the_kind_may_change_but_not_the_name() -> None:
    old, new = definition(), definition()
    new["spec"]["names"]["kind"], new["spec"]["scope"] = "Other", "Cluster"
    assert validate_definition_update(new, old) == []
    old["status"]["conditions"] = [{"type": "Established", "status": "True"}]
    fields = ["spec.scope", "spec.names.kind"]
    assert [error.field for error in validate_definition_update(new, old)] == fields


def test_defaulting_twice_is_defaulting_once_and_leaves_the_status_it_was_given_alone() -> None:
    made = definition()
    status = made["status"]
    before = {**status, "storedVersions": list(status["storedVersions"])}
    made["spec"]["versions"][0]["name"] = "v2"
    default_definition(made)
    assert made["status"]["storedVersions"] == ["v1", "v2"]
    assert status == before
    again = {**made}
    default_definition(again)
    assert again == made
