"""Patches of any shape change the object or are refused with a Status; nothing else comes of them."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.apiserver.api_world import pod

from pullet.apiserver.decoding import SchemaDecoder
from pullet.apiserver.patching import PatchType, apply_patch, go_text, parse_patch
from pullet.apiserver.schemas import Schemas
from pullet.kube.scheme import PODS
from pullet.kube.status import ApiError

SCHEMAS = Schemas.load()
CURRENT = pod("x", app="web")
NAMES = st.sampled_from(
    ["spec", "metadata", "labels", "containers", "name", "image", "c", "$patch", "$retainKeys", "finalizers", "ports",
     "env", "a", "$setElementOrder/containers", "$deleteFromPrimitiveList/finalizers"]
)  # fmt: skip
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=4)
    | st.sampled_from(["delete", "replace", "merge", "c"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
POINTERS = st.lists(
    st.sampled_from(["spec", "metadata", "labels", "containers", "0", "7", "-", "~0", "~", "", "a/b"])
).map(lambda parts: "".join(f"/{part}" for part in parts))
OPERATIONS = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test", "nonsense"]) | VALUES,
            "path": POINTERS | VALUES,
            "from": POINTERS | VALUES,
            "value": VALUES,
        },
    )
    | VALUES,
    max_size=4,
)


def outcome(kind: PatchType, patch: Any) -> None:
    before = copy.deepcopy(CURRENT)
    code = 200
    try:
        parsed = parse_patch(kind, json.dumps(patch).encode())
        changed = apply_patch(kind, CURRENT, parsed, PODS, SCHEMAS)
        SchemaDecoder(SCHEMAS).decode(changed, "", "v1", "Pod")
    except ApiError as error:
        code = error.http_code
    assert code < 500
    assert before == CURRENT, "what is stored stays as it is"


@given(OPERATIONS)
def test_json_patches(patch: Any) -> None:
    outcome(PatchType.JSON, patch)


@pytest.mark.parametrize("kind", [PatchType.MERGE, PatchType.STRATEGIC])
@given(patch=st.dictionaries(NAMES, VALUES, max_size=4) | VALUES)
def test_merges(kind: PatchType, patch: Any) -> None:
    outcome(kind, patch)


def test_values_as_go_prints_them() -> None:
    assert go_text({"b": [1, "x", None], "a": {"c": True}}) == "map[a:map[c:true] b:[1 x <nil>]]"
