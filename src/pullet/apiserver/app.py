"""The ASGI application: authenticate → understand → authorize → answer; every failure becomes a metav1.Status.

The only place of this package that catches every exception: what is no ApiError is logged and answered with a 500.
"""

from __future__ import annotations

import logging
import sqlite3
from contextlib import suppress

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from pullet.apiserver.authentication import Authenticator
from pullet.apiserver.authorization import AccessRequest
from pullet.apiserver.delete_options import dry_run_errors
from pullet.apiserver.discovery import Discovery
from pullet.apiserver.impersonation import impersonated
from pullet.apiserver.json_answers import JsonResponse, indented, json_response, wants_indent
from pullet.apiserver.metrics import CONTENT_TYPE as METRICS_TYPE
from pullet.apiserver.metrics import ApiMetrics
from pullet.apiserver.node_authorizer import Authorizer
from pullet.apiserver.openapi import V2_CONTENT_TYPE, OpenApi
from pullet.apiserver.records import encode_json
from pullet.apiserver.request_context import RequestContext, User
from pullet.apiserver.rest import RestHandler
from pullet.apiserver.reviews import Reviews
from pullet.apiserver.routing import Query, RequestInfo, parse_request
from pullet.apiserver.served_resources import ServedResources
from pullet.apiserver.subresources import Subresources
from pullet.apiserver.version import version_info
from pullet.apiserver.warning_headers import deprecations, warning_headers
from pullet.base.errors import PulletError
from pullet.kit.clock import Clock
from pullet.kube.field_error import invalid, too_long
from pullet.kube.status import ApiError, ForbiddenError, InternalApiError, InvalidError, NotFoundError

log = logging.getLogger(__name__)
_JSON = "application/json"
_MAX_MANAGER = 128
_OPTIONS = {"POST": "CreateOptions", "PUT": "UpdateOptions", "DELETE": "DeleteOptions"}


