"""exec and attach over WebSockets: messages go through unread, both ends speak the same channel protocol.

Of a v5 client the API server makes itself the end, as upstream where it translates to what nodes speak: the client is
accepted before the node is asked, and whatever fails comes as a Status that says "Internal error occurred" once more.
Source: kubernetes staging/src/k8s.io/apiserver/pkg/util/proxy/streamtranslator.go.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Final

from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from pullet.apiserver.node_client import NodeRefusedError, NodeSocket, NodeUnreachableError
from pullet.apiserver.node_proxy import StreamTarget
from pullet.kit.tasks import one_error
from pullet.kube.status import InternalApiError

_TRANSLATED_PROTOCOL: Final = "v5.channel.k8s.io"
CHANNEL_PROTOCOLS: Final = (_TRANSLATED_PROTOCOL, "v4.channel.k8s.io")
_ERROR: Final = 3


def chosen_protocol(offered: list[str]) -> str:
    """The best channel protocol a client offers, or nothing."""
    return next((name for name in CHANNEL_PROTOCOLS if name in offered), "")


async def proxy_channels(scope: Scope, receive: Receive, send: Send, target: StreamTarget, protocol: str) -> None:
    """Join a client's WebSocket and a node's until either ends.

    Raises:
        NodeUnreachableError, NodeRefusedError: before anything was accepted.
    """
    client = WebSocket(scope, receive, send)
    if protocol == _TRANSLATED_PROTOCOL:
        await client.accept(subprotocol=protocol)
        try:
            node = await NodeSocket.open(target.address, target.target, [protocol])
        except NodeRefusedError as error:
            await _fail(client, f"unable to upgrade connection: {error}")
            return
        except NodeUnreachableError as error:
            await _fail(client, str(error))
            return
    else:
        node = await NodeSocket.open(target.address, target.target, [protocol])
        await client.accept(subprotocol=protocol)
    try:
        with one_error():
            async with asyncio.TaskGroup() as group:
                upward = group.create_task(_client_to_node(client, node))
                await _node_to_client(node, client, is_translated=protocol == _TRANSLATED_PROTOCOL)
                upward.cancel()
    finally:
        await node.close()


async def _fail(client: WebSocket, text: str) -> None:
    status = json.dumps(InternalApiError.because(text).to_status()).encode()
    with suppress(WebSocketDisconnect, RuntimeError, OSError):
        await client.send_bytes(bytes((_ERROR,)) + status)
        await client.close(1000)


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
    node.hang_up()  # the other direction then ends by itself


async def _node_to_client(node: NodeSocket, client: WebSocket, *, is_translated: bool) -> None:
    with suppress(WebSocketDisconnect, RuntimeError, OSError):
        while (message := await node.receive()) is not None:
            is_status = is_translated and message[:1] == bytes((_ERROR,))
            await client.send_bytes(_translated(message) if is_status else message)
        await client.close(1000, node.close_reason)


def _translated(message: bytes) -> bytes:
    """The node's Status as a client of the translation sees it: exit codes as they are, errors within one more."""
    try:
        status = json.loads(message[1:])
    except ValueError:
        return message
    if status.get("status") != "Failure" or status.get("reason") == "NonZeroExitCode":
        return message
    error = InternalApiError.because(status.get("message", ""))
    return message[:1] + json.dumps(error.to_status()).encode()
