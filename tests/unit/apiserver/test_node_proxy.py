"""Logs, exec and attach go through to the pod's node and back, with the node's own words on failure."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from tests.unit.apiserver.api_world import PODS, Api, client_tls, pod

from pullet.apiserver.node_client import NodeAddress, NodeRefusedError, NodeSocket
from pullet.kit.worker_threads import WorkerThreads


class Node:
    """A node's server that remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.port = 0
        self.go_on = asyncio.Event()

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/containerLogs/{namespace}/{pod}/{container}", self.logs),
                WebSocketRoute("/exec/{namespace}/{pod}/{container}", self.exec),
            ]
        )

    async def logs(self, request: Request) -> Response:
        self.asked.append(str(request.url.path) + "?" + str(request.url.query))
        if "previous" in request.query_params:
            return PlainTextResponse('previous terminated container "c" in pod "p" not found\n', 400)

        async def lines() -> AsyncIterator[bytes]:
            yield b"one\n"
            await self.go_on.wait()
            yield b"two\n"

        return StreamingResponse(lines(), media_type="text/plain")

    async def exec(self, websocket: WebSocket) -> None:
        self.asked.append(websocket.url.query)
        if "gone" in websocket.url.query:
            await websocket.send_denial_response(PlainTextResponse('container not found ("c")', 500))
            return
        await websocket.accept(subprotocol=websocket.scope["subprotocols"][0])
        if "broken" in websocket.url.query:
            failure = {
                "status": "Failure",
                "reason": "InternalError",
                "message": "Internal error occurred: no such file",
            }
            await websocket.send_bytes(b"\x03" + json.dumps(failure).encode())
            await websocket.close()
            return
        message = await websocket.receive_bytes()
        await websocket.send_bytes(b"\x01" + message[1:].upper())
        await websocket.send_bytes(b'\x03{"status":"Success"}')
        await websocket.close()


@pytest.fixture
async def node(api: Api) -> AsyncIterator[Node]:
    made = Node()
    listener = socket.create_server(("127.0.0.1", 0))
    made.port = listener.getsockname()[1]
    serving = await api.server.issue_node_serving("n1", ["127.0.0.1"])

    def tls(config: Any, default: Any) -> ssl.SSLContext:
        del config, default
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(serving.certificate_path, serving.key_path)
        context.load_verify_locations(serving.client_authority_path)
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    config = uvicorn.Config(made.app(), ssl_context_factory=tls, ws="wsproto", lifespan="off", log_config=None)
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup(sockets=[listener])
    await api.ok("POST", "/api/v1/nodes", {"metadata": {"name": "n1"}})
    status = {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": made.port}},
    }
    await api.ok("PATCH", "/api/v1/nodes/n1/status", {"status": status}, content_type="application/merge-patch+json")
    await api.pod("p")
    await api.ok("POST", f"{PODS}/p/binding", {"target": {"name": "n1"}})
    yield made
    made.go_on.set()
    await server.shutdown(sockets=[listener])


async def test_a_log_streams_as_it_is_written(api: Api, node: Node) -> None:
    async with api.http.stream("GET", f"{PODS}/p/log?follow=true&tailLines=5&container=c") as response:
        chunks = response.aiter_bytes()
        assert await anext(chunks) == b"one\n"
        node.go_on.set()
        assert await anext(chunks) == b"two\n"
    assert node.asked == ["/containerLogs/default/p/c?follow=true&tailLines=5"]


async def test_the_nodes_refusal_is_told_in_its_words(api: Api, node: Node) -> None:
    refused = await api.refused("GET", f"{PODS}/p/log?previous=true")
    assert (refused["reason"], refused["message"]) == (
        "BadRequest",
        'previous terminated container "c" in pod "p" not found',
    )


async def test_a_log_request_is_checked_before_the_node_is_asked(api: Api, node: Node) -> None:
    assert (await api.refused("GET", f"{PODS}/p/log?container=x"))["message"] == "container x is not valid for pod p"
    assert (await api.refused("GET", f"{PODS}/p/log?tailLines=-1"))["message"] == (
        'PodLogOptions "" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0'
    )
    two = pod("two")
    two["spec"]["containers"].append({"name": "d", "image": "b:1"})
    await api.ok("POST", PODS, two)
    assert (await api.refused("GET", f"{PODS}/two/log"))["message"] == (
        "a container name must be specified for pod two, choose one of: [c d]"
    )
    assert node.asked == []