class Application:
    """Dispatches requests to the parts that answer them."""

    def __init__(
        self,
        *,
        authenticator: Authenticator,
        authorizer: Authorizer,
        rest: RestHandler,
        reviews: Reviews,
        subresources: Subresources,
        served: ServedResources,
        discovery: Discovery,
        openapi: OpenApi,
        metrics: ApiMetrics,
        clock: Clock,
        git_version: str,
    ) -> None:
        self._authenticator = authenticator
        self._authorizer = authorizer
        self._rest = rest
        self._reviews = reviews
        self._subresources = subresources
        self._served = served
        self._discovery = discovery
        self._openapi = openapi
        self._metrics = metrics
        self._clock = clock
        self._version = indented(encode_json(version_info(git_version)))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        if scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except ApiError as error:
            response = status_response(error)
        except PulletError as error:
            log.warning("request failed", extra={"path": scope["path"], "error": str(error)})
            response = status_response(InternalApiError.because(error))
        except sqlite3.Error as error:  # a full disk, above all
            log.warning("request failed", extra={"path": scope["path"], "error": str(error)})
            response = status_response(InternalApiError.because(f"the API server's database: {error}"))
        except Exception:
            log.exception("request failed", extra={"path": scope["path"], "method": scope["method"]})
            response = status_response(InternalApiError.because("see the server's log"))
        if isinstance(response, JsonResponse) and wants_indent(request):
            response.indent()
        await response(scope, receive, send)

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            user = self._authenticate(scope)
            raw_path = scope.get("raw_path", scope["path"].encode()).decode("latin-1").partition("?")[0]
            info = parse_request("GET", raw_path, scope["query_string"].decode("latin-1"), self._served.at)
            self._authorize(user, info)
            await self._subresources.websocket(scope, receive, send, info, RequestContext(user=user))
        except ApiError as error:
            await _deny(send, error)
        except Exception:
            log.exception("stream failed", extra={"path": scope["path"]})
            await _deny(send, InternalApiError.because("see the server's log"))

    def _authenticate(self, scope: Scope) -> User:
        user = self._authenticator.authenticate(scope, scope["path"])
        return impersonated(user, Headers(scope=scope))

    async def _answer(self, request: Request) -> Response:
        path = request.scope["path"]
        user = self._authenticate(request.scope)
        general = await self._general(request, path, user)
        if general is not None:
            return general
        raw_path = request.scope.get("raw_path", path.encode()).decode("latin-1")
        raw_query = request.scope["query_string"].decode("latin-1")
        info = parse_request(request.method, raw_path, raw_query, self._served.at)
        context = _context(request, info.query, user)
        began = self._clock.monotonic()
        self._metrics.inflight += 1
        try:
            self._authorize(user, info)
            response = await self._dispatch(request, info, context)
        except ApiError as error:
            response = status_response(error)
        finally:
            self._metrics.inflight -= 1
        seconds = self._clock.monotonic() - began
        self._metrics.observe(info, response.status_code, seconds, dry_run=context.dry_run)
        for value in warning_headers([*deprecations(info), *context.warnings]):
            response.headers.append("Warning", value)
        return response

    def _authorize(self, user: User, info: RequestInfo) -> None:
        resource = info.resource.plural
        if info.subresource_name:
            resource += f"/{info.subresource_name}"
        asked = AccessRequest(
            user=user,
            verb=info.verb,
            group=info.resource.group,
            resource=resource,
            namespace=info.namespace,
            name=info.name or info.selected("metadata.name"),
            selected_node=info.selected("spec.nodeName"),
        )
        decision = self._authorizer.decide(asked)
        if not decision.is_allowed:
            why = f"{asked.forbidden_text}: {decision.reason}" if decision.reason else asked.forbidden_text
            raise ForbiddenError.on(info.resource, info.name, why)

    async def _dispatch(self, request: Request, info: RequestInfo, context: RequestContext) -> Response:
        if info.resource.custom and info.resource.custom.deprecation:
            context.warnings.append(info.resource.custom.deprecation)
        if not info.resource.is_stored:
            review = await self._rest.decode(request, info, context)
            answered = self._reviews.answer(info.resource, info.namespace, review, context)
            return json_response(answered, 201)
        if info.subresource is not None and info.subresource_name not in ("status", "approval"):
            return await self._subresources.answer(request, info, context)
        return await self._rest.answer(request, info, context)

    async def _general(self, request: Request, path: str, user: User) -> Response | None:
        """What lies outside the resources: health, version, discovery, OpenAPI."""
        method = request.method
        bare = path.rstrip("/")
        if bare in ("/healthz", "/livez", "/readyz") or path.startswith(("/livez/", "/readyz/", "/healthz/")):
            is_verbose = "verbose" in request.query_params
            return Response(_health(path.split("/")[1]) if is_verbose else "ok", media_type="text/plain")
        if bare == "/version":
            return Response(self._version, media_type=_JSON)
        if method not in ("GET", "HEAD"):
            return None
        document = self._discovery.find(path, request.headers.get("accept", ""))
        if document is not None:
            headers = {"etag": document.etag, "vary": "Accept", "content-type": document.content_type}
            if request.headers.get("if-none-match") == document.etag:
                return Response(status_code=304, headers=headers)
            return JsonResponse([document.body], headers=headers)
        if bare in ("", "/"):
            paths = [
                "/api",
                "/api/v1",
                "/apis",
                "/healthz",
                "/livez",
                "/metrics",
                "/openapi/v2",
                "/openapi/v3",
                "/readyz",
                "/version",
            ]
            return Response(indented(encode_json({"paths": paths})), media_type=_JSON)
        if bare != "/metrics" and not bare.startswith("/openapi"):
            return None
        asked = AccessRequest(user=user, verb="get", path=path)
        if not self._authorizer.decide(asked).is_allowed:
            raise ForbiddenError.on(None, "", asked.forbidden_text)
        if bare == "/metrics":
            return Response(self._metrics.render(), headers={"content-type": METRICS_TYPE})
        return self._open_api(bare, request)

    def _open_api(self, path: str, request: Request) -> Response:
        if path == "/openapi/v2":
            accept = request.headers.get("accept", "")
            if accept.startswith(_JSON):
                return Response(self._openapi.v2_json(), media_type=_JSON)
            return Response(self._openapi.v2(), headers={"content-type": V2_CONTENT_TYPE})
        if path == "/openapi/v3":
            return Response(self._openapi.index(), media_type=_JSON)
        document = self._openapi.v3(path.removeprefix("/openapi/v3/"))
        if document is None:
            raise NotFoundError.path()
        headers = {}
        if request.query_params.get("hash"):
            headers["cache-control"] = "public, immutable"
        return Response(document, headers=headers, media_type=_JSON)


def _health(name: str) -> str:
    """What a server that answers at all can say of itself, check by check."""
    return f"[+]ping ok\n[+]log ok\n{name} check passed\n"


def _context(request: Request, query: Query, user: User) -> RequestContext:
    values = [value for value in query.all("dryRun") if value]
    errors = dry_run_errors(values)
    manager = query.get("fieldManager")
    if len(manager) > _MAX_MANAGER:
        errors.append(too_long("fieldManager", _MAX_MANAGER))
    elif not manager.isprintable():
        errors.append(invalid("fieldManager", manager, "should only contain printable characters"))
    if errors:
        kind = _OPTIONS.get(request.method, "PatchOptions")
        raise InvalidError.on("meta.k8s.io", kind, "", errors)
    return RequestContext(
        user=user,
        user_agent=request.headers.get("user-agent", ""),
        dry_run="All" in values,
        field_manager=manager,
        field_validation=query.get("fieldValidation"),
    )


async def _deny(send: Send, error: ApiError) -> None:
    """Answer a WebSocket request that was not accepted with a Status."""
    body = encode_json(error.to_status()) + b"\n"
    headers = [(b"content-type", _JSON.encode()), (b"content-length", str(len(body)).encode())]
    with suppress(RuntimeError):  # it had been accepted: the connection just ends
        await send({"type": "websocket.http.response.start", "status": error.http_code, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": body})


def status_response(error: ApiError) -> Response:
    """The HTTP answer of an error."""
    headers = {}
    if error.retry_after_seconds is not None:
        headers["retry-after"] = str(error.retry_after_seconds)
    return json_response(error.to_status(), error.http_code, headers)
