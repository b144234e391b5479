"""The node's own HTTPS endpoints, as the API server's proxy and metrics collectors use them.

    GET  /containerLogs/NAMESPACE/POD/CONTAINER   follow tailLines sinceSeconds sinceTime timestamps previous limitBytes
    WS   /exec/NAMESPACE/POD/CONTAINER            command input output error tty
    WS   /attach/NAMESPACE/POD/CONTAINER          likewise, no command
    WS   /portForward/NAMESPACE/POD?port=N        raw bytes, one connection per WebSocket
    GET  /healthz /metrics /pods

Whoever reaches it may run commands in every container: it must be served with TLS and client certificates only.
Source: kubernetes pkg/kubelet/server/server.go.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from pullet.base.errors import PulletError
from pullet.base.jsonvalue import JsonObject
from pullet.cri.errors import CriError
from pullet.cri.extensions import InProcessStreaming
from pullet.cri.services import RuntimeService
from pullet.cri.types import ContainerState
from pullet.kit.clock import Clock
from pullet.kube.meta import parse_time
from pullet.kube.pod import PodView
from pullet.node.container_logs import ContainerLogs, LogOptions, LogUnavailableError
from pullet.node.log_selection import choose_log
from pullet.node.metrics import NodeMetrics
from pullet.node.pod_cache import PodCache
from pullet.node.pod_paths import PodPaths
from pullet.node.server_streams import serve_exec, serve_port_forward
from pullet.node.status_manager import StatusManager


class _PodMissingError(PulletError):
    """No such pod on this node."""

    reason: ClassVar[str] = "PodMissing"


class _ContainerMissingError(PulletError):
    """No such container runs in the pod."""

    reason: ClassVar[str] = "ContainerMissing"


class NodeServer:
    """Makes the ASGI application; serving it is the caller's."""

    def __init__(
        self,
        *,
        pods: Callable[[], Mapping[str, PodView]],
        raw_pods: Callable[[], list[JsonObject]],
        statuses: StatusManager,
        cache: PodCache,
        runtime: RuntimeService,
        logs: ContainerLogs,
        paths: PodPaths,
        metrics: NodeMetrics,
        clock: Clock,
    ) -> None:
        self._pods, self._raw_pods, self._statuses, self._cache = pods, raw_pods, statuses, cache
        self._runtime, self._logs, self._paths = runtime, logs, paths
        self._metrics, self._clock = metrics, clock

    @property
    def app(self) -> Starlette:
        """The application."""
        place = "{namespace}/{pod}/{container}"
        return Starlette(
            routes=[
                Route("/healthz", self._healthz),
                Route("/metrics", self._render_metrics),
                Route("/pods", self._list_pods),
                Route(f"/containerLogs/{place}", self._container_logs),
                WebSocketRoute(f"/exec/{place}", self._exec),
                WebSocketRoute(f"/attach/{place}", self._attach),
                WebSocketRoute("/portForward/{namespace}/{pod}", self._port_forward),
            ]
        )

    async def _healthz(self, _request: Request) -> Response:
        return PlainTextResponse("ok")

    async def _render_metrics(self, _request: Request) -> Response:
        running = [
            container
            for status in self._cache.pods.values()
            for container in status.containers
            if container.state is ContainerState.RUNNING
        ]
        gauges = {"kubelet_running_pods": len(self._cache.pods), "kubelet_running_containers": len(running)}
        return PlainTextResponse(self._metrics.render(gauges), media_type="text/plain; version=0.0.4")

    async def _list_pods(self, _request: Request) -> Response:
        return JSONResponse({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": self._raw_pods()})

    async def _container_logs(self, request: Request) -> Response:
        query = request.query_params
        try:
            pod = self._pod(request)
            options = self._log_options(query)
            name = request.path_params["container"]
            status = self._statuses.get(pod.uid) or pod.status
            container_id = choose_log(pod.name, status, name, previous=query.get("previous") in ("true", "1"))
            path = await self._log_path(pod, name, container_id)
            body = self._logs.read(path, options, is_running=lambda: self._is_running(pod.uid, container_id))
            first = await anext(body, b"")
        except _PodMissingError as error:
            return PlainTextResponse(f"{error}\n", 404)
        except (LogUnavailableError, ValueError) as error:
            return PlainTextResponse(f"{error}\n", 400)
        return StreamingResponse(_chained(first, body), media_type="text/plain")

    def _log_options(self, query: Mapping[str, str]) -> LogOptions:
        since = parse_time(query.get("sinceTime"))
        if "sinceSeconds" in query:
            since = self._clock.now() - timedelta(seconds=int(query["sinceSeconds"]))
        return LogOptions(
            follow=query.get("follow") in ("true", "1"),
            timestamps=query.get("timestamps") in ("true", "1"),
            tail_lines=_natural(query, "tailLines"),
            limit_bytes=_natural(query, "limitBytes"),
            since=since,
            stream=query.get("stream", "All"),
        )

    async def _log_path(self, pod: PodView, container: str, container_id: str) -> Path:
        try:
            status = await self._runtime.container_status(container_id)
        except CriError as error:
            raise LogUnavailableError(f"unable to retrieve container logs for {container_id}: {error}") from error
        return Path(status.log_path) if status.log_path else self._paths.log_file(pod, container, 0)

    async def _is_running(self, uid: str, container_id: str) -> bool:
        status = await self._cache.get(uid)
        found = next((each for each in status.containers if each.id == container_id), None)
        return found is not None and found.state is ContainerState.RUNNING

    async def _exec(self, socket: WebSocket) -> None:
        await self._stream(socket, list(socket.query_params.getlist("command")))

    async def _attach(self, socket: WebSocket) -> None:
        await self._stream(socket, None)

    async def _stream(self, socket: WebSocket, command: list[str] | None) -> None:
        query = socket.query_params
        try:
            pod = self._pod(socket)
            container_id = await self._running_container(
                pod, socket.path_params["container"], is_exec=command is not None
            )
        except _PodMissingError:
            await _refuse(socket, 404, "pod does not exist")
            return
        except (_ContainerMissingError, CriError) as error:
            await _refuse(socket, 500, str(error))
            return
        if not isinstance(self._runtime, InProcessStreaming):
            await _refuse(socket, 501, "this runtime offers no streams in process")
            return
        await serve_exec(
            socket,
            self._runtime,
            container_id,
            command,
            tty=query.get("tty") in ("true", "1"),
            stdin=query.get("input", query.get("stdin")) in ("true", "1"),
        )

    async def _port_forward(self, socket: WebSocket) -> None:
        try:
            pod = self._pod(socket)
            port = int(socket.query_params["port"])
        except _PodMissingError:
            await _refuse(socket, 404, "pod does not exist")
            return
        except (KeyError, ValueError):
            await _refuse(socket, 400, "port must be given as a number")
            return
        status = await self._cache.get(pod.uid)
        if not status.ready_sandboxes or not isinstance(self._runtime, InProcessStreaming):
            await _refuse(socket, 500, f'pod not found ("{pod.name}_{pod.namespace}")')
            return
        await serve_port_forward(socket, self._runtime, status.ready_sandboxes[0].id, port)

    async def _running_container(self, pod: PodView, name: str, *, is_exec: bool) -> str:
        status = await self._cache.refresh(pod.uid)
        latest = status.latest(name)
        if latest is None or latest.state is not ContainerState.RUNNING:
            raise _ContainerMissingError(
                f'container not found ("{name}")'
                if is_exec
                else f"container {name} not found in pod {pod.name}_{pod.namespace}"
            )
        return latest.id

    def _pod(self, connection: HTTPConnection) -> PodView:
        namespace, name = connection.path_params["namespace"], connection.path_params["pod"]
        found = [pod for pod in self._pods().values() if (pod.namespace, pod.name) == (namespace, name)]
        if not found:
            raise _PodMissingError(f'pod "{name}" does not exist')
        return found[-1]


async def _refuse(socket: WebSocket, status: int, text: str) -> None:
    """Answer the handshake with an HTTP error where the server can, with a close otherwise."""
    if "websocket.http.response" in (socket.scope.get("extensions") or {}):
        await socket.send_denial_response(PlainTextResponse(f"{text}\n", status))
    else:
        await socket.close(1008, text[:120])


def _natural(query: Mapping[str, str], name: str) -> int | None:
    if name not in query:
        return None
    value = int(query[name])
    if value < 0:
        raise ValueError(f"{name} must not be negative")
    return value


async def _chained(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for chunk in rest:
        yield chunk