async def test_a_pod_without_a_node_has_an_empty_log_and_no_shell(api: Api) -> None:
    await api.pod("waiting")
    assert (await api.http.get(f"{PODS}/waiting/log")).content == b""
    refused = await api.refused("POST", f"{PODS}/waiting/exec?command=ls")
    assert refused["message"] == "pod waiting does not have a host assigned"


async def test_a_node_that_is_gone_is_named(api: Api, node: Node) -> None:
    gone = {"status": {"daemonEndpoints": {"kubeletEndpoint": {"Port": 1}}}}
    await api.ok("PATCH", "/api/v1/nodes/n1/status", gone, content_type="application/merge-patch+json")
    refused = await api.refused("GET", f"{PODS}/p/log")
    assert refused["code"] == 500
    assert "dial tcp 127.0.0.1:1: " in refused["message"]


async def test_exec_joins_both_websockets(api: Api, node: Node, tmp_path: Path, threads: WorkerThreads) -> None:
    tls = await threads.run(client_tls, api.server, tmp_path, "admin", ["system:masters"])
    address = NodeAddress("127.0.0.1", api.server.port, tls)
    path = f"{PODS}/p/exec?command=tr&command=a-z&stdin=true&stdout=true&container=c"
    client = await NodeSocket.open(address, path, ["v4.channel.k8s.io", "v5.channel.k8s.io"])
    assert client.subprotocol == "v5.channel.k8s.io"
    await client.send(b"\x00hello")
    assert await client.receive() == b"\x01HELLO"
    assert await client.receive() == b'\x03{"status":"Success"}'
    assert await client.receive() is None
    await client.close()
    assert node.asked == ["command=tr&command=a-z&input=1&output=1"]


async def test_exec_is_refused_with_a_status_before_anything_streams(
    api: Api, node: Node, tmp_path: Path, threads: WorkerThreads
) -> None:
    tls = await threads.run(client_tls, api.server, tmp_path, "admin", ["system:masters"])
    address = NodeAddress("127.0.0.1", api.server.port, tls)
    for path, code, text in (
        (f"{PODS}/nosuch/exec?command=ls", 404, "nosuch.+ not found"),
        (f"{PODS}/p/exec", 400, "you must specify at least 1 command"),
    ):
        with pytest.raises(NodeRefusedError, match=text) as refused:
            await NodeSocket.open(address, path, ["v5.channel.k8s.io"])
        assert refused.value.status == code


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("gone", 'Internal error occurred: unable to upgrade connection: container not found ("c")'),
        ("broken", "Internal error occurred: Internal error occurred: no such file"),
    ],
)
async def test_clients_of_the_newest_protocol_get_failures_as_a_status(
    api: Api, node: Node, tmp_path: Path, threads: WorkerThreads, command: str, message: str
) -> None:
    tls = await threads.run(client_tls, api.server, tmp_path, "admin", ["system:masters"])
    address = NodeAddress("127.0.0.1", api.server.port, tls)
    client = await NodeSocket.open(address, f"{PODS}/p/exec?command={command}", ["v5.channel.k8s.io"])
    said = await client.receive()
    await client.close()
    assert said is not None
    assert said[:1] == b"\x03"
    assert json.loads(said[1:])["message"] == message


async def test_clients_of_older_protocols_get_the_nodes_own_words(
    api: Api, node: Node, tmp_path: Path, threads: WorkerThreads
) -> None:
    tls = await threads.run(client_tls, api.server, tmp_path, "admin", ["system:masters"])
    address = NodeAddress("127.0.0.1", api.server.port, tls)
    with pytest.raises(NodeRefusedError, match="container not found"):
        await NodeSocket.open(address, f"{PODS}/p/exec?command=gone", ["v4.channel.k8s.io"])
    client = await NodeSocket.open(address, f"{PODS}/p/exec?command=broken", ["v4.channel.k8s.io"])
    said = await client.receive()
    await client.close()
    assert said is not None
    assert json.loads(said[1:])["message"] == "Internal error occurred: no such file"


async def test_streams_need_a_credential(api: Api, threads: WorkerThreads) -> None:
    def context() -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(api.server.authority.certificate_path))

    tls = await threads.run(context)
    address = NodeAddress("127.0.0.1", api.server.port, tls)
    with pytest.raises(NodeRefusedError) as refused:
        await NodeSocket.open(address, f"{PODS}/p/exec?command=ls", ["v5.channel.k8s.io"])
    assert refused.value.status == 401
