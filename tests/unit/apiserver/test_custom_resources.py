"""Custom resources over HTTP: schema, defaults, pruning, patches, apply, status, scale, tables, versions, selectors."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.unit.apiserver.api_world import Api
from tests.unit.apiserver.custom_world import (
    CRONTABS,
    DEFINITIONS,
    GROUP,
    SCHEMA,
    SPEC,
    crontab,
    definition,
    establish,
    version,
)

MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
PARTS = {
    "status": {},
    "scale": {
        "specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.labelSelector",
    },
}
COLUMNS = [
    {"name": "Spec", "type": "string", "jsonPath": ".spec.cronSpec"},
    {"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas"},
    {"name": "Ports", "type": "string", "jsonPath": ".spec.ports[*].name", "priority": 1},
    {"name": "Made", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    {"name": "None", "type": "string", "jsonPath": ".spec.nothing"},
]


@pytest.fixture
async def crontabs(api: Api) -> Api:
    """A server with CronTabs."""
    await establish(api, definition(version(subresources=PARTS, additionalPrinterColumns=COLUMNS), shortNames=["ct"]))
    return api


async def test_an_object_gets_its_defaults_and_loses_what_is_unknown(crontabs: Api) -> None:
    body = crontab("a", colour="red", ports=[{"name": "x", "port": 80, "extra": 1}], anything={"at": ["all"]})
    body["metadata"]["colour"] = "red"
    body["status"] = {"replicas": 3}
    response = await crontabs.http.post(CRONTABS, json=body)
    assert response.status_code == 201, response.text
    created = response.json()
    assert created["spec"] == {
        "cronSpec": "* * * * */5", "image": "busybox:1.36", "replicas": 1, "anything": {"at": ["all"]},
        "ports": [{"name": "x", "port": 80}],
    }  # fmt: skip
    assert "status" not in created
    assert created["metadata"]["generation"] == 1
    assert response.headers.get_list("warning") == [
        f'299 - "unknown field \\"{field}\\""' for field in ("spec.colour", "spec.ports[0].extra", "metadata.colour")
    ]
    refused = await crontabs.refused("POST", f"{CRONTABS}?fieldValidation=Strict", body)
    assert refused["message"].startswith(
        'CronTab in version "v1" cannot be handled as a CronTab: strict decoding error: unknown field "spec.colour"'
    )
    ignored = await crontabs.http.post(f"{CRONTABS}?fieldValidation=Ignore&dryRun=All", json=body | crontab("b", c=1))
    assert (ignored.status_code, ignored.headers.get("warning")) == (201, None)


async def test_a_wrong_object_is_refused_field_by_field(crontabs: Api) -> None:
    body = crontab("a", cronSpec="at noon", replicas=11, ports=[{"name": "x"}, {"name": "x", "port": True}])
    status = await crontabs.refused("POST", CRONTABS, body)
    pattern = SPEC["properties"]["cronSpec"]["pattern"]
    assert [(cause["field"], cause["message"]) for cause in status["details"]["causes"]] == [
        ("spec.cronSpec", f'Invalid value: "at noon": spec.cronSpec in body should match \'{pattern}\''),
        ("spec.replicas", "Invalid value: 11: spec.replicas in body should be less than or equal to 10"),
        ("spec.ports[1].port", 'Invalid value: "boolean": spec.ports[1].port in body must be of type integer,string: '
         '"boolean"'),
        ("spec.ports[1]", 'Duplicate value: {"name":"x"}'),
    ]  # fmt: skip
    assert status["message"].startswith(f'CronTab.{GROUP} "a" is invalid: [spec.cronSpec: Invalid value: "at noon"')
    missing = await crontabs.refused("POST", CRONTABS, {**crontab("a"), "spec": {}})
    assert missing["message"] == f'CronTab.{GROUP} "a" is invalid: spec.cronSpec: Required value'
    other = await crontabs.refused("POST", CRONTABS, {**crontab("a"), "kind": "Other"})
    assert other["message"] == f'Other.{GROUP} "a" is invalid: kind: Invalid value: "Other": must be CronTab'
    odd: list[Any] = [[], "x", {"metadata": []}, {"kind": 1}, {"apiVersion": "v1", "kind": "Pod"}]
    for body in odd:
        assert (await crontabs.refused("POST", CRONTABS, body))["code"] == 400
    unfit = await crontabs.refused("POST", CRONTABS, {**crontab("a"), "metadata": {"name": "a", "labels": {"a": 1}}})
    assert "json: cannot unmarshal number into Go struct field" in unfit["message"]


async def test_patches(crontabs: Api) -> None:
    await crontabs.ok("POST", CRONTABS, crontab("a"))
    one = f"{CRONTABS}/a"
    merged = await crontabs.ok("PATCH", one, {"spec": {"replicas": 3}}, content_type=MERGE)
    assert (merged["spec"]["replicas"], merged["metadata"]["generation"]) == (3, 2)
    replace = [{"op": "replace", "path": "/spec/replicas", "value": 4}]
    assert (await crontabs.ok("PATCH", one, replace, content_type=JSON_PATCH))["spec"]["replicas"] == 4
    labelled = await crontabs.ok("PATCH", one, {"metadata": {"labels": {"a": "b"}}}, content_type=MERGE)
    assert labelled["metadata"]["generation"] == 3, "labels are no part of the specification"
    refused = await crontabs.refused("PATCH", one, {"spec": {"replicas": 1}}, content_type=STRATEGIC)
    assert (refused["code"], refused["reason"]) == (415, "UnsupportedMediaType")
    wrong = await crontabs.refused("PATCH", one, {"spec": {"replicas": 40}}, content_type=MERGE)
    assert wrong["reason"] == "Invalid"
    reset = await crontabs.ok("PATCH", one, {"spec": {"replicas": None}}, content_type=MERGE)
    assert reset["spec"]["replicas"] == 1, "the default comes back"


async def test_apply_owns_by_the_schema(crontabs: Api) -> None:
    path = f"{CRONTABS}/a?fieldManager="
    ports = [{"name": "x", "port": 80}]
    applied = await crontabs.ok("PATCH", f"{path}one", crontab("a", ports=ports), content_type=APPLY)
    [entry] = applied["metadata"]["managedFields"]
    assert entry["fieldsV1"]["f:spec"] == {
        "f:cronSpec": {}, "f:ports": {'k:{"name":"x"}': {".": {}, "f:name": {}, "f:port": {}}}
    }  # fmt: skip
    body = {**crontab("a"), "spec": {"ports": [{"name": "y", "port": "web"}]}}
    both = await crontabs.ok("PATCH", f"{path}two", body, content_type=APPLY)
    assert [port["name"] for port in both["spec"]["ports"]] == ["x", "y"]
    conflict = await crontabs.refused("PATCH", f"{path}two", crontab("a", cronSpec="1 * * * *"), content_type=APPLY)
    assert conflict["message"] == 'Apply failed with 1 conflict: conflict with "one": .spec.cronSpec'
    less = await crontabs.ok("PATCH", f"{path}one", crontab("a"), content_type=APPLY)
    assert [port["name"] for port in less["spec"]["ports"]] == ["y"]


async def test_status_and_specification_are_written_apart(crontabs: Api) -> None:
    created = await crontabs.ok("POST", CRONTABS, crontab("a"))
    put = {**created, "spec": {**created["spec"], "replicas": 9}, "status": {"replicas": 2}}
    put["metadata"] = {**created["metadata"], "labels": {"a": "b"}}
    written = await crontabs.ok("PUT", f"{CRONTABS}/a/status", put)
    assert (written["status"], written["spec"]["replicas"]) == ({"replicas": 2}, 1)
    assert "labels" not in written["metadata"], "through /status only the status is written"
    assert written["metadata"]["generation"] == 1
    again = await crontabs.ok("PUT", f"{CRONTABS}/a", {**written, "status": {"replicas": 7}})
    assert again["status"] == {"replicas": 2}
    del again["metadata"]["resourceVersion"]
    unnamed = await crontabs.refused("PUT", f"{CRONTABS}/a", again)
    assert unnamed["message"].endswith("metadata.resourceVersion: Invalid value: 0x0: must be specified for an update")
    wrong = await crontabs.refused("PATCH", f"{CRONTABS}/a/status", {"status": {"replicas": "x"}}, content_type=MERGE)
    assert "status.replicas in body must be of type integer" in wrong["message"]


async def test_scale(crontabs: Api) -> None:
    await crontabs.ok("POST", CRONTABS, crontab("a"))
    status = {"status": {"replicas": 2, "labelSelector": "app=a"}}
    await crontabs.ok("PATCH", f"{CRONTABS}/a/status", status, content_type=MERGE)
    scale = await crontabs.ok("GET", f"{CRONTABS}/a/scale")
    assert (scale["spec"], scale["status"]) == ({"replicas": 1}, {"replicas": 2, "selector": "app=a"})
    await crontabs.ok("PUT", f"{CRONTABS}/a/scale", {**scale, "spec": {"replicas": 5}})
    assert (await crontabs.ok("GET", f"{CRONTABS}/a"))["spec"]["replicas"] == 5
    wrong = await crontabs.refused("PATCH", f"{CRONTABS}/a/scale", {"spec": {"replicas": 50}}, content_type=MERGE)
    assert "spec.replicas in body should be less than or equal to 10" in wrong["message"]


async def test_tables_have_the_columns_of_the_definition(crontabs: Api) -> None:
    await crontabs.ok("POST", CRONTABS, crontab("a", ports=[{"name": "x"}]))
    table = await crontabs.ok("GET", CRONTABS, accept=TABLE)
    columns = [(each["name"], each["type"], each["priority"]) for each in table["columnDefinitions"]]
    assert columns == [
        ("Name", "string", 0), ("Spec", "string", 0), ("Replicas", "integer", 0), ("Ports", "string", 1),
        ("Made", "date", 0), ("None", "string", 0),
    ]  # fmt: skip
    cells = table["rows"][0]["cells"]
    assert cells[:4] == ["a", "* * * * */5", 1, "x"]
    assert cells[4].endswith("s")
    assert cells[5] is None
    plain = definition(kind="Plain")
    await establish(crontabs, plain)
    table = await crontabs.ok("GET", f"/apis/{GROUP}/v1/plains", accept=TABLE)
    assert [each["name"] for each in table["columnDefinitions"]] == ["Name", "Age"]


async def test_lists_watches_and_collections(crontabs: Api) -> None:
    for name in ("a", "b", "c"):
        await crontabs.ok("POST", CRONTABS, {**crontab(name), "metadata": {"name": name, "labels": {"n": name}}})
    page = await crontabs.ok("GET", f"{CRONTABS}?limit=2")
    assert (page["kind"], [each["metadata"]["name"] for each in page["items"]]) == ("CronTabList", ["a", "b"])
    rest = await crontabs.ok("GET", f"{CRONTABS}?limit=2&continue={page['metadata']['continue']}")
    assert [each["metadata"]["name"] for each in rest["items"]] == ["c"]
    picked = await crontabs.ok("GET", f"/apis/{GROUP}/v1/crontabs?labelSelector=n+in+(a,c)")
    assert [each["metadata"]["name"] for each in picked["items"]] == ["a", "c"]
    version_ = page["metadata"]["resourceVersion"]
    await crontabs.ok("DELETE", f"{CRONTABS}?labelSelector=n=b")
    watch = f"{CRONTABS}?watch=true&timeoutSeconds=1&resourceVersion={version_}"
    response = await crontabs.http.get(watch, timeout=10)
    assert '"type":"DELETED"' in response.text
    generated = {**crontab(""), "metadata": {"generateName": "g-"}}
    created = await crontabs.ok("POST", CRONTABS, generated)
    assert created["metadata"]["name"].startswith("g-")
    dry = await crontabs.ok("POST", f"{CRONTABS}?dryRun=All", crontab("dry"))
    assert dry["spec"]["replicas"] == 1
    assert (await crontabs.refused("GET", f"{CRONTABS}/dry"))["code"] == 404


async def test_versions_differ_in_their_name_and_schema_alone(api: Api) -> None:
    older: Any = {"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "cronSpec": {"type": "string"}, "old": {"type": "boolean", "default": True}}}}}  # fmt: skip
    first = version("v1beta1", storage=False, schema={"openAPIV3Schema": older}, deprecated=True)
    await establish(api, definition(first, version()))
    beta = f"/apis/{GROUP}/v1beta1/namespaces/default/crontabs"
    body = {**crontab("a"), "apiVersion": f"{GROUP}/v1beta1"}
    response = await api.http.post(beta, json=body)
    assert response.json()["apiVersion"] == f"{GROUP}/v1beta1"
    assert response.json()["spec"] == {"cronSpec": "* * * * */5", "old": True}
    assert response.headers.get_list("warning") == [f'299 - "{GROUP}/v1beta1 CronTab is deprecated"']
    shown = await api.ok("GET", f"{CRONTABS}/a")
    assert shown["apiVersion"] == f"{GROUP}/v1"
    assert shown["spec"] == {"cronSpec": "* * * * */5", "image": "busybox:1.36", "replicas": 1}
    changed = await api.ok("PATCH", f"{CRONTABS}/a", {"spec": {"replicas": 2}}, content_type=MERGE)
    assert changed["metadata"]["uid"] == shown["metadata"]["uid"]
    [item] = (await api.ok("GET", beta))["items"]
    assert (item["apiVersion"], item["spec"]["old"]) == (f"{GROUP}/v1beta1", True)
    watched = await api.http.get(f"{beta}?watch=true&timeoutSeconds=1", timeout=10)
    seen = msgspec.json.decode(watched.text.splitlines()[0])
    assert (seen["type"], seen["object"]) == ("ADDED", item)
    mismatch = await api.refused("POST", beta, crontab("b"))
    assert "does not match the expected API version" in mismatch["message"]


async def test_a_schema_that_became_stricter_lets_the_old_stay(api: Api) -> None:
    await establish(api, definition())
    await api.ok("POST", CRONTABS, crontab("a", replicas=9))
    stricter = {"type": "integer", "maximum": 5, "default": 1}
    spec = {**SPEC, "properties": {**SPEC["properties"], "replicas": stricter}}
    schema = {**SCHEMA, "properties": {**SCHEMA["properties"], "spec": spec}}
    patch = {"spec": {"versions": [version(schema={"openAPIV3Schema": schema})]}}
    await api.ok("PATCH", f"{DEFINITIONS}/crontabs.{GROUP}", patch, content_type=MERGE)
    changed = await api.ok("PATCH", f"{CRONTABS}/a", {"spec": {"image": "x:1"}}, content_type=MERGE)
    assert changed["spec"]["replicas"] == 9
    refused = await api.refused("PATCH", f"{CRONTABS}/a", {"spec": {"replicas": 8}}, content_type=MERGE)
    assert "less than or equal to 5" in refused["message"]


async def test_cluster_scope_selectable_fields_and_no_status(api: Api) -> None:
    open_schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "properties": {
        "spec": {"type": "object", "properties": {"color": {"type": "string"}}},
        "template": {"type": "object", "x-kubernetes-embedded-resource": True,
                     "x-kubernetes-preserve-unknown-fields": True},
    }}  # fmt: skip
    made = version(schema={"openAPIV3Schema": open_schema}, selectableFields=[{"jsonPath": ".spec.color"}])
    await establish(api, definition(made, kind="Shirt", scope="Cluster"))
    path = f"/apis/{GROUP}/v1/shirts"
    for name, color in (("a", "red"), ("b", "blue")):
        body = {"apiVersion": f"{GROUP}/v1", "kind": "Shirt", "metadata": {"name": name}, "spec": {"color": color}}
        await api.ok("POST", path, {**body, "status": {"worn": 1}, "free": [{"any": None}]})
    picked = await api.ok("GET", f"{path}?fieldSelector=spec.color=blue")
    assert [(each["metadata"]["name"], each["status"], each["free"]) for each in picked["items"]] == [
        ("b", {"worn": 1}, [{"any": None}])
    ]
    again = await api.ok("PATCH", f"{path}/a", {"status": {"worn": 2}}, content_type=MERGE)
    assert again["metadata"]["generation"] == 2, "without the subresource the status is a field like any other"
    entry = again["metadata"]["managedFields"][-1]
    assert "f:status" in entry["fieldsV1"]
    embedded = {"kind": "Pod", "metadata": {"name": "x", "what": 1}, "spec": {"any": 1}}
    refused = await api.refused("PATCH", f"{path}/a", {"template": embedded}, content_type=MERGE)
    assert "template.apiVersion: Required value: must not be empty" in refused["message"]
    whole = await api.ok("PATCH", f"{path}/a", {"template": {"apiVersion": "v1", **embedded}}, content_type=MERGE)
    assert whole["template"] == {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": {"any": 1}}
