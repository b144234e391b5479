"""Port-forward in the channels of one WebSocket, as the Python clients speak it: one connection per port asked for.

Port number i of the query has channel 2·i for its bytes and 2·i+1 for what went wrong; each begins with the port as two
little-endian bytes. Source: kubernetes staging/src/k8s.io/kubelet/pkg/cri/streaming/portforward/websocket.go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final

from starlette.websockets import WebSocket, WebSocketDisconnect

from pullet.apiserver.node_client import NodeRefusedError, NodeSocket, NodeUnreachableError
from pullet.apiserver.routing import Query
from pullet.apiserver.spdy_streams import PortOpener, refusal_text
from pullet.kit.tasks import one_error
from pullet.kube.status import BadRequestError

CHANNEL_PROTOCOL: Final = "v4.channel.k8s.io"
_MAX_PORTS: Final = 100
_QUEUED_PIECES: Final = 16


def ports_of(query: Query) -> list[int]:
    """The ports asked for.

    Raises:
        BadRequestError: none, too many, or what is no port.
    """
    words = [word for text in query.all("ports") for word in text.split(",")]
    if not words:
        raise BadRequestError('query parameter "ports" is required')
    for word in words:
        if not word.isdecimal() or not 0 < int(word) < 65536:
            raise BadRequestError(f'unable to parse "{word}" as a port: must be between 1 and 65535')
    if len(words) > _MAX_PORTS:
        raise BadRequestError(f"at most {_MAX_PORTS} ports may be forwarded at once")
    return [int(word) for word in words]


async def serve_port_channels(client: WebSocket, ports: Sequence[int], open_port: PortOpener, pod_name: str) -> None:
    """Forward every port until the pod's side of all of them has ended, or the client goes."""
    queues: list[asyncio.Queue[bytes]] = [asyncio.Queue(_QUEUED_PIECES) for _ in ports]
    with one_error():
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(_read(client, queues))
            async with asyncio.TaskGroup() as forwarding:
                forwards = [
                    forwarding.create_task(_forward(client, number, port, queues[number], open_port, pod_name))
                    for number, port in enumerate(ports)
                ]
                reading.add_done_callback(lambda _: [task.cancel() for task in forwards])  # nobody is left to hear
            reading.cancel()


async def _read(client: WebSocket, queues: Sequence[asyncio.Queue[bytes]]) -> None:
    while True:
        message = await client.receive()
        if message["type"] == "websocket.disconnect":
            return
        data = message.get("bytes") or b""
        if len(data) > 1 and data[0] % 2 == 0 and data[0] // 2 < len(queues):
            await queues[data[0] // 2].put(data[1:])


async def _forward(
    client: WebSocket, number: int, port: int, queue: asyncio.Queue[bytes], open_port: PortOpener, pod_name: str
) -> None:
    async def send(channel: int, data: bytes) -> None:
        with suppress(RuntimeError, WebSocketDisconnect, OSError):
            await client.send_bytes(bytes((channel,)) + data)

    for channel in (2 * number, 2 * number + 1):
        await send(channel, port.to_bytes(2, "little"))
    try:
        node = await open_port(port)
    except (NodeUnreachableError, NodeRefusedError) as failure:
        await send(2 * number + 1, refusal_text(str(port), pod_name, str(failure)).encode())
        return
    try:
        await _join(node, queue, lambda data: send(2 * number, data))
        if node.failure:
            await send(2 * number + 1, node.failure.encode())
    finally:
        await node.close()


async def _join(node: NodeSocket, queue: asyncio.Queue[bytes], send: Callable[[bytes], Awaitable[None]]) -> None:
    async def upward() -> None:
        with suppress(OSError):  # the pod's side hung up: what it said before is still read below
            while True:
                await node.send(await queue.get())

    async with asyncio.TaskGroup() as group:
        sending = group.create_task(upward())
        with suppress(OSError):
            while (message := await node.receive()) is not None:
                if message:
                    await send(message)
        sending.cancel()
