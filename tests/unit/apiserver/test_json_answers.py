"""How bodies are written: their ends, and what people who read them get."""

from __future__ import annotations

import json

import pytest
from tests.unit.apiserver.api_world import PODS, Api, configmap

CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


@pytest.mark.parametrize(
    ("path", "accept"),
    [
        ("/api", ""),
        ("/apis", AGGREGATED),
        ("/api/v1", ""),
        (f"{CONFIGMAPS}/c", ""),
        (f"{CONFIGMAPS}/c", TABLE),
        (CONFIGMAPS, ""),
        (CONFIGMAPS, TABLE),
        ("/api/v1/configmaps", ""),
        (f"{PODS}/nosuch", ""),
        ("/nosuch", ""),
    ],
)
async def test_a_body_ends_with_one_newline(api: Api, path: str, accept: str) -> None:
    await api.ok("POST", CONFIGMAPS, configmap("c", a="1"))
    answer = await api.http.get(path, headers={"accept": accept} if accept else {})
    assert answer.content.endswith(b"}\n")
    assert answer.content.count(b"\n") == 1
    assert int(answer.headers["content-length"]) == len(answer.content)


async def test_answers_to_writes_end_with_a_newline(api: Api) -> None:
    for method, path, body in (
        ("POST", CONFIGMAPS, configmap("c")),
        ("POST", CONFIGMAPS, configmap("c")),
        ("PATCH", f"{CONFIGMAPS}/c", {"data": {"a": "1"}}),
        ("DELETE", f"{CONFIGMAPS}/c", {}),
    ):
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        answer = await api.http.request(method, path, json=body, headers={"content-type": kind})
        assert answer.content.endswith(b"}\n"), (method, answer.content)


async def test_a_refusal_is_written_in_upstreams_order(api: Api) -> None:
    await api.ok("POST", CONFIGMAPS, configmap("c"))
    answer = await api.http.post(CONFIGMAPS, json=configmap("c"))
    assert answer.text == (
        '{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure",'
        '"message":"configmaps \\"c\\" already exists","reason":"AlreadyExists",'
        '"details":{"name":"c","kind":"configmaps"},"code":409}\n'
    )


@pytest.mark.parametrize(
    ("query", "agent", "is_indented"),
    [
        ("", "curl/7.88.1", True),
        ("", "Mozilla/5.0 (X11; Linux x86_64)", True),
        ("?pretty=true", "kubectl/v1.36.2", True),
        ("?pretty=false", "curl/7.88.1", False),
        ("?pretty=perhaps", "curl/7.88.1", False),
        ("", "kubectl/v1.36.2", False),
    ],
)
async def test_who_reads_gets_lines(api: Api, query: str, agent: str, is_indented: bool) -> None:
    await api.ok("POST", CONFIGMAPS, configmap("c", a="1", b="2"))
    for path in (CONFIGMAPS, f"{CONFIGMAPS}/c", f"{CONFIGMAPS}/nosuch", "/api/v1", "/nosuch"):
        answer = await api.http.get(path + query, headers={"user-agent": agent})
        expected = json.dumps(answer.json(), indent=2) if is_indented else answer.text.rstrip() + "\n"
        assert answer.text == expected
        assert int(answer.headers["content-length"]) == len(answer.content)


async def test_the_version_and_the_paths_are_always_indented(api: Api) -> None:
    for path in ("/version", "/"):
        answer = await api.http.get(path)
        assert answer.text == json.dumps(answer.json(), indent=2)


async def test_a_long_list_keeps_its_newline(api: Api) -> None:
    for name in ("a", "b"):
        await api.ok("POST", CONFIGMAPS, configmap(name, data="x" * 300_000))
    answer = await api.http.get(CONFIGMAPS)
    assert answer.content.endswith(b"]}\n")
    assert len(answer.json()["items"]) == 2


async def test_strangers_are_refused_in_lines_too(api: Api) -> None:
    answer = await api.http.get(CONFIGMAPS, headers={"user-agent": "curl/7.88.1", "authorization": "Bearer wrong"})
    assert answer.status_code == 401
    assert answer.text == json.dumps(answer.json(), indent=2)
