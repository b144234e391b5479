"""Whatever is sent, the answer is a metav1.Status with the right reason, never a 500."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.apiserver.api_world import PODS, Api, configmap, pod

from pullet.apiserver.decoding import SchemaDecoder, parse_body, parse_yaml
from pullet.apiserver.protobuf import PREFIX
from pullet.apiserver.schemas import Schemas
from pullet.kube.status import ApiError, BadRequestError

CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
SCHEMAS = Schemas.load()


BODIES: list[tuple[bytes, str, int]] = [
    (b"", "application/json", 400),
    (b"{", "application/json", 400),
    (b"[]", "application/json", 400),
    (b'"x"', "application/json", 400),
    (b"null", "application/json", 400),
    (b"\xff\xfe", "application/json", 400),
    (b'{"metadata": []}', "application/json", 400),
    (b'{"metadata": {"name": 5}}', "application/json", 400),
    (b'{"kind": 7}', "application/json", 400),
    (b'{"kind": "Service", "apiVersion": "v1"}', "application/json", 400),
    (b'{"kind": "Pod", "apiVersion": "v2"}', "application/json", 400),
    (b"[" * 100_000, "application/json", 400),
    (b'{"spec":' * 5_000 + b"1" + b"}" * 5_000, "application/json", 400),
    (b"a: [", "application/yaml", 400),
    (b"- " * 3_000 + b"x", "application/yaml", 400),
    (b"{" * 20_000, "application/yaml", 400),
    (b"a: &a [*a]", "application/yaml", 400),
    (b"k8s\x00\xff\xff\xff", "application/vnd.kubernetes.protobuf", 400),
    (b"nonsense", "application/vnd.kubernetes.protobuf", 400),
    (b"<x/>", "text/xml", 415),
    (b" " * (3 * 1024 * 1024 + 1), "application/json", 413),
    (b"{}", "application/json", 422),
]


async def test_bodies(api: Api) -> None:
    for body, content_type, code in BODIES:
        status = await api.refused("POST", PODS, body, content_type=content_type)
        assert status["code"] == code, body[:60]
        assert status["message"], body[:60]


PATHS: list[tuple[str, str, int]] = [
    ("GET", "/api/v1/nosuch", 404),
    ("GET", "/apis/nosuch/v1/things", 404),
    ("GET", "/apis/apps/v9/deployments", 404),
    ("GET", f"{PODS}/p/nosuch", 404),
    ("GET", "/nonsense", 404),
    ("POST", f"{PODS}/p", 405),
    ("PUT", PODS, 405),
    ("DELETE", "/api/v1/namespaces", 405),
    ("GET", f"{PODS}?limit=x", 400),
    ("POST", f"{PODS}?dryRun=Some", 422),
    ("GET", f"{PODS}?labelSelector=%3D%3D", 400),
    ("GET", f"{PODS}/p/log?tailLines=-1", 404),
    ("GET", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", 405),
]


async def test_paths_and_queries(api: Api) -> None:
    for method, path, code in PATHS:
        assert (await api.refused(method, path))["code"] == code, path


async def test_unknown_fields_by_validation_mode(api: Api) -> None:
    body = pod("x")
    body["spec"]["containers"][0]["imagepullpolicy"] = "Always"
    strict = await api.refused("POST", f"{PODS}?fieldValidation=Strict", body)
    assert strict["message"] == (
        'Pod in version "v1" cannot be handled as a Pod: strict decoding error: unknown field '
        '"spec.containers[0].imagepullpolicy"'
    )
    response = await api.http.post(f"{PODS}?fieldValidation=Warn", json=body)
    assert response.headers["warning"] == '299 - "unknown field \\"spec.containers[0].imagepullpolicy\\""'
    assert "imagepullpolicy" not in response.json()["spec"]["containers"][0]
    body["metadata"]["name"] = "y"
    ignored = await api.http.post(f"{PODS}?fieldValidation=Ignore", json=body)
    assert "warning" not in ignored.headers
    assert (await api.refused("POST", f"{PODS}?fieldValidation=Loud", body))["code"] == 400


async def test_wrong_types_are_told_in_go_words(api: Api) -> None:
    body = pod("x")
    body["spec"]["containers"][0]["imagePullPolicy"] = 1
    assert (await api.refused("POST", PODS, body))["message"] == (
        'Pod in version "v1" cannot be handled as a Pod: json: cannot unmarshal number into Go struct field '
        "Container.spec.containers.imagePullPolicy of type v1.PullPolicy"
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["metadata", "name", "spec", "containers", "image", "env", "ports", "labels", "volumes", "x"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(JSON)
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_any_json_is_a_pod_or_a_bad_request(value: Any) -> None:
    from pullet.policy.pod_defaulting import default_pod
    from pullet.policy.pod_validation import pod_warnings, validate_pod

    try:
        decoded = SchemaDecoder(SCHEMAS).decode(value, "", "v1", "Pod")
    except ApiError:
        return
    default_pod(decoded.obj)
    validate_pod(decoded.obj)
    pod_warnings(decoded.obj)


@given(st.binary(max_size=200))
def test_any_bytes_are_protobuf_or_a_bad_request(data: bytes) -> None:
    envelope = b"\n\x09\n\x02v1\x12\x03Pod\x12" + bytes([len(data) & 0x7F]) + data
    for body in (PREFIX + data, PREFIX + envelope):
        try:
            parse_body(body, "application/vnd.kubernetes.protobuf", SCHEMAS)
        except BadRequestError:
            continue


@given(st.text(max_size=80))
def test_any_text_is_yaml_or_a_bad_request(text: str) -> None:
    try:
        parse_yaml(text.encode())
    except BadRequestError:
        return


async def test_patches_of_the_wrong_type_are_invalid(api: Api) -> None:
    await api.ok("POST", CONFIGMAPS, configmap("c", a="b"))
    for content_type, value, text in (
        (
            "merge-patch",
            None,
            "json: cannot unmarshal number into Go struct field ConfigMap.data of type map[string]string",
        ),
        ("strategic-merge-patch", 'Invalid value: "map[data:7]"', "cannot restore map from int64"),
    ):
        status = await api.refused(
            "PATCH", f"{CONFIGMAPS}/c", {"data": 7}, content_type=f"application/{content_type}+json"
        )
        [cause] = status["details"]["causes"]
        assert (status["reason"], cause["field"]) == ("Invalid", "patch")
        assert cause["message"].endswith(f": {text}")
        assert value is None or cause["message"].startswith(value)
