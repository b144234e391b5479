"""exec, attach and port-forward over WebSockets, in the channel protocol that kubectl speaks.

First byte of each binary message: 0 stdin, 1 stdout, 2 stderr, 3 the final metav1.Status, 4 terminal size, 255 the
channel in the second byte is closed (v5). Source: kubernetes KEP-4006; spec kubectl-api, streams.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket as sockets
from contextlib import suppress

from starlette.websockets import WebSocket, WebSocketDisconnect

from pullet.base.jsonvalue import JsonObject
from pullet.cri.errors import CriError, NotFoundError
from pullet.cri.extensions import InProcessStreaming
from pullet.kit.tasks import one_error

STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
PORT_FORWARD_PROTOCOL = "portforward.pullet.dev"  # raw bytes both ways, one connection per WebSocket
READ_BYTES = 64 << 10


class ChannelIO:
    """A `StreamIO` over a WebSocket; `receive()` must run beside."""

    def __init__(self, socket: WebSocket, *, has_stdin: bool) -> None:
        self._socket, self._has_stdin = socket, has_stdin
        self._stdin: asyncio.Queue[bytes] = asyncio.Queue(16)
        self._sizes: asyncio.Queue[tuple[int, int]] = asyncio.Queue(16)
        self._is_ended = not has_stdin

    async def read_stdin(self) -> bytes:
        """See StreamIO."""
        if self._is_ended and self._stdin.empty():
            return b""
        data = await self._stdin.get()
        self._is_ended = self._is_ended or not data
        return data

    async def write_stdout(self, data: bytes) -> None:
        """See StreamIO."""
        await self._send(STDOUT, data)

    async def write_stderr(self, data: bytes) -> None:
        """See StreamIO."""
        await self._send(STDERR, data)

    async def next_resize(self) -> tuple[int, int]:
        """See StreamIO."""
        return await self._sizes.get()

    async def send_status(self, status: JsonObject) -> None:
        """The last message."""
        await self._send(ERROR, json.dumps(status).encode())

    async def receive(self) -> None:
        """Take messages until the other side is gone."""
        while True:
            try:
                message = await self._socket.receive_bytes()
            except (WebSocketDisconnect, KeyError, RuntimeError):
                await self._stdin.put(b"")
                return
            if not message:
                continue
            channel, data = message[0], message[1:]
            if channel == STDIN and data and self._has_stdin:
                await self._stdin.put(data)
            elif channel == CLOSE and data[:1] == bytes((STDIN,)):
                await self._stdin.put(b"")
            elif channel == RESIZE:
                await self._resize(data)

    async def _resize(self, data: bytes) -> None:
        with suppress(ValueError, KeyError, TypeError):
            size = json.loads(data)
            await self._sizes.put((int(size["Width"]), int(size["Height"])))

    async def _send(self, channel: int, data: bytes) -> None:
        await self._socket.send_bytes(bytes((channel,)) + data)


async def serve_exec(
    socket: WebSocket,
    runtime: InProcessStreaming,
    container_id: str,
    command: list[str] | None,
    *,
    tty: bool,
    stdin: bool,
) -> None:
    """Run `command` (None: attach) with the WebSocket as its streams; ends with a Status and a close."""
    offered = socket.scope.get("subprotocols", [])
    chosen = next((each for each in PROTOCOLS if each in offered), None)
    await socket.accept(subprotocol=chosen)
    io = ChannelIO(socket, has_stdin=stdin)
    status: JsonObject = {"metadata": {}, "status": "Success"}
    with one_error():
        async with asyncio.TaskGroup() as group:
            receiving = group.create_task(io.receive())
            working = group.create_task(_work(runtime, container_id, command, tty=tty, stdin=stdin, io=io))
            receiving.add_done_callback(lambda _: working.cancel())  # nobody is left to talk to
            await asyncio.wait([working])
            receiving.cancel()
    if not working.cancelled():
        status = working.result()
    with suppress(RuntimeError, WebSocketDisconnect):
        await io.send_status(status)
        await socket.close(1000)


async def _work(
    runtime: InProcessStreaming, container_id: str, command: list[str] | None, *, tty: bool, stdin: bool, io: ChannelIO
) -> JsonObject:
    try:
        if command is None:
            await runtime.attach_stream(container_id, tty=tty, stdin=stdin, io=io)
            code = 0
        else:
            code = await runtime.exec_stream(container_id, command, tty=tty, stdin=stdin, io=io)
    except CriError as error:
        reason = "NotFound" if isinstance(error, NotFoundError) else "InternalError"
        doing = "attaching to" if command is None else "executing command in"
        text = f"Internal error occurred: error {doing} container: {error}"
        return {"metadata": {}, "status": "Failure", "message": text, "reason": reason, "code": 500}
    if code == 0:
        return {"metadata": {}, "status": "Success"}
    ran = f"error executing command [{' '.join(command or ())}], exit code {code}"
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: {ran}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


async def serve_port_forward(socket: WebSocket, runtime: InProcessStreaming, sandbox_id: str, port: int) -> None:
    """One TCP connection into the sandbox: bytes both ways until the pod ends it or the WebSocket goes.

    An empty message says that its sender has no more bytes, a text message why there is no connection.
    """
    offered = socket.scope.get("subprotocols", [])
    await socket.accept(subprotocol=PORT_FORWARD_PROTOCOL if PORT_FORWARD_PROTOCOL in offered else None)

    async def connected(descriptor: int) -> None:
        await _relay(socket, descriptor)

    try:
        await runtime.port_forward(sandbox_id, port, connected)
        text = ""
    except CriError as error:
        text = f"error forwarding port {port} to pod {sandbox_id}, uid : {error}"
    with suppress(RuntimeError, WebSocketDisconnect):
        if text:
            await socket.send_text(text)
        await socket.close(1011 if text else 1000)


async def _relay(socket: WebSocket, descriptor: int) -> None:
    os.set_blocking(descriptor, False)
    reader, writer = await asyncio.open_connection(sock=sockets.socket(fileno=descriptor))

    async def outward() -> None:
        while data := await reader.read(READ_BYTES):
            await socket.send_bytes(data)

    async def inward() -> None:
        with suppress(WebSocketDisconnect, KeyError, RuntimeError):
            while True:
                data = await socket.receive_bytes()
                if data:
                    writer.write(data)
                    await writer.drain()
                else:
                    writer.write_eof()  # the other end has no more to say, and may still listen
        receiving.cancel()

    try:
        with suppress(OSError), one_error():
            async with asyncio.TaskGroup() as group:
                receiving = group.create_task(outward())
                sending = group.create_task(inward())
                await asyncio.wait([receiving])
                sending.cancel()
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
