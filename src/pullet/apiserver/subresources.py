"""Subresources with a life of their own: binding, eviction, scale, tokens, and what goes to a node."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from pullet.apiserver.admission_chain import AdmissionChain
from pullet.apiserver.admission_request import AdmissionRequest, Operation
from pullet.apiserver.authorization import node_of
from pullet.apiserver.decoding import SchemaDecoder, parse_body
from pullet.apiserver.evictions import Evictions
from pullet.apiserver.json_answers import JsonResponse, json_response
from pullet.apiserver.node_client import NodeRefusedError, NodeUnreachableError
from pullet.apiserver.node_proxy import NodeProxy
from pullet.apiserver.node_restriction import restrict_token
from pullet.apiserver.patching import apply_patch, parse_patch, patch_type_of
from pullet.apiserver.reading import Reader
from pullet.apiserver.representation import accepted_form
from pullet.apiserver.request_context import RequestContext
from pullet.apiserver.rest import RestHandler, check_kind
from pullet.apiserver.routing import RequestInfo
from pullet.apiserver.scaling import SCALE, SCALE_VERSION, scale_of, scale_paths, set_scale
from pullet.apiserver.schemas import Schemas
from pullet.apiserver.service_account_tokens import ISSUER, ServiceAccountTokens
from pullet.apiserver.settings import ApiServerSettings
from pullet.apiserver.spdy_proxy import serve_port_forward_socket, spdy_response
from pullet.apiserver.stream_proxy import chosen_protocol, proxy_channels
from pullet.apiserver.tables import table_of
from pullet.apiserver.views import view_of
from pullet.apiserver.writing import Writer
from pullet.base.jsonvalue import JsonObject
from pullet.kit.clock import Clock
from pullet.kube import scheme
from pullet.kube.field_error import invalid, required
from pullet.kube.meta import format_time, is_deleting, uid_of
from pullet.kube.status import BadRequestError, ConflictError, InternalApiError, InvalidError, MethodNotAllowedError

_MIN_TOKEN_SECONDS = 600
_CREATED: JsonObject = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


class Subresources:
    """Answers requests to subresources other than status."""

    def __init__(
        self,
        *,
        rest: RestHandler,
        admission: AdmissionChain,
        evictions: Evictions,
        nodes: NodeProxy,
        reader: Reader,
        writer: Writer,
        tokens: ServiceAccountTokens,
        schemas: Schemas,
        clock: Clock,
        settings: ApiServerSettings,
    ) -> None:
        self._rest = rest
        self._admission = admission
        self._evictions = evictions
        self._nodes = nodes
        self._reader = reader
        self._writer = writer
        self._tokens = tokens
        self._schemas = schemas
        self._decoder = SchemaDecoder(schemas)
        self._clock = clock
        self._max_token_seconds = settings.service_account_token_max_seconds

    async def answer(self, request: Request, info: RequestInfo, context: RequestContext) -> Response:
        """The response to one request."""
        match (info.resource.plural, info.subresource_name):
            case ("pods", "binding"):
                return await self._bind(request, info, context)
            case ("pods", "eviction"):
                return await self._evict(request, info, context)
            case ("pods", "ephemeralcontainers" | "resize"):
                return await self._rest.answer(request, info, context)
            case ("pods", "log"):
                return await self._nodes.logs(info)
            case ("pods", "exec" | "attach" | "portforward"):
                await self._admit_stream(info, context)
                return await spdy_response(request, info, self._nodes.stream_target(info))
            case (_, "scale"):
                return await self._scale(request, info, context)
            case ("namespaces", "finalize"):
                return await self._finalize(request, info, context)
            case ("serviceaccounts", "token"):
                return await self._token(request, info, context)
            case _:
                raise MethodNotAllowedError.on(info.resource, info.verb)

    async def _admit_stream(self, info: RequestInfo, context: RequestContext) -> None:
        options = _stream_options(info)
        request = AdmissionRequest(
            Operation.CONNECT, info.resource, options, None, context, info.subresource_name,
            target=(info.namespace, info.name),
        )  # fmt: skip
        await self._admission.connect(request)

    async def websocket(
        self, scope: Scope, receive: Receive, send: Send, info: RequestInfo, context: RequestContext
    ) -> None:
        """Exec, attach and port-forward over a WebSocket.

        Raises:
            BadRequestError, NotFoundError, InternalApiError: before the WebSocket was accepted.
        """
        if info.subresource_name in ("portforward", "exec", "attach"):
            await self._admit_stream(info, context)
        if info.subresource_name == "portforward":
            await serve_port_forward_socket(scope, receive, send, info, self._nodes.stream_target(info))
            return
        if info.subresource_name not in ("exec", "attach"):
            raise BadRequestError("this path is no WebSocket")
        protocol = chosen_protocol(list(scope.get("subprotocols") or ()))
        if not protocol:
            raise BadRequestError("no channel protocol offered that is served here")
        target = self._nodes.stream_target(info)
        try:
            await proxy_channels(scope, receive, send, target, protocol)
        except NodeUnreachableError as error:
            raise InternalApiError(f"error dialing backend: {error}") from error
        except NodeRefusedError as error:
            raise InternalApiError(str(error)) from error

    async def _scale(self, request: Request, info: RequestInfo, context: RequestContext) -> Response:
        paths = scale_paths(info.resource)
        if info.verb == "get":
            shown = view_of(info.resource, self._reader.get(info.resource, info.namespace, info.name).obj)
            return json_response(self._shown(scale_of(shown, paths), request, info))
        raw = await self._rest.read_body(request)
        content_type = request.headers.get("content-type", "")
        kind = patch_type_of(content_type) if info.verb == "patch" else None
        body: Any = parse_patch(kind, raw) if kind else parse_body(raw, content_type, self._schemas)

        def change(workload: JsonObject) -> JsonObject:
            value = apply_patch(kind, scale_of(workload, paths), body, SCALE, self._schemas) if kind else body
            check_kind(value, SCALE_VERSION, "Scale")
            decoded = self._decoder.decode(value, "autoscaling", "v1", "Scale")
            return set_scale(workload, decoded.obj, paths)

        record = await self._writer.update(
            info.resource, context, info.namespace, info.name, change, subresource="scale"
        )
        return json_response(scale_of(record.obj, paths))

    def _shown(self, scale: JsonObject, request: Request, info: RequestInfo) -> JsonObject:
        form = accepted_form(request.headers.get("accept", ""))
        if form.kind != "Table":
            return scale
        return table_of(
            SCALE,
            [scale],
            now=self._clock.now(),
            metadata={"resourceVersion": scale["metadata"]["resourceVersion"]},
            include_object=info.query.get("includeObject") or "Metadata",
            api_version=form.api_version,
        )

    async def _body(
        self, request: Request, info: RequestInfo, context: RequestContext, kind: str, *versions: str
    ) -> JsonObject:
        """A body of a kind that is not the resource's own."""
        raw = await self._rest.read_body(request)
        value: Any = parse_body(raw, request.headers.get("content-type", ""), self._schemas) if raw.strip() else {}
        if not isinstance(value, dict):
            raise BadRequestError(f"the body must be a {kind}")
        given = value.get("apiVersion") or versions[0]
        check_kind(value, given if given in versions else versions[0], kind)
        group, _, version = versions[0].rpartition("/")
        decoded = self._decoder.decode(value, group, version, kind)
        context.warnings += decoded.enforce(info.query.get("fieldValidation") or "Warn", kind, versions[0])
        return decoded.obj

    async def _bind(self, request: Request, info: RequestInfo, context: RequestContext) -> Response:
        binding = await self._body(request, info, context, "Binding", "v1")
        target = binding.get("target") or {}
        if not target.get("name"):
            raise InvalidError.on("", "Binding", info.name, [required("target.name")])
        if target.get("kind") not in (None, "", "Node"):
            raise InvalidError.on(
                "", "Binding", info.name, [invalid("target.kind", target["kind"], "must be empty or 'Node'")]
            )
        wanted = (binding.get("metadata") or {}).get("uid")
        now = format_time(self._clock.now())

        def change(pod: JsonObject) -> JsonObject:
            if wanted and uid_of(pod) != wanted:
                raise ConflictError.on(
                    scheme.PODS,
                    info.name,
                    f"Precondition failed: UID in precondition: {wanted}, UID in object meta: {uid_of(pod)}",
                )
            if is_deleting(pod):
                raise ConflictError.on(
                    scheme.PODS, info.name, f"pod {info.name} is being deleted, cannot be assigned to a host"
                )
            if pod["spec"].get("nodeName"):
                raise ConflictError.on(
                    scheme.PODS, info.name, f'pod {info.name} is already assigned to node "{pod["spec"]["nodeName"]}"'
                )
            pod["spec"]["nodeName"] = target["name"]
            conditions = [item for item in pod["status"].get("conditions") or [] if item.get("type") != "PodScheduled"]
            conditions.append(
                {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": now}
            )
            pod["status"]["conditions"] = conditions
            return pod

        await self._writer.update(scheme.PODS, context, info.namespace, info.name, change, subresource="binding")
        return json_response(_CREATED, 201)

    async def _evict(self, request: Request, info: RequestInfo, context: RequestContext) -> Response:
        eviction = await self._body(request, info, context, "Eviction", "policy/v1", "policy/v1beta1")
        await self._evictions.evict(context, info.namespace, info.name, eviction)
        return json_response(_CREATED, 201)

    async def _finalize(self, request: Request, info: RequestInfo, context: RequestContext) -> Response:
        wanted = await self._rest.decode(request, info, context)

        def change(namespace: JsonObject) -> JsonObject:
            namespace.setdefault("spec", {})["finalizers"] = (wanted.get("spec") or {}).get("finalizers") or []
            version = (wanted.get("metadata") or {}).get("resourceVersion")
            if version:
                namespace["metadata"]["resourceVersion"] = version
            return namespace

        record = await self._writer.update(scheme.NAMESPACES, context, "", info.name, change, subresource="finalize")
        return JsonResponse([record.encoded])

    async def _token(self, request: Request, info: RequestInfo, context: RequestContext) -> Response:
        ask = await self._body(request, info, context, "TokenRequest", "authentication.k8s.io/v1")
        account = self._reader.get(scheme.SERVICEACCOUNTS, info.namespace, info.name)
        spec = ask.setdefault("spec", {})
        seconds = spec.get("expirationSeconds", 3600)
        if seconds < _MIN_TOKEN_SECONDS:
            raise InvalidError.on(
                "authentication.k8s.io", "TokenRequest", "",
                [invalid("spec.expirationSeconds", seconds, "may not specify a duration less than 10 minutes")],
            )  # fmt: skip
        seconds = min(seconds, self._max_token_seconds)
        pod = self._bound_pod(spec.get("boundObjectRef"), info)
        node = node_of(context.user)
        if node:
            restrict_token(node, info.name, spec.get("boundObjectRef"), pod)
        audiences = list(spec.get("audiences") or ()) or [ISSUER]
        token, expires_at = self._tokens.issue(account.obj, audiences=audiences, seconds=seconds, bound_pod=pod)
        spec |= {"audiences": audiences, "expirationSeconds": seconds}
        spec.setdefault("boundObjectRef", None)
        ask["metadata"] = {
            "name": info.name,
            "namespace": info.namespace,
            "creationTimestamp": format_time(self._clock.now()),
        }
        ask["status"] = {"token": token, "expirationTimestamp": format_time(expires_at)}
        return json_response(ask, 201)

    def _bound_pod(self, reference: JsonObject | None, info: RequestInfo) -> JsonObject | None:
        if not reference:
            return None
        if reference.get("kind") != "Pod":
            raise BadRequestError(
                f"cannot bind token for serviceaccount to object of kind {reference.get('kind')}: only pods"
            )
        name = reference.get("name") or ""
        record = self._reader.get(scheme.PODS, info.namespace, name)
        wanted = reference.get("uid")
        if wanted and wanted != uid_of(record.obj):
            raise ConflictError.on(
                scheme.PODS,
                name,
                f"the UID in the bound object reference ({wanted}) does not match the UID in record. "
                "The object might have been deleted and then recreated",
            )
        account = (record.obj.get("spec") or {}).get("serviceAccountName")
        if account != info.name:
            raise BadRequestError(
                f'cannot bind token for serviceaccount "{info.name}" to pod running with different serviceaccount name.'
            )
        return record.obj


def _stream_options(info: RequestInfo) -> JsonObject:
    """PodExecOptions, PodAttachOptions or PodPortForwardOptions of the query."""
    assert info.subresource is not None
    options: JsonObject = {"kind": info.subresource.kind, "apiVersion": "v1"}
    if info.subresource_name == "portforward":
        ports = [int(text) for text in info.query.all("ports") if text.isdecimal()]
        return options | ({"ports": ports} if ports else {})
    options |= {name: True for name in ("stdin", "stdout", "stderr", "tty") if info.query.flag(name)}
    if info.query.get("container"):
        options["container"] = info.query.get("container")
    if info.query.all("command"):
        options["command"] = info.query.all("command")
    return options
