"""The client against a scripted HTTP/1.1 server on loopback: what is sent, what comes back, how it fails."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pullet.base.errors import UsageError
from pullet.kit.worker_threads import WorkerThreads
from pullet.kube.scheme import DEPLOYMENTS, NODES, PODS
from pullet.kube.status import ConflictError, ExpiredError, ForbiddenError, NotFoundError
from pullet.kubeclient.client import ApiClient, WatchEvent
from pullet.kubeclient.errors import ApiUnreachableError


@dataclass
class ScriptedServer:
    """Answers each request with the next of `answers`: (status, body) or raw bytes written before closing."""

    answers: list[tuple[int, Any] | bytes] = field(default_factory=list)
    requests: list[tuple[str, str, Any]] = field(default_factory=list)
    content_types: list[str] = field(default_factory=list)
    url: str = ""
    connections: set[asyncio.Task[Any] | None] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.add(asyncio.current_task())
        try:
            while line := await reader.readline():
                method, target, _ = line.decode().split()
                headers: dict[str, str] = {}
                while (header := (await reader.readline()).decode().strip()) != "":
                    name, _, value = header.partition(":")
                    headers[name.lower()] = value.strip()
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                self.requests.append((method, target, json.loads(body) if body else None))
                self.content_types.append(headers.get("content-type", ""))
                answer = self.answers.pop(0)
                if isinstance(answer, bytes):
                    writer.write(answer)
                    return
                status, content = answer
                payload = content if isinstance(content, bytes) else json.dumps(content).encode()
                writer.write(b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n" % (status, len(payload)) + payload)
                await writer.drain()
        finally:
            writer.close()
            await asyncio.wait([asyncio.ensure_future(writer.wait_closed())])
            self.connections.discard(asyncio.current_task())


@asynccontextmanager
async def talking(*answers: tuple[int, Any] | bytes) -> AsyncIterator[tuple[ApiClient, ScriptedServer]]:
    """A client and the server it talks to."""
    script = ScriptedServer(list(answers))
    server = await asyncio.start_server(script.serve, "127.0.0.1", 0)
    script.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    client = await ApiClient.open(write_kubeconfig(script.url), threads=THREADS, field_manager="tester")
    try:
        yield client, script
    finally:
        await client.aclose()
        server.close()
        while script.connections:
            await asyncio.sleep(0.001)
        await server.wait_closed()


THREADS = WorkerThreads("test-kubeconfig", 1)
_KUBECONFIGS: list[Path] = []


@pytest.fixture(autouse=True)
def kubeconfig_directory(tmp_path: Path) -> None:
    _KUBECONFIGS[:] = [tmp_path / "kubeconfig"]


def write_kubeconfig(url: str, **user: str) -> Path:
    path = _KUBECONFIGS[0]
    path.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "c", "cluster": {"server": url}}],
                "users": [{"name": "u", "user": user}],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                "current-context": "x",
            }
        )
    )
    return path


def status(code: int, reason: str, message: str = "no") -> tuple[int, Any]:
    return code, {"kind": "Status", "apiVersion": "v1", "code": code, "reason": reason, "message": message}


def watch_body(*events: Any) -> bytes:
    lines = b"".join(json.dumps(event).encode() + b"\n" for event in events)
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(lines) + lines


async def test_get_reads_the_object_as_it_is() -> None:
    pod = {"kind": "Pod", "metadata": {"name": "a"}, "spec": {"unknownToUs": [1, None]}}
    async with talking((200, pod)) as (client, server):
        assert await client.get(PODS, "ns", "a") == pod
        assert server.requests == [("GET", "/api/v1/namespaces/ns/pods/a", None)]


async def test_list_reads_every_page_and_answers_the_version_of_the_list() -> None:
    first = {"metadata": {"resourceVersion": "7", "continue": "t/1"}, "items": [{"metadata": {"name": "a"}}]}
    last = {"metadata": {"resourceVersion": "7"}, "items": [{"metadata": {"name": "b"}}]}
    async with talking((200, first), (200, last)) as (client, server):
        items, version = await client.list(DEPLOYMENTS, label_selector="app=a", limit=1)
    assert [item["metadata"]["name"] for item in items] == ["a", "b"]
    assert version == "7"
    assert server.requests[0][1] == "/apis/apps/v1/deployments?labelSelector=app%3Da&limit=1"
    assert "continue=t%2F1" in server.requests[1][1]


async def test_an_empty_list_may_say_null() -> None:
    async with talking((200, {"metadata": {"resourceVersion": "1"}, "items": None})) as (client, _):
        assert (await client.list(NODES)).items == []


async def test_writes_name_the_field_manager_and_the_patch_kind() -> None:
    async with talking((201, {}), (200, {}), (200, {}), (200, {}), (200, {})) as (client, server):
        await client.create(PODS, "ns", {"metadata": {"name": "a"}})
        await client.create(PODS, "ns", {"target": {"name": "n"}}, subresource="binding", name="a")
        await client.patch(PODS, "ns", "a", {"status": {}}, kind="strategic", subresource="status")
        await client.as_manager("other").update(NODES, None, {"metadata": {"name": "n"}}, subresource="status")
        await client.delete(PODS, "ns", "a", grace_period_seconds=0, uid="u", propagation_policy="Orphan")
    assert [(method, target) for method, target, _ in server.requests] == [
        ("POST", "/api/v1/namespaces/ns/pods?fieldManager=tester"),
        ("POST", "/api/v1/namespaces/ns/pods/a/binding?fieldManager=tester"),
        ("PATCH", "/api/v1/namespaces/ns/pods/a/status?fieldManager=tester"),
        ("PUT", "/api/v1/nodes/n/status?fieldManager=other"),
        ("DELETE", "/api/v1/namespaces/ns/pods/a"),
    ]
    assert server.content_types[2] == "application/strategic-merge-patch+json"
    assert server.requests[4][2] == {
        "kind": "DeleteOptions",
        "apiVersion": "v1",
        "gracePeriodSeconds": 0,
        "propagationPolicy": "Orphan",
        "preconditions": {"uid": "u"},
    }


@pytest.mark.parametrize(
    ("answer", "error", "text"),
    [
        (status(404, "NotFound", 'pods "a" not found'), NotFoundError, 'pods "a" not found'),
        (status(409, "Conflict"), ConflictError, "no"),
        (status(410, "Expired"), ExpiredError, "no"),
        ((403, b"<html>proxy says no</html>"), ForbiddenError, "the server answered 403: <html>proxy says no</html>"),
        ((200, b"not json"), ApiUnreachableError, "the answer is not a JSON object"),
        (b"", ApiUnreachableError, "no answer from the API server"),
    ],
)
async def test_refusals_become_errors_that_say_why(
    answer: tuple[int, Any] | bytes, error: type[Exception], text: str
) -> None:
    async with talking(answer) as (client, _):
        with pytest.raises(error) as caught:
            await client.get(PODS, "ns", "a")
    assert text in str(caught.value)


async def test_nobody_listening_is_an_error_that_names_the_request() -> None:
    async with talking() as (client, _):
        pass
    client = await ApiClient.open(write_kubeconfig("http://127.0.0.1:1"), threads=THREADS)
    with pytest.raises(ApiUnreachableError, match="GET /api/v1/nodes/n: no answer from the API server"):
        await client.get(NODES, None, "n")
    await client.aclose()


async def test_watch_yields_events_in_order_until_the_server_ends_it() -> None:
    events = [
        {"type": "ADDED", "object": {"metadata": {"name": "é" * 50_000}}},
        {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "9"}}},
    ]
    async with talking(watch_body(*events)) as (client, server):
        seen = [
            event async for event in client.watch(PODS, "ns", resource_version="5", field_selector="spec.nodeName=n")
        ]
    assert seen == [WatchEvent(event["type"], event["object"]) for event in events]  # type: ignore[arg-type]  # literal
    assert "watch=true&resourceVersion=5&fieldSelector=spec.nodeName%3Dn" in server.requests[0][1]
    assert "allowWatchBookmarks=true" in server.requests[0][1]


async def test_an_error_event_raises_what_it_stands_for() -> None:
    gone = {"type": "ERROR", "object": status(410, "Expired", "too old resource version: 1 (2)")[1]}
    async with talking(watch_body(gone)) as (client, _):
        with pytest.raises(ExpiredError, match="too old resource version"):
            async for _ in client.watch(PODS):
                pass


async def test_a_cut_watch_is_an_error_after_the_events_that_came() -> None:
    body = watch_body({"type": "ADDED", "object": {}}, {"type": "ADDED", "object": {}})[:-5]
    seen = []
    async with talking(body) as (client, _):
        events = client.watch(PODS)
        seen.append(await anext(events))
        with pytest.raises(ApiUnreachableError):
            await anext(events)
    assert seen == [WatchEvent("ADDED", {})]


async def test_leaving_a_watch_early_gives_the_connection_back() -> None:
    event = json.dumps({"type": "ADDED", "object": {}}).encode() + b"\n"
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n" % len(event)
    async with talking(head + event + b"\r\n", (200, {})) as (client, _):
        async with aclosing(client.watch(PODS)) as events:
            async for seen in events:
                assert seen.type == "ADDED"
                break
        assert await client.get(NODES, None, "n") == {}


async def test_an_object_without_namespace_or_name_is_a_mistake_of_the_caller() -> None:
    async with talking() as (client, _):
        with pytest.raises(ValueError, match="namespaced"):
            await client.get(PODS, None, "a")
        with pytest.raises(ValueError, match="needs a name"):
            await client.get(PODS, "ns", "")


async def test_a_bearer_token_is_sent_and_names_are_quoted() -> None:
    async with talking((200, {})) as (_, server):
        client = await ApiClient.open(write_kubeconfig(server.url, token="t0ken"), threads=THREADS)
        await client.get(PODS, "ns", "a/../b")
        await client.aclose()
    assert server.requests[0][1] == "/api/v1/namespaces/ns/pods/a%2F..%2Fb"


async def test_a_bad_kubeconfig_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere is not a usable kubeconfig"):
        await ApiClient.open(tmp_path / "nowhere", threads=THREADS)
    (tmp_path / "bad").write_text("clusters: [")
    with pytest.raises(UsageError, match="bad is not a usable kubeconfig"):
        await ApiClient.open(tmp_path / "bad", threads=THREADS)
