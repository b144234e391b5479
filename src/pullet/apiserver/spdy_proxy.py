"""The answers that turn into SPDY streams, and port-forward over a WebSocket."""

from __future__ import annotations

from contextlib import suppress

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from pullet.apiserver.node_client import NodeRefusedError, NodeSocket, NodeUnreachableError
from pullet.apiserver.node_proxy import StreamTarget
from pullet.apiserver.port_channels import CHANNEL_PROTOCOL, ports_of, serve_port_channels
from pullet.apiserver.routing import RequestInfo
from pullet.apiserver.spdy_session import SpdySession
from pullet.apiserver.spdy_streams import (
    COMMAND_PROTOCOL,
    NODE_PORT_FORWARD_PROTOCOL,
    PORT_FORWARD_PROTOCOL,
    TUNNEL_PROTOCOL,
    PortOpener,
    serve_command,
    serve_port_forward,
)
from pullet.apiserver.upgrade import upgraded_connection
from pullet.kube.status import BadRequestError, ForbiddenError, InternalApiError

_PROTOCOL_HEADER = "X-Stream-Protocol-Version"


class _SwitchedResponse(Response):
    """Switches the connection of the request to SPDY and serves it."""

    def __init__(self, protocol: str, *, node: NodeSocket | None, info: RequestInfo, open_port: PortOpener) -> None:
        super().__init__(status_code=101)
        self._protocol, self._node, self._info, self._open_port = protocol, node, info, open_port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        del receive, send
        connection = upgraded_connection(scope)
        try:
            if connection is None:
                return
            with suppress(OSError):
                await connection.switch({_PROTOCOL_HEADER: self._protocol})
                session = SpdySession(connection)
                if self._node is None:
                    await serve_port_forward(session, self._open_port, self._info.name)
                else:
                    await serve_command(session, self._node, _wanted(self._info))
        finally:
            if self._node is not None:
                await self._node.close()


async def spdy_response(request: Request, info: RequestInfo, target: StreamTarget) -> Response:
    """The answer to exec, attach or portforward over an upgraded connection.

    Raises:
        BadRequestError: no upgrade was asked for. ForbiddenError: no protocol in common. InternalApiError: the node
        cannot be reached.
    """
    if upgraded_connection(request.scope) is None:
        raise BadRequestError("Upgrade request required")
    wanted = PORT_FORWARD_PROTOCOL if info.subresource_name == "portforward" else COMMAND_PROTOCOL
    offered = [name.strip() for line in request.headers.getlist(_PROTOCOL_HEADER) for name in line.split(",")]
    if wanted not in offered:
        text = f"unable to upgrade: unable to negotiate protocol: client supports {offered}, server accepts [{wanted}]"
        raise ForbiddenError.on(info.resource, info.name, text)
    try:
        node = None if wanted == PORT_FORWARD_PROTOCOL else await _open_command(target)
    except NodeRefusedError as error:
        return PlainTextResponse(str(error), error.status)  # in the node's own words, as a proxy hands them on
    return _SwitchedResponse(wanted, node=node, info=info, open_port=_port_opener(target))


async def serve_port_forward_socket(
    scope: Scope, receive: Receive, send: Send, info: RequestInfo, target: StreamTarget
) -> None:
    """Port-forward over a WebSocket: SPDY inside its messages (kubectl) or channels (the Python clients).

    Raises:
        BadRequestError: the client offers neither, or names no port.
    """
    offered = scope.get("subprotocols") or ()
    client = WebSocket(scope, receive, send)
    if TUNNEL_PROTOCOL in offered:
        await client.accept(subprotocol=TUNNEL_PROTOCOL)
        await serve_port_forward(SpdySession(_WebSocketTransport(client)), _port_opener(target), info.name)
    elif CHANNEL_PROTOCOL in offered or not offered:  # who names no protocol means this one
        ports = ports_of(info.query)
        await client.accept(subprotocol=CHANNEL_PROTOCOL if offered else None)
        await serve_port_channels(client, ports, _port_opener(target), info.name)
    else:
        raise BadRequestError("no port-forward protocol offered that is served here")
    with suppress(RuntimeError, WebSocketDisconnect, OSError):
        await client.close(1000)


class _WebSocketTransport:
    """The binary messages of a WebSocket as one stream of bytes."""

    def __init__(self, client: WebSocket) -> None:
        self._client = client

    async def read(self) -> bytes:
        """See ByteTransport."""
        while True:
            message = await self._client.receive()
            if message["type"] == "websocket.disconnect":
                return b""
            data = message.get("bytes")
            if data:
                return bytes(data)

    async def write(self, data: bytes) -> None:
        """See ByteTransport."""
        try:
            await self._client.send_bytes(data)
        except (RuntimeError, WebSocketDisconnect) as error:
            raise ConnectionResetError(str(error)) from error


def _port_opener(target: StreamTarget) -> PortOpener:
    async def open_port(port: int) -> NodeSocket:
        return await NodeSocket.open(target.address, f"{target.target}?port={port}", [NODE_PORT_FORWARD_PROTOCOL])

    return open_port


async def _open_command(target: StreamTarget) -> NodeSocket:
    try:
        return await NodeSocket.open(target.address, target.target, ["v5.channel.k8s.io"])
    except NodeUnreachableError as error:
        raise InternalApiError(f"error dialing backend: {error}") from error


def _wanted(info: RequestInfo) -> frozenset[str]:
    query = info.query
    names = {"error"} | {name for name in ("stdin", "stdout", "stderr") if query.flag(name)}
    if query.flag("tty"):
        names = names - {"stderr"} | {"resize"}
    return frozenset(names)
