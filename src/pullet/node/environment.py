"""The variables of a container: envFrom, env in order, `$(NAME)` expansion.

Source: kubernetes pkg/kubelet/kubelet_pods.go makeEnvironmentVariables, third_party/forked/golang/expansion.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from pullet.base.values import Value
from pullet.kube.container import ContainerView, EnvFromSourceView, EnvVarSourceView
from pullet.kube.pod import PodView
from pullet.node.container_errors import ContainerConfigError
from pullet.node.downward import NodeFacts, field_value, resource_value
from pullet.node.object_reader import MissingObjectError, ObjectReader


class ApiServerAddresses(Value, kw_only=True):
    """Where containers find the API server: those on the machine's network, and those with one of their own.

    An empty address: they cannot reach it.
    """

    on_host_network: str = ""
    on_pod_network: str = ""
    port: int = 6443

    def variables(self, pod: PodView) -> dict[str, str]:
        """What clients inside a cluster look for, as a Service `kubernetes` would give it."""
        host = self.on_host_network if pod.spec.host_network else self.on_pod_network
        if not host:
            return {}
        port, shown = str(self.port), f"[{host}]" if ":" in host else host
        url = f"tcp://{shown}:{port}"
        prefix = f"KUBERNETES_PORT_{port}_TCP"
        return {
            "KUBERNETES_SERVICE_HOST": host,
            "KUBERNETES_SERVICE_PORT": port,
            "KUBERNETES_SERVICE_PORT_HTTPS": port,
            "KUBERNETES_PORT": url,
            prefix: url,
            f"{prefix}_PROTO": "tcp",
            f"{prefix}_PORT": port,
            f"{prefix}_ADDR": host,
        }


_REFERENCE = re.compile(r"\$(\$|\(([^)]*)\))")


def expand(text: str, values: Mapping[str, str]) -> str:
    """`$(NAME)` becomes its value, `$$` a dollar; an unknown name stays as written."""

    def replacement(match: re.Match[str]) -> str:
        if match[1] == "$":
            return "$"
        return values.get(match[2], match[0])

    return _REFERENCE.sub(replacement, text)


def expand_strict(text: str, values: Mapping[str, str]) -> str:
    """As `expand`, for subPathExpr: an unknown name is an error.

    Raises:
        ContainerConfigError: names the missing variable.
    """
    for match in _REFERENCE.finditer(text):
        if match[1] != "$" and match[2] not in values:
            raise ContainerConfigError(f"missing value for {match[2]!r}")
    return expand(text, values)


class EnvironmentMaker:
    """Gathers what the variables refer to and puts them together; what the pod says overrides what it is given."""

    def __init__(self, *, objects: ObjectReader, node: Callable[[], NodeFacts], api_server: ApiServerAddresses) -> None:
        self._objects, self._node, self._api_server = objects, node, api_server

    async def make(self, pod: PodView, container: ContainerView, pod_ips: tuple[str, ...]) -> dict[str, str]:
        """The variables in order of first mention.

        Raises:
            ContainerConfigError: something they refer to is missing.
        """
        values = self._api_server.variables(pod)
        for source in container.env_from:
            values.update(await self._all_of(pod, source))
        declared: dict[str, str] = {}
        for variable in container.env:
            if variable.value_from is None:
                value: str | None = expand(variable.value, values | declared) if variable.value else ""
            else:
                value = await self._value_from(pod, container, variable.value_from, pod_ips)
            if value is not None:
                declared[variable.name] = value
        return values | declared

    async def _all_of(self, pod: PodView, source: EnvFromSourceView) -> dict[str, str]:
        reference = source.config_map_ref or source.secret_ref
        if reference is None:
            return {}
        read = self._objects.config_map if source.config_map_ref is not None else self._objects.secret
        try:
            data = await read(pod.namespace, reference.name)
        except MissingObjectError:
            if reference.optional:
                return {}
            raise
        return {f"{source.prefix}{key}": _text(value) for key, value in data.items()}

    async def _value_from(
        self, pod: PodView, container: ContainerView, source: EnvVarSourceView, pod_ips: tuple[str, ...]
    ) -> str | None:
        if source.field_ref is not None:
            return field_value(pod, source.field_ref.field_path, pod_ips=pod_ips, node=self._node())
        if source.resource_field_ref is not None:
            return resource_value(pod, container, source.resource_field_ref, self._node())
        selector = source.config_map_key_ref or source.secret_key_ref
        if selector is None:
            return ""
        is_map = source.config_map_key_ref is not None
        read = self._objects.config_map if is_map else self._objects.secret
        try:
            data = await read(pod.namespace, selector.name)
        except MissingObjectError:
            if selector.optional:
                return None
            raise
        if selector.key not in data:
            if selector.optional:
                return None
            word = "ConfigMap" if is_map else "Secret"
            raise ContainerConfigError(f"couldn't find key {selector.key} in {word} {pod.namespace}/{selector.name}")
        return _text(data[selector.key])


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")
