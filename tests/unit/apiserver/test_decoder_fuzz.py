"""Whatever stands in a selector, a number, a path, a protobuf body or in managedFields: read, or refused with words."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import urlencode

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.apiserver.api_world import Api, configmap

from pullet.apiserver.decoding import SchemaDecoder, parse_body
from pullet.apiserver.list_options import ListOptions
from pullet.apiserver.reading import Selection
from pullet.apiserver.routing import RequestInfo, parse_request
from pullet.apiserver.schemas import Schemas
from pullet.kube.field_sets import FieldWalker, from_fields_v1, path_text, to_fields_v1
from pullet.kube.ownership import Writer, apply_configuration, managers_of, track_update
from pullet.kube.scheme import PODS
from pullet.kube.status import ApiError

SCHEMAS = Schemas.load()
WORDS = ("a", "b", "=", "==", "!=", "!", " in ", " notin ", "(", ")", ",", " ", "metadata.name", "\\", "é", "x" * 70)
texts = st.lists(st.sampled_from(WORDS), max_size=12).map("".join) | st.text(max_size=20)
numbers = st.integers().map(str) | st.text("0123456789+-x. ", max_size=24)


def code_of(call: Callable[[], object]) -> int:
    """The code that a call is refused with, 0 if it is not; anything but a refusal is a failure."""
    try:
        call()
    except ApiError as error:
        return error.code
    return 0


def decode(body: bytes, kind: str) -> None:
    """A protobuf body of a core kind."""
    value = parse_body(body, "application/vnd.kubernetes.protobuf", SCHEMAS)
    assert SchemaDecoder(SCHEMAS).decode(value, "", "v1", kind).obj["kind"] == kind


def info(query: str) -> RequestInfo:
    """A list of pods with a query."""
    return parse_request("GET", PODS.path("default"), query)


@given(texts, texts)
def test_selectors(labels: str, fields: str) -> None:
    query = urlencode({"labelSelector": labels, "fieldSelector": fields})
    assert code_of(lambda: Selection.of(info(query))) in (0, 400)


@given(numbers, numbers, numbers, st.booleans())
def test_options(version: str, limit: str, timeout: str, is_watch: bool) -> None:
    query = info(urlencode({"resourceVersion": version, "limit": limit, "timeoutSeconds": timeout})).query
    assert code_of(lambda: ListOptions.of(query, is_watch=is_watch)) in (0, 400, 422)


@given(st.text(max_size=40), st.text(max_size=40))
def test_paths(path: str, query: str) -> None:
    for one in (path, f"/api/v1/{path}", f"/apis/apps/v1/namespaces/default/{path}"):
        assert code_of(partial(parse_request, "GET", one, query)) in (0, 404, 405)


elements = st.sampled_from(
    ["f:a", "f:", "f:metadata", "f:data", ".", "k:{}", 'k:{"name":"c"}', "k:[", "v:1", "v:{", "i:0", "i:x", "z", "f"]
)
trees: st.SearchStrategy[Any] = st.recursive(
    st.just({}) | st.none() | st.integers(),
    lambda inner: st.dictionaries(elements, inner, max_size=3),
    max_leaves=8,
)
FIELDS: dict[str, Any] = {"properties": {"metadata": {}, "data": {"additionalProperties": {"type": "string"}}}}


@given(st.dictionaries(elements, trees, max_size=3), st.sampled_from(["Apply", "Update"]))
def test_managed_fields(tree: dict[str, Any], operation: str) -> None:
    try:
        fields = from_fields_v1(tree)
    except ValueError:
        fields = frozenset()
    assert from_fields_v1(to_fields_v1(fields)) == fields
    assert all(path_text(path) for path in fields)
    entry = {"manager": "m", "operation": operation, "apiVersion": "v1", "fieldsV1": tree}
    live = {"metadata": {"managedFields": [entry]}, "data": {"a": "1"}}
    walker, writer = FieldWalker(lambda schema: schema), Writer("n", "v1", "", "t")
    made = apply_configuration(live, {"metadata": {}, "data": {"a": "2"}}, writer, FIELDS, walker, force=True)
    assert made["data"]["a"] == "2"
    track_update(live, made, writer, FIELDS, walker)
    assert managers_of(made)


def _length(data: bytes) -> bytes:
    return bytes([len(data)])


inner = st.binary(max_size=40)


@given(st.lists(st.tuples(st.integers(1, 40), st.sampled_from([0, 1, 2, 5, 7]), inner), max_size=4))
def test_protobuf_of_any_kind_of_field(fields: list[tuple[int, int, bytes]]) -> None:
    message = b"".join(bytes([(number << 3 | wire) & 0x7F]) + _length(data) + data for number, wire, data in fields)
    for kind in (b"Pod", b"Secret", b"Event", b"Namespace"):
        meta = b"\n\x02v1\x12" + _length(kind) + kind
        body = b"k8s\x00\n" + _length(meta) + meta + b"\x12" + _length(message[:120]) + message[:120]
        assert code_of(partial(decode, body, kind.decode())) in (0, 400)


def test_structs_that_json_inlines_keep_their_own_fields() -> None:
    def field(number: int, data: bytes) -> bytes:
        return bytes([number << 3 | 2]) + _length(data) + data

    path = field(1, b"/") + field(3, b"Prefix")
    rule = field(1, b"a.example.com") + field(2, field(1, field(1, path)))
    ingress = field(1, field(1, b"way")) + field(2, field(3, rule))
    type_meta = field(1, b"networking.k8s.io/v1") + field(2, b"Ingress")
    body = b"k8s\x00" + field(1, type_meta) + field(2, ingress)
    value = parse_body(body, "application/vnd.kubernetes.protobuf", SCHEMAS)
    [shown] = value["spec"]["rules"]
    assert shown == {"host": "a.example.com", "http": {"paths": [{"path": "/", "pathType": "Prefix"}]}}


async def test_unreadable_managed_fields_of_a_client_are_not_taken_over(api: Api) -> None:
    made = await api.ok("POST", "/api/v1/namespaces/default/configmaps?fieldManager=me", configmap("c", a="1"))
    made["metadata"]["managedFields"][0]["fieldsV1"] = {"k:[": {}}
    url = "/api/v1/namespaces/default/configmaps/c"
    kept = await api.ok("PUT", f"{url}?fieldManager=other", made)
    assert [entry["manager"] for entry in kept["metadata"]["managedFields"]] == ["me"]
