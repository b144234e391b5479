"""exec and attach over WebSockets: messages go through unread, both ends speak the same channel protocol."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from pullet.apiserver.node_client import NodeSocket
from pullet.apiserver.node_proxy import StreamTarget
from pullet.kit.tasks import one_error

CHANNEL_PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")


def chosen_protocol(offered: list[str]) -> str:
    """The best channel protocol a client offers, or nothing."""
    return next((name for name in CHANNEL_PROTOCOLS if name in offered), "")


async def proxy_channels(scope: Scope, receive: Receive, send: Send, target: StreamTarget, protocol: str) -> None:
    """Join a client's WebSocket and a node's until either ends.

    Raises:
        NodeUnreachableError, NodeRefusedError: before anything was accepted.
    """
    node = await NodeSocket.open(target.address, target.target, [protocol])
    try:
        client = WebSocket(scope, receive, send)
        await client.accept(subprotocol=protocol)
        with one_error():
            async with asyncio.TaskGroup() as group:
                upward = group.create_task(_client_to_node(client, node))
                await _node_to_client(node, client)
                upward.cancel()
    finally:
        await node.close()


async def _client_to_node(client: WebSocket, node: NodeSocket) -> None:
    with suppress(WebSocketDisconnect, OSError):
        while True:
            message = await client.receive()
            if message["type"] == "websocket.disconnect":
                break
            data = message.get("bytes")
            if data is None:
                data = (message.get("text") or "").encode()
            if data:
                await node.send(data)
    await node.close()  # the other direction then ends by itself


async def _node_to_client(node: NodeSocket, client: WebSocket) -> None:
    with suppress(WebSocketDisconnect, RuntimeError, OSError):
        while (message := await node.receive()) is not None:
            await client.send_bytes(message)
        await client.close(1000, node.close_reason)
