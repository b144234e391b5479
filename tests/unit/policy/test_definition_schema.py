"""Rules on the schemas of custom resources."""

from __future__ import annotations

from typing import Any

import pytest

from pullet.policy.definition_schema import validate_schema

STRING = {"type": "string"}


def texts(spec: dict[str, Any]) -> list[str]:
    """The errors of a schema whose field `spec` is as given, without the path that leads there."""
    found = validate_schema({"type": "object", "properties": {"spec": spec}}, "S")
    return [str(error).replace("S.properties[spec]", "S") for error in found]


MAP = {"type": "array", "x-kubernetes-list-type": "map"}


@pytest.mark.parametrize(
    ("schema", "wrong"),
    [
        ({}, "S.type: Required value: must not be empty for specified object fields"),
        ({"type": "text"}, 'S.type: Unsupported value: "text"'),
        ({"type": "array"}, "S.items: Required value: must be specified"),
        ({"type": "array", "items": {}}, "S.items: Required value: must be specified"),
        ({"type": "array", "items": {"description": "x"}},
         "S.items.type: Required value: must not be empty for specified array items"),
        ({"type": "array", "items": [STRING]}, "S.items: Forbidden: items must be a schema object and not an array"),
        ({"type": "array", "items": STRING, "uniqueItems": True}, "S.uniqueItems: Forbidden: uniqueItems cannot be"),
        ({"type": "object", "$ref": "x"}, "S.$ref: Forbidden: $ref is not supported"),
        ({"type": "object", "properties": {"a": STRING}, "additionalProperties": STRING},
         "S.additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive"),
        ({"type": "object", "x-kubernetes-preserve-unknown-fields": False},
         "S.x-kubernetes-preserve-unknown-fields: Invalid value: false: must be true or undefined"),
        ({"type": "string", "pattern": "["}, 'S.pattern: Invalid value: "[": must be a valid regular expression, but'),
        ({"type": "object", "anyOf": [{"type": "object"}]}, "S.anyOf[0].type: Forbidden: must be empty to be"),
        ({"type": "object", "not": {"description": "x"}},
         "S.not.description: Forbidden: must be empty to be structural"),
        ({"type": "object", "oneOf": [{"properties": {"a": {"minimum": 1}}}]},
         "S.properties[a]: Required value: because it is defined in S.oneOf[0].properties[a]"),
        ({"x-kubernetes-embedded-resource": True}, "S.type: Required value: must be object if x-kubernetes-embedded"),
        ({"type": "object", "x-kubernetes-embedded-resource": True},
         "S.properties: Required value: must not be empty if x-kubernetes-embedded-resource is true without"),
        ({"x-kubernetes-int-or-string": True, "x-kubernetes-preserve-unknown-fields": True},
         "S.x-kubernetes-preserve-unknown-fields: Invalid value: true: must be false if x-kubernetes-int-or-string"),
        ({"type": "string", "x-kubernetes-map-type": "atomic"}, 'S.type: Invalid value: "string": must be object'),
        ({**MAP, "items": {"type": "object"}}, "S.x-kubernetes-list-map-keys: Required value: must not be empty if x-"),
        ({**MAP, "items": {"type": "object"}, "x-kubernetes-list-map-keys": ["k"]},
         'S.x-kubernetes-list-map-keys: Invalid value: ["k"]: entries must all be names of item properties'),
        ({**MAP, "items": {"type": "object", "properties": {"k": STRING}}, "x-kubernetes-list-map-keys": ["k"]},
         "S.items.properties[k].default: Required value: this property is in x-kubernetes-list-map-keys, so it must"),
        ({**MAP, "items": STRING, "x-kubernetes-list-map-keys": ["k"]}, 'S.items.type: Invalid value: "string": must'),
        ({"type": "array", "items": STRING, "x-kubernetes-list-map-keys": ["k"]},
         "S.x-kubernetes-list-type: Required value: must be map if x-kubernetes-list-map-keys is non-empty"),
        ({"type": "integer", "default": "x"}, 'S.default: Invalid value: "string":'),
        ({"type": "object", "default": {"b": 1}, "properties": {"a": STRING}},
         'S.default: Invalid value: {"b":1}: must be pruned'),
        ({"type": "object", "x-kubernetes-validations": [{"rule": " "}]},
         "S.x-kubernetes-validations[0].rule: Required value: rule is not specified"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_field(schema: dict[str, Any], wrong: str) -> None:
    found = texts(schema)
    assert any(text.startswith(wrong) for text in found), found


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "additionalProperties": STRING},
        {"x-kubernetes-preserve-unknown-fields": True},
        {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]},
        {"x-kubernetes-int-or-string": True, "allOf": [{"anyOf": [{"type": "integer"}, {"type": "string"}]}]},
        {"type": "object", "properties": {"a": STRING}, "oneOf": [{"required": ["a"]}, {"maxProperties": 0}]},
        {"type": "integer", "default": 3, "minimum": 1},
        {**MAP, "items": {"type": "object", "properties": {"k": {**STRING, "default": "x"}}},
         "x-kubernetes-list-map-keys": ["k"]},
    ],
)  # fmt: skip
def test_what_is_right(schema: dict[str, Any]) -> None:
    assert texts(schema) == []


def test_the_root_is_an_object_whose_metadata_is_everybodys() -> None:
    assert [str(error) for error in validate_schema({"type": "array", "items": STRING}, "S")] == [
        'S.type: Invalid value: "array": must be object at the root'
    ]
    assert [str(error) for error in validate_schema({"description": "x"}, "S")] == [
        "S.type: Required value: must not be empty at the root"
    ]
    named = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 5}}}
    assert validate_schema({"type": "object", "properties": {"metadata": named}}, "S") == []
    labels = {"type": "object", "properties": {"labels": {"type": "object"}}}
    [error] = validate_schema({"type": "object", "properties": {"metadata": labels}}, "S")
    assert "must not specify anything other than name and generateName" in str(error)
