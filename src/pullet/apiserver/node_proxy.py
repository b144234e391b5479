"""What only a pod's node can answer: logs, exec, attach, port-forward, handed through from node.server.

Source: kubernetes pkg/registry/core/pod/{strategy,rest}, pkg/registry/core/node/strategy.go (NodeAddress, port).
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from urllib.parse import quote as quote_url
from urllib.parse import urlencode

from starlette.responses import Response, StreamingResponse

from pullet.apiserver.node_client import NodeAddress, NodeUnreachableError, node_get
from pullet.apiserver.reading import Reader
from pullet.apiserver.routing import Query, RequestInfo
from pullet.base.jsonvalue import JsonObject
from pullet.base.values import Value
from pullet.kube import scheme
from pullet.kube.field_error import FieldError, forbidden, invalid
from pullet.kube.meta import name_of, namespace_of, parse_time
from pullet.kube.status import BadRequestError, InternalApiError, InvalidError, NotFoundError

_ADDRESS_ORDER = ("InternalIP", "Hostname", "InternalDNS", "ExternalDNS", "ExternalIP")
_LOG_PARAMETERS = ("follow", "tailLines", "sinceSeconds", "sinceTime", "timestamps", "previous", "limitBytes", "stream")


class StreamTarget(Value):
    """A node and the path there that serves one exec, attach or port-forward."""

    address: NodeAddress
    target: str


class NodeProxy:
    """Finds the node of a pod and speaks to its server. `tls` gives the context that nodes are trusted by."""

    def __init__(self, *, reader: Reader, tls: Callable[[], ssl.SSLContext | None]) -> None:
        self._reader = reader
        self._tls = tls

    async def logs(self, info: RequestInfo) -> Response:
        """The log of a container, as a stream.

        Raises:
            BadRequestError, InvalidError, NotFoundError, InternalApiError.
        """
        pod = self._reader.get(scheme.PODS, info.namespace, info.name).obj
        _check_log_options(info.query)
        container = choose_container(pod, info.query.get("container"))
        address = self._address(pod)
        if address is None:
            return Response(b"", media_type="text/plain")
        given = {name: info.query.get(name) for name in _LOG_PARAMETERS if info.query.get(name)}
        path = _path("containerLogs", pod, container)
        try:
            answer = await node_get(address, f"{path}?{urlencode(given)}" if given else path)
        except NodeUnreachableError as error:
            raise InternalApiError(f'Get "{address.url}{path}": {error}') from error
        if answer.status >= 300:
            text = (await answer.text()).strip()
            match answer.status:
                case 400:
                    raise BadRequestError(text)
                case 404:
                    raise NotFoundError.about(scheme.PODS, info.name, text)
                case _:
                    raise InternalApiError.because(text)
        return StreamingResponse(answer.chunks(), media_type="text/plain")

    def stream_target(self, info: RequestInfo) -> StreamTarget:
        """Where exec, attach or port-forward of a pod is served.

        Raises:
            BadRequestError, NotFoundError.
        """
        pod = self._reader.get(scheme.PODS, info.namespace, info.name).obj
        kind, query = info.subresource_name, info.query
        pairs: list[tuple[str, str]] = []
        if kind == "portforward":
            path = _path("portForward", pod)
        else:
            container = choose_container(pod, query.get("container"))
            path = _path(kind, pod, container)
            phase = (pod.get("status") or {}).get("phase")
            if phase in ("Succeeded", "Failed"):
                verb = "exec into" if kind == "exec" else "attach to"
                raise BadRequestError(f"cannot {verb} a container in a completed pod; current phase is {phase}")
            if kind == "exec":
                commands = query.all("command")
                if not commands:
                    raise BadRequestError("you must specify at least 1 command for the container")
                pairs += [("command", command) for command in commands]
            for ours, theirs in (("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty")):
                if query.flag(ours):
                    pairs.append((theirs, "1"))
        address = self._address(pod)
        if address is None:
            raise BadRequestError(f"pod {info.name} does not have a host assigned")
        return StreamTarget(address, f"{path}?{urlencode(pairs)}" if pairs else path)

    def _address(self, pod: JsonObject) -> NodeAddress | None:
        node_name = (pod.get("spec") or {}).get("nodeName")
        if not node_name:
            return None
        status = self._reader.get(scheme.NODES, "", node_name).obj.get("status") or {}
        addresses = {item.get("type"): item.get("address") for item in status.get("addresses") or ()}
        host = next((addresses[kind] for kind in _ADDRESS_ORDER if addresses.get(kind)), None)
        port = ((status.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}).get("Port")
        if not host or not port:
            raise InternalApiError(f'node "{node_name}" has not said where its server listens')
        return NodeAddress(host, int(port), self._tls())


def _path(kind: str, pod: JsonObject, container: str = "") -> str:
    parts = [kind, namespace_of(pod), name_of(pod)]
    if container:
        parts.append(container)
    return "/" + "/".join(quote_url(part, safe="") for part in parts)


def choose_container(pod: JsonObject, asked: str) -> str:
    """The container asked for, or the only one.

    Raises:
        BadRequestError: no such container, or it must be named.
    """
    spec = pod.get("spec") or {}
    names = [container["name"] for container in spec.get("containers") or ()]
    inits = [container["name"] for container in spec.get("initContainers") or ()]
    ephemeral = [container["name"] for container in spec.get("ephemeralContainers") or ()]
    if asked:
        if asked in (*names, *inits, *ephemeral):
            return asked
        raise BadRequestError(f"container {asked} is not valid for pod {name_of(pod)}")
    if len(names) == 1 and not inits and not ephemeral:
        return str(names[0])
    marked = (pod["metadata"].get("annotations") or {}).get("kubectl.kubernetes.io/default-container")
    if marked in names:
        return str(marked)
    if len(names) == 1:
        return str(names[0])
    text = f"a container name must be specified for pod {name_of(pod)}, choose one of: [{' '.join(names)}]"
    if inits:
        text += f" or one of the init containers: [{' '.join(inits)}]"
    if ephemeral:
        text += f" or one of the ephemeral containers: [{' '.join(ephemeral)}]"
    raise BadRequestError(text)


def _check_log_options(query: Query) -> None:
    errors: list[FieldError] = []
    for name, least in (("tailLines", 0), ("limitBytes", 1), ("sinceSeconds", 1)):
        text = query.get(name)
        if not text:
            continue
        if not text.removeprefix("-").isdecimal() or len(text) > 18:
            raise BadRequestError(f'strconv.ParseInt: parsing "{text}": invalid syntax')
        if int(text) < least:
            detail = "must be greater than or equal to 0" if least == 0 else "must be greater than 0"
            errors.append(invalid(name, int(text), detail))
    if query.get("sinceTime"):
        if query.get("sinceSeconds"):
            errors.append(forbidden("", "at most one of `sinceTime` or `sinceSeconds` may be specified"))
        if parse_time(query.get("sinceTime")) is None:
            raise BadRequestError(f'parsing time "{query.get("sinceTime")}": not an RFC 3339 time')
    if errors:
        raise InvalidError.on("", "PodLogOptions", "", errors)
