"""What kubectl prints and discovers: Tables, the STATUS of a pod, discovery, OpenAPI, protobuf bodies."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from tests.unit.apiserver.api_world import PODS, Api, configmap

from pullet.apiserver.decoding import parse_body
from pullet.apiserver.openapi import V2_CONTENT_TYPE
from pullet.apiserver.pod_printer import pod_cells
from pullet.apiserver.resource_printers import PRINTERS
from pullet.apiserver.schemas import Schemas
from pullet.kube import scheme

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
RUNNING: dict[str, Any] = {"running": {"startedAt": "2026-11-20T11:59:00Z"}}


def waiting(reason: str) -> dict[str, Any]:
    return {"waiting": {"reason": reason}}


def ended(code: int, reason: str = "", **facts: Any) -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason, "finishedAt": "2026-11-20T11:59:50Z", **facts}}


def status(name: str, state: dict[str, Any], **facts: Any) -> dict[str, Any]:
    return {"name": name, "state": state, **facts}


def row(
    *,
    phase: str = "Running",
    containers: list[dict[str, Any]] | None = None,
    inits: list[dict[str, Any]] | None = None,
    init_specs: list[dict[str, Any]] | None = None,
    conditions: list[dict[str, Any]] | None = None,
    meta: dict[str, Any] | None = None,
    reason: str = "",
) -> list[Any]:
    """Name, ready, status and restarts of a pod."""
    names = [{"name": one["name"]} for one in containers or [{"name": "a"}]]
    pod: dict[str, Any] = {
        "metadata": {"name": "p", "creationTimestamp": "2026-11-20T11:58:00Z", **(meta or {})},
        "spec": {"containers": names, "initContainers": init_specs or [{"name": one["name"]} for one in inits or []]},
        "status": {
            "phase": phase,
            "reason": reason,
            "containerStatuses": containers or [],
            "initContainerStatuses": inits or [],
            "conditions": conditions or [],
        },
    }
    return pod_cells(pod, NOW)[1:4]


@pytest.mark.parametrize(
    ("pod", "cells"),
    [
        ({"phase": "Pending"}, ["0/1", "Pending", "0"]),
        ({"containers": [status("a", RUNNING, ready=True)]}, ["1/1", "Running", "0"]),
        ({"phase": "Pending", "containers": [status("a", waiting("ErrImagePull"))]}, ["0/1", "ErrImagePull", "0"]),
        (
            {"containers": [status("a", RUNNING, ready=True), status("b", waiting("ImagePullBackOff"))]},
            ["1/2", "ImagePullBackOff", "0"],
        ),
        (
            {"containers": [status("a", waiting("ErrImageNeverPull")), status("b", waiting("CrashLoopBackOff"))]},
            ["0/2", "ErrImageNeverPull", "0"],
        ),
        (
            {"containers": [status("a", waiting("CrashLoopBackOff"), restartCount=3, lastState=ended(1, "Error"))]},
            ["0/1", "CrashLoopBackOff", "3 (10s ago)"],
        ),
        ({"containers": [status("a", ended(0, "Completed"))], "phase": "Succeeded"}, ["0/1", "Completed", "0"]),
        ({"containers": [status("a", ended(3))], "phase": "Failed"}, ["0/1", "ExitCode:3", "0"]),
        ({"containers": [status("a", ended(137, signal=9))], "phase": "Failed"}, ["0/1", "Signal:9", "0"]),
        (
            {
                "containers": [status("a", ended(0, "Completed")), status("b", RUNNING, ready=True)],
                "conditions": [{"type": "Ready", "status": "True"}],
            },
            ["1/2", "Running", "0"],
        ),
        (
            {"containers": [status("a", ended(0, "Completed")), status("b", RUNNING, ready=True)]},
            ["1/2", "NotReady", "0"],
        ),
        (
            {"phase": "Pending", "inits": [status("i", waiting("ImagePullBackOff"))]},
            ["0/1", "Init:ImagePullBackOff", "0"],
        ),
        (
            {"phase": "Pending", "inits": [status("i", ended(0)), status("j", waiting("PodInitializing"))]},
            ["0/1", "Init:1/2", "0"],
        ),
        ({"phase": "Pending", "inits": [status("i", ended(2, "Error"))]}, ["0/1", "Init:Error", "0"]),
        ({"phase": "Pending", "inits": [status("i", ended(2))]}, ["0/1", "Init:ExitCode:2", "0"]),
        (
            {
                "inits": [status("s", RUNNING, ready=True, started=True, restartCount=1)],
                "init_specs": [{"name": "s", "restartPolicy": "Always"}],
                "containers": [status("a", RUNNING, ready=True)],
                "conditions": [{"type": "Initialized", "status": "True"}],
            },
            ["2/2", "Running", "1"],
        ),
        ({"meta": {"deletionTimestamp": "2026-11-20T12:00:30Z"}}, ["0/1", "Terminating", "0"]),
        (
            {"meta": {"deletionTimestamp": "2026-11-20T12:00:30Z"}, "reason": "NodeLost"},
            ["0/1", "Unknown", "0"],
        ),
        ({"phase": "Failed", "reason": "Evicted"}, ["0/1", "Evicted", "0"]),
        (
            {
                "phase": "Pending",
                "conditions": [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}],
            },
            ["0/1", "SchedulingGated", "0"],
        ),
    ],
)
def test_the_row_of_a_pod(pod: dict[str, Any], cells: list[str]) -> None:
    assert row(**pod) == cells


def test_the_row_of_an_event() -> None:
    event = {
        "metadata": {"name": "e"},
        "involvedObject": {"kind": "Pod", "name": "p", "fieldPath": "spec.containers{c}"},
        "type": "Warning",
        "reason": "Failed",
        "message": "Error: ErrImagePull\n",
        "count": 3,
        "source": {"component": "kubelet", "host": "n1"},
        "firstTimestamp": "2026-11-20T11:58:00Z",
        "lastTimestamp": "2026-11-20T11:59:53Z",
    }
    _, cells = PRINTERS[scheme.EVENTS.storage_key]
    assert cells(event, NOW) == [
        "7s", "Warning", "Failed", "pod/p", "spec.containers{c}", "kubelet, n1", "Error: ErrImagePull", "2m", 3, "e",
    ]  # fmt: skip


@pytest.mark.parametrize("resource", [row for row in scheme.RESOURCES if row.is_stored], ids=str)
def test_every_printer_fills_its_columns(resource: scheme.Resource) -> None:
    columns, cells = PRINTERS.get(resource.storage_key, ((), None))
    if cells is None:
        return
    bare = {"kind": resource.kind, "metadata": {"name": "x"}}
    assert len(cells(bare, NOW)) == len(columns)


async def test_tables_carry_metadata_or_objects_as_asked(api: Api) -> None:
    await api.pod("p")
    table = await api.ok("GET", PODS, accept=TABLE)
    assert [column["name"] for column in table["columnDefinitions"] if column["priority"] == 0] == [
        "Name", "Ready", "Status", "Restarts", "Age",
    ]  # fmt: skip
    assert table["rows"][0]["cells"][:4] == ["p", "0/1", "Pending", "0"]
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    whole = await api.ok("GET", f"{PODS}?includeObject=Object", accept=TABLE)
    assert whole["rows"][0]["object"]["spec"]["containers"]
    none = await api.ok("GET", f"{PODS}?includeObject=None", accept=TABLE)
    assert "object" not in none["rows"][0]
    one = await api.ok("GET", f"{PODS}/p", accept=TABLE)
    assert len(one["rows"]) == 1
    assert (await api.refused("GET", PODS, accept="text/html"))["code"] == 406


async def test_metadata_alone(api: Api) -> None:
    await api.ok("POST", "/api/v1/namespaces/default/configmaps", configmap("c", secret="x"))
    accept = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
    listed = await api.ok("GET", "/api/v1/configmaps", accept=accept)
    assert listed["items"][0]["kind"] == "PartialObjectMetadata"
    assert "data" not in listed["items"][0]


async def test_discovery_in_all_three_forms(api: Api) -> None:
    core = await api.ok("GET", "/api/v1")
    names = {entry["name"]: entry for entry in core["resources"]}
    assert names["pods"]["shortNames"] == ["po"]
    assert names["pods/eviction"] == {
        "name": "pods/eviction",
        "singularName": "",
        "namespaced": True,
        "kind": "Eviction",
        "verbs": ["create"],
        "group": "policy",
        "version": "v1",
    }
    assert {group["name"] for group in (await api.ok("GET", "/apis"))["groups"]} >= {"apps", "policy", "batch"}
    assert (await api.ok("GET", "/apis/apps"))["preferredVersion"]["groupVersion"] == "apps/v1"
    for version in ("v2", "v2beta1"):
        accept = f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList,application/json"
        response = await api.http.get("/apis", headers={"accept": accept})
        assert response.headers["content-type"] == (
            f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
        )
        assert response.json()["apiVersion"] == f"apidiscovery.k8s.io/{version}"
        same = await api.http.get("/apis", headers={"accept": accept, "if-none-match": response.headers["etag"]})
        assert same.status_code == 304


async def test_openapi_documents(api: Api) -> None:
    index = await api.ok("GET", "/openapi/v3")
    url = index["paths"]["api/v1"]["serverRelativeURL"]
    response = await api.http.get(url)
    assert "immutable" in response.headers["cache-control"]
    document = response.json()
    container = document["components"]["schemas"]["io.k8s.api.core.v1.Container"]["properties"]
    assert container["imagePullPolicy"]["enum"] == ["Always", "IfNotPresent", "Never"]
    assert container["resources"]["allOf"] == [{"$ref": "#/components/schemas/io.k8s.api.core.v1.ResourceRequirements"}]
    patch = document["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]["patch"]
    assert patch["x-kubernetes-group-version-kind"] == {"group": "", "version": "v1", "kind": "Pod"}
    assert "fieldValidation" in {parameter["name"] for parameter in patch["parameters"]}
    known = document["components"]["schemas"]
    assert all(name in known for name in _references(document)), "no reference leads nowhere"
    old = await api.http.get(
        "/openapi/v2", headers={"accept": "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"}
    )
    assert old.headers["content-type"] == V2_CONTENT_TYPE
    assert old.content[:5] == b"\n\x032.0"


def _references(value: Any) -> set[str]:
    if isinstance(value, dict):
        found = {value["$ref"].rpartition("/")[2]} if isinstance(value.get("$ref"), str) else set()
        return found.union(*(_references(item) for item in value.values()))
    return set().union(*(_references(item) for item in value)) if isinstance(value, list) else set()


def _field(number: int, value: bytes) -> bytes:
    return bytes([number << 3 | 2, len(value)]) + value


def test_a_protobuf_body_reads_as_its_json() -> None:
    meta = _field(1, b"web") + _field(3, b"")  # name; an empty namespace, as Go writes it
    meta += _field(8, b"")  # the zero creationTimestamp
    meta += _field(11, _field(1, b"app") + _field(2, b"web"))  # a label
    port = b"\x18\x50"  # containerPort 80
    container = _field(1, b"c") + _field(2, b"nginx") + _field(6, port)
    pod = _field(1, meta) + _field(2, _field(2, container))
    unknown = _field(1, _field(1, b"v1") + _field(2, b"Pod")) + _field(2, pod)
    decoded = parse_body(b"k8s\x00" + unknown, "application/vnd.kubernetes.protobuf", Schemas.load())
    assert decoded == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "namespace": "", "creationTimestamp": None, "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "image": "nginx", "ports": [{"containerPort": 80}]}]},
    }
