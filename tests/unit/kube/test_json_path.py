"""The part of JSONPath that printer columns and scales use."""

from __future__ import annotations

from typing import Any

import pytest

from pullet.kube.json_path import JsonPathError, parse_json_path, shown

OBJ: dict[str, Any] = {
    "metadata": {"annotations": {"a.b/c": "x"}},
    "spec": {"n": 1, "on": True, "items": [{"name": "a"}, {"name": "b", "port": 80}], "map": {"k": [1, 2]}},
    "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Old", "status": "False"}]},
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".spec.n", [1]),
        ("$.spec.on", [True]),
        (".", [OBJ]),
        (".spec.nothing.at.all", []),
        (".metadata.annotations['a.b/c']", ["x"]),
        ('.metadata.annotations["a.b/c"]', ["x"]),
        (r".metadata.annotations.a\.b/c", ["x"]),
        (".spec.items[0].name", ["a"]),
        (".spec.items[-1].name", ["b"]),
        (".spec.items[7].name", []),
        (".spec.items[*].name", ["a", "b"]),
        (".spec.items[-1:].name", ["b"]),
        (".spec.items[:].name", ["a", "b"]),
        (".spec.map.*", [[1, 2]]),
        ('.status.conditions[?(@.type=="Ready")].status', ["True"]),
        (".status.conditions[?(@.type=='Gone')].status", []),
        ('.status.conditions[?(@.type != "Ready")].type', ["Old"]),
        (".spec.items[?(@.port==80)].name", ["b"]),
    ],
)
def test_paths_lead_to_values(path: str, found: list[Any]) -> None:
    assert parse_json_path(path).find(OBJ) == found


@pytest.mark.parametrize("path", ["spec", ".spec[", ".spec[?(@.a>1)]", "..spec"])
def test_what_is_not_read_is_refused(path: str) -> None:
    with pytest.raises(JsonPathError, match="unrecognized JSONPath"):
        parse_json_path(path)


@pytest.mark.parametrize(
    ("value", "text"),
    [("a", "a"), (1, "1"), (1.5, "1.5"), (True, "true"), (None, "<nil>"), ({"a": [1]}, '{"a":[1]}'), (["a"], '["a"]')],
)
def test_values_are_shown_as_kubectl_prints_them(value: Any, text: str) -> None:
    assert shown(value) == text
