"""The node's side of the control socket: an ASGI application on a Unix socket.

Whoever can open the socket is the node's owner (mode 0600), so there is no further authentication.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from pullet.base.errors import PulletError, UsageError
from pullet.base.values import Value
from pullet.control.images import PROGRESS_INTERVAL_SECONDS, NodeImages
from pullet.control.maintenance import NodeMaintenance
from pullet.control.protocol import ErrorMessage, ProgressMessage, StatusMessage
from pullet.cri.errors import CriError
from pullet.cri.extensions import ArchiveFormat, ImageInspection, ImageTransfer
from pullet.cri.types import ImageSpec
from pullet.kit.clock import Clock
from pullet.oci.descriptor import encode_hook

Answer = Callable[[Request], Awaitable[Any]]


class NodeControl(Value, kw_only=True):
    """What the socket offers of one node. `why(namespace, pod, container)` gives journal passes, newest first."""

    images: NodeImages
    maintenance: NodeMaintenance
    why: Callable[[str, str, str], Awaitable[list[dict[str, Any]]]]


def error_message(error: PulletError) -> ErrorMessage:
    """The message for a failure, with cause and next step where the runtime gave them."""
    message = ErrorMessage(kind="error", reason=error.reason, message=str(error))
    if isinstance(error, CriError):
        message["message"] = error.message  # a person at a terminal has no use for the gRPC code around it
        message["cause"] = error.cause
        message["next_step"] = error.next_step
    return message


class ControlServer:
    """Answers for the nodes of this process.

    `nodes` is in start order; `shut_down(stop_pods, grace_seconds)` begins the end.
    """

    def __init__(
        self,
        *,
        nodes: Mapping[str, NodeControl],
        status: Callable[[], Awaitable[StatusMessage]],
        shut_down: Callable[[bool, float], None],
        clock: Clock,
    ) -> None:
        self._nodes = nodes
        self._status = status
        self._shut_down = shut_down
        self._clock = clock

    def app(self) -> Starlette:
        """The ASGI application."""
        answers = [
            ("GET", "/v1/version", self._version),
            ("GET", "/v1/status", self._show_status),
            ("GET", "/v1/images", self._list_images),
            ("DELETE", "/v1/images", self._remove),
            ("GET", "/v1/images/inspect", self._inspect),
            ("POST", "/v1/images/export", self._export),
            ("POST", "/v1/images/import", self._import),
            ("GET", "/v1/images/access", self._access),
            ("POST", "/v1/images/gc", self._collect),
            ("GET", "/v1/store/usage", self._usage),
            ("POST", "/v1/store/check", self._check),
            ("GET", "/v1/why", self._why),
            ("POST", "/v1/down", self._down),
        ]
        return Starlette(
            routes=[
                Route("/v1/images/pull", self._pull, methods=["POST"]),
                Route("/v1/pulls", self._pulls, methods=["GET"]),
                *(Route(path, _as_json(answer), methods=[method]) for method, path, answer in answers),
            ],
            exception_handlers={PulletError: _refuse},
        )

    def _node(self, request: Request) -> NodeControl:
        name = request.query_params.get("node", "") or next(iter(self._nodes))
        if name not in self._nodes:
            raise UsageError(f"there is no node {name!r} here; there is: {', '.join(self._nodes)}")
        return self._nodes[name]

    async def _version(self, _: Request) -> Any:
        return {"version": (await self._status())["version"]}

    async def _show_status(self, _: Request) -> Any:
        return await self._status()

    async def _list_images(self, request: Request) -> Any:
        return await self._node(request).images.rows()

    async def _pull(self, request: Request) -> StreamingResponse:
        node = self._node(request)
        image = str((await request.json())["image"])
        return StreamingResponse(_lines(node.images, image), media_type="application/x-ndjson")

    async def _pulls(self, request: Request) -> StreamingResponse:
        """Progress of every pull under way on every node, until the asker leaves."""
        return StreamingResponse(self._all_progress(), media_type="application/x-ndjson")

    async def _all_progress(self) -> AsyncIterator[bytes]:
        shown: dict[str, ProgressMessage] = {}
        while True:
            now = {message["image"]: message for node in self._nodes.values() for message in node.images.progress()}
            for image, message in now.items():
                if shown.get(image) != message:
                    yield json.dumps(message).encode() + b"\n"
            for image in shown.keys() - now.keys():
                yield json.dumps({"kind": "ended", "image": image}).encode() + b"\n"
            shown = now
            await self._clock.sleep(PROGRESS_INTERVAL_SECONDS)

    async def _inspect(self, request: Request) -> Any:
        service = self._node(request).images.service
        if not isinstance(service, ImageInspection):
            raise UsageError("this node's runtime cannot show the layers of an image")
        return msgspec.to_builtins(await service.inspect_image(_image(request)), enc_hook=encode_hook)

    async def _remove(self, request: Request) -> Any:
        return await self._node(request).images.remove(_image(request).image)

    def _transfer(self, request: Request) -> ImageTransfer:
        service = self._node(request).images.service
        if not isinstance(service, ImageTransfer):
            raise UsageError("this node's runtime can neither export nor import images")
        return service

    async def _export(self, request: Request) -> Any:
        body = await request.json()
        specs = [ImageSpec(str(name)) for name in body["images"]]
        await self._transfer(request).export_image(specs, str(body["path"]), ArchiveFormat(body["format"]))
        return {}

    async def _import(self, request: Request) -> Any:
        body = await request.json()
        return list(await self._transfer(request).import_images(str(body["path"]), str(body.get("name", ""))))

    async def _access(self, request: Request) -> Any:
        return await self._node(request).maintenance.access(_image(request).image)

    async def _collect(self, request: Request) -> Any:
        body = await request.json()
        return await self._node(request).maintenance.collect_images(
            is_plan=bool(body.get("is_plan")), removes_all_unused=bool(body.get("removes_all_unused"))
        )

    async def _usage(self, request: Request) -> Any:
        return await self._node(request).maintenance.disk_usage()

    async def _check(self, request: Request) -> Any:
        repair = bool((await request.json()).get("repair"))
        return await self._node(request).maintenance.check_store(repair=repair)

    async def _why(self, request: Request) -> Any:
        query = request.query_params
        return await self._node(request).why(
            query.get("namespace", ""), query.get("pod", ""), query.get("container", "")
        )

    async def _down(self, request: Request) -> Any:
        wanted = await request.json()
        self._shut_down(bool(wanted.get("stop_pods", True)), float(wanted.get("grace_seconds", 0)))
        return {}


def _image(request: Request) -> ImageSpec:
    image = request.query_params.get("image", "")
    if not image:
        raise UsageError("the query parameter `image` is missing")
    return ImageSpec(image)


def _as_json(answer: Answer) -> Callable[[Request], Awaitable[JSONResponse]]:
    async def respond(request: Request) -> JSONResponse:
        return JSONResponse(await answer(request))

    return respond


async def _refuse(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, PulletError)
    return JSONResponse(error_message(error), status_code=400)


async def _lines(images: NodeImages, image: str) -> AsyncIterator[bytes]:
    """One JSON line per message; a failure is the last line, since the status was sent long before."""
    try:
        async with aclosing(images.pull(image)) as messages:
            async for message in messages:
                yield json.dumps(message).encode() + b"\n"
    except PulletError as error:
        yield json.dumps(error_message(error)).encode() + b"\n"
