"""exec, attach and port-forward for clients that speak SPDY, joined to the WebSockets of the node.

Source: kubernetes staging/src/k8s.io/kubelet/pkg/cri/streaming/{portforward,remotecommand} (stream types, order of
closing, texts).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, TypeAlias

from pullet.apiserver.node_client import NodeRefusedError, NodeSocket, NodeUnreachableError
from pullet.apiserver.spdy_session import SpdySession, SpdyStream
from pullet.kit.tasks import one_error

COMMAND_PROTOCOL: Final = "v4.channel.k8s.io"
PORT_FORWARD_PROTOCOL: Final = "portforward.k8s.io"
TUNNEL_PROTOCOL: Final = "SPDY/3.1+portforward.k8s.io"  # SPDY inside binary WebSocket messages
NODE_PORT_FORWARD_PROTOCOL: Final = "portforward.pullet.dev"
_STDIN, _STDOUT, _STDERR, _ERROR, _RESIZE, _CLOSE = 0, 1, 2, 3, 4, 255
_OUTPUTS: Final = {_STDOUT: "stdout", _STDERR: "stderr", _ERROR: "error"}
_STREAM_SECONDS: Final = 30

PortOpener: TypeAlias = Callable[[int], Awaitable[NodeSocket]]


def refusal_text(port: str, pod_name: str, problem: str) -> str:
    """Why a port could not be forwarded, where the node was not reached; else it says so itself."""
    return f"error forwarding port {port} to pod {pod_name}, uid : {problem}"


async def serve_port_forward(session: SpdySession, open_port: PortOpener, pod_name: str) -> None:
    """Forward connections as the client opens pairs of streams, until it goes."""
    with one_error():
        async with asyncio.TaskGroup() as group:
            group.create_task(session.run())
            waiting: dict[str, dict[str, SpdyStream]] = {}
            while (stream := await session.accept()) is not None:
                request_id = stream.headers.get("requestid", "")
                pair = waiting.setdefault(request_id, {})
                pair[stream.headers.get("streamtype", "")] = stream
                if "error" in pair and "data" in pair:
                    del waiting[request_id]
                    group.create_task(_forward(session, pair["data"], pair["error"], open_port, pod_name))


async def _forward(
    session: SpdySession, data: SpdyStream, error: SpdyStream, open_port: PortOpener, pod_name: str
) -> None:
    text = data.headers.get("port", "")
    try:
        problem = refusal_text(text, pod_name, f'"{text}" is no port')
        if text.isdecimal() and 0 < int(text) < 65536:
            problem = await _join_port(data, await open_port(int(text)))
    except (NodeUnreachableError, NodeRefusedError) as failure:
        problem = refusal_text(text, pod_name, str(failure))
    try:
        if problem:
            await error.write(problem.encode())
        await data.close()
        await error.close()
    finally:
        session.release(data)
        session.release(error)


async def _join_port(data: SpdyStream, node: NodeSocket) -> str:
    """Bytes both ways until the pod's side ends or the client gives up; what went wrong, or nothing."""

    async def upward() -> None:
        with suppress(OSError):  # the pod's side hung up: what it said before is still read below
            while piece := await data.read():
                await node.send(piece)
            await node.send(b"")  # the client has no more; it may still listen

    async def give_up() -> None:
        await data.gone.wait()
        node.hang_up()  # the reader below then ends

    try:
        with one_error():
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(upward()), group.create_task(give_up())]
                while (message := await _received(node)) is not None:
                    if message:
                        await data.write(message)
                    else:
                        await data.close()
                for task in tasks:
                    task.cancel()
        return node.failure
    finally:
        await node.close()


async def serve_command(session: SpdySession, node: NodeSocket, wanted: frozenset[str]) -> None:
    """Exec or attach: one stream per name in `wanted`; ends when the node has sent its Status."""
    with one_error():
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(session.run())
            streams = await _collect(session, wanted)
            if streams is not None:
                await _join_command(streams, node)
            reading.cancel()


async def _collect(session: SpdySession, wanted: frozenset[str]) -> dict[str, SpdyStream] | None:
    streams: dict[str, SpdyStream] = {}
    try:
        async with asyncio.timeout(_STREAM_SECONDS):
            while not wanted <= streams.keys():
                stream = await session.accept()
                if stream is None:
                    return None
                streams[stream.headers.get("streamtype", "")] = stream
    except TimeoutError:
        return None
    return streams


async def _join_command(streams: dict[str, SpdyStream], node: NodeSocket) -> None:
    async def feed(stream: SpdyStream, channel: int) -> None:
        with suppress(OSError):  # the process ended without reading all of it: its Status is still read below
            while piece := await stream.read():
                await node.send(bytes((channel,)) + piece)
            if channel == _STDIN:
                await node.send(bytes((_CLOSE, _STDIN)))

    async def give_up() -> None:
        await streams["error"].gone.wait()
        node.hang_up()

    with one_error():
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(give_up())]
            for name, channel in (("stdin", _STDIN), ("resize", _RESIZE)):
                if name in streams:
                    tasks.append(group.create_task(feed(streams[name], channel)))
            while (message := await _received(node)) is not None:
                name = _OUTPUTS.get(message[0], "") if message else ""
                if name in streams:
                    await streams[name].write(message[1:])
            for task in tasks:
                task.cancel()
    for stream in streams.values():
        await stream.close()


async def _received(node: NodeSocket) -> bytes | None:
    try:
        return await node.receive()
    except OSError:
        return None
