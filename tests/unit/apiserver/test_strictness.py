"""Fields given twice, subresources that are not offered, and the server's own metrics."""

from __future__ import annotations

import asyncio
import re
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from tests.unit.apiserver.api_world import PODS, Api, configmap

from pullet.apiserver.decoding import duplicate_fields
from pullet.apiserver.server import ApiServer
from pullet.apiserver.settings import ApiServerSettings
from pullet.kit.worker_threads import WorkerThreads

MAPS = "/api/v1/namespaces/default/configmaps"
TWICE = b'{"metadata":{"name":"m","name":"m"},"data":{"a":"1","b":"2","a":"3"}}'
FIELDS = ["metadata.name", "data.a"]


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (TWICE, FIELDS),
        (b'{"a":[{"b":1},{"b":1,"b":2,"b":3}]}', ["a[1].b", "a[1].b"]),
        (b'{"a":1,"b":{"a":1}}', []),
        (b"[]", []),
    ],
    ids=["two", "list", "none", "array"],
)
def test_paths_of_fields_given_twice(body: bytes, found: list[str]) -> None:
    assert duplicate_fields(body, "application/json") == found
    assert duplicate_fields(body, "application/yaml") == []


async def test_a_field_given_twice_is_refused_warned_of_or_ignored(api: Api) -> None:
    refused = await api.refused("POST", f"{MAPS}?fieldValidation=Strict", TWICE)
    assert refused["message"] == (
        'ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: '
        'duplicate field "metadata.name", duplicate field "data.a"'
    )
    warned = await api.http.post(f"{MAPS}?dryRun=All", content=TWICE, headers={"content-type": "application/json"})
    assert warned.status_code == 201
    assert warned.headers.get_list("warning") == [
        '299 - "duplicate field \\"metadata.name\\""',
        '299 - "duplicate field \\"data.a\\""',
    ]
    ignored = await api.http.post(
        f"{MAPS}?fieldValidation=Ignore", content=TWICE, headers={"content-type": "application/json"}
    )
    assert (ignored.status_code, "warning" in ignored.headers) == (201, False)
    assert ignored.json()["data"] == {"a": "3", "b": "2"}, "the last one counts"


async def test_resize_in_place_is_read_only(api: Api) -> None:
    await api.pod("p")
    assert (await api.ok("GET", f"{PODS}/p/resize"))["metadata"]["name"] == "p"
    refused = await api.refused("PATCH", f"{PODS}/p/resize", {"spec": {}}, content_type="application/merge-patch+json")
    assert (refused["code"], refused["reason"]) == (405, "MethodNotAllowed")
    listed = await api.ok("GET", "/api/v1")
    (resize,) = [one for one in listed["resources"] if one["name"] == "pods/resize"]
    assert resize["verbs"] == ["get"]


async def test_metrics_tell_of_requests_and_objects(api: Api) -> None:
    await api.ok("POST", MAPS, configmap("one"))
    await api.refused("GET", f"{MAPS}/none")
    response = await api.http.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = response.text.splitlines()
    named = 'component="apiserver",dry_run="",group="",resource="configmaps"'
    posted = (
        f'apiserver_request_total{{code="201",{named},scope="namespace",subresource="",verb="POST",version="v1"}} 1'
    )
    assert posted in lines
    assert any(line.startswith("apiserver_request_total") and 'code="404"' in line and "GET" in line for line in lines)
    assert 'apiserver_storage_objects{resource="configmaps"} 1' in lines
    assert 'apiserver_storage_objects{resource="pods"} 0' in lines
    for line in lines:
        assert line.startswith("# ") or re.fullmatch(r"[a-z_]+(\{[^{}]*\})? [-+0-9.e]+", line), line
    bucket = re.compile(r'apiserver_request_duration_seconds_bucket\{.*"configmaps".*"POST".*le="\+Inf"\} (\d+)')
    assert [found[1] for line in lines if (found := bucket.fullmatch(line))] == ["1"]


async def test_the_certificate_is_good_for_further_names(tmp_path: Path, threads: WorkerThreads) -> None:
    def certificate_of(port: int) -> str:
        return ssl.get_server_certificate(("127.0.0.1", port))

    settings = ApiServerSettings(port=0, bind_address="0.0.0.0")
    async with (
        ApiServer(root=tmp_path / "a", settings=settings, extra_hosts=["192.0.2.7", "box"]) as server,
        asyncio.TaskGroup() as group,
    ):
        running = group.create_task(server.run())
        certificate = x509.load_pem_x509_certificate((await threads.run(certificate_of, server.port)).encode())
        running.cancel()
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "192.0.2.7" in [str(address) for address in names.get_values_for_type(x509.IPAddress)]
    assert "box" in names.get_values_for_type(x509.DNSName)
    assert server.url == f"https://127.0.0.1:{server.port}"
