"""What the files of configMap, secret, downwardAPI and projected volumes hold.

Source: kubernetes pkg/volume/{configmap,secret,downwardapi,projected}.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from pullet.kube.pod import PodView
from pullet.kube.volume import DownwardAPIFileView, KeyToPathView, ProjectionView, VolumeView
from pullet.node.container_errors import ContainerConfigError
from pullet.node.downward import NodeFacts, field_value, resource_value
from pullet.node.object_reader import MissingObjectError, ObjectReader
from pullet.node.payload_volume import PayloadFile
from pullet.node.service_account_tokens import ServiceAccountTokens

TOKEN_MODE = 0o600


class PayloadSources:
    """Gathers the payload of a volume. Errors are ContainerConfigError with the kubelet's text."""

    def __init__(self, *, objects: ObjectReader, tokens: ServiceAccountTokens, node: Callable[[], NodeFacts]) -> None:
        self._objects, self._tokens, self._node = objects, tokens, node

    async def payload(self, pod: PodView, volume: VolumeView, pod_ips: tuple[str, ...]) -> dict[str, PayloadFile]:
        """Files by path relative to the volume."""
        if volume.config_map is not None:
            source = volume.config_map
            data = await self._data("configmap", pod, source.name, is_optional=source.optional)
            return _select(data, source.items, source.default_mode, "configmap")
        if volume.secret is not None:
            secret = volume.secret
            data = await self._data("secret", pod, secret.secret_name, is_optional=secret.optional)
            return _select(data, secret.items, secret.default_mode, "secret")
        if volume.downward_api is not None:
            down = volume.downward_api
            return self._downward(pod, down.items, down.default_mode, pod_ips)
        files: dict[str, PayloadFile] = {}
        if volume.projected is not None:
            for projection in volume.projected.sources:
                files.update(await self._projection(pod, projection, volume.projected.default_mode, pod_ips))
        return files

    async def _projection(
        self, pod: PodView, source: ProjectionView, mode: int, pod_ips: tuple[str, ...]
    ) -> dict[str, PayloadFile]:
        if source.service_account_token is not None:
            wanted = source.service_account_token
            token = await self._tokens.token(
                pod, audience=wanted.audience, expiration_seconds=wanted.expiration_seconds
            )
            # a process that is not root must be able to read its own token
            is_shared = pod.spec.security_context.fs_group is not None or _runs_as_user(pod)
            return {wanted.path: PayloadFile(token.encode(), mode if is_shared else TOKEN_MODE)}
        if source.downward_api is not None:
            return self._downward(pod, source.downward_api.items, mode, pod_ips)
        part = source.secret or source.config_map
        if part is None:
            return {}
        word = "secret" if source.secret is not None else "configmap"
        data = await self._data(word, pod, part.name, is_optional=part.optional)
        return _select(data, part.items, mode, word, is_optional=part.optional)

    async def _data(self, word: str, pod: PodView, name: str, *, is_optional: bool) -> Mapping[str, bytes]:
        read = self._objects.secret if word == "secret" else self._objects.config_map
        try:
            return await read(pod.namespace, name)
        except MissingObjectError:
            if is_optional:
                return {}
            raise

    def _downward(
        self, pod: PodView, items: Sequence[DownwardAPIFileView], mode: int, pod_ips: tuple[str, ...]
    ) -> dict[str, PayloadFile]:
        files = {}
        for item in items:
            if item.field_ref is not None:
                text = field_value(pod, item.field_ref.field_path, pod_ips=pod_ips, node=self._node())
            elif item.resource_field_ref is not None:
                text = resource_value(pod, None, item.resource_field_ref, self._node())
            else:
                text = ""
            files[item.path] = PayloadFile(text.encode(), mode if item.mode is None else item.mode)
        return files


def _runs_as_user(pod: PodView) -> bool:
    users = [each.security_context.run_as_user for each in pod.all_containers()]
    return pod.spec.security_context.run_as_user is not None or any(user is not None for user in users)


def _select(
    data: Mapping[str, bytes], items: Sequence[KeyToPathView], mode: int, word: str, *, is_optional: bool = False
) -> dict[str, PayloadFile]:
    if not items:
        return {key: PayloadFile(value, mode) for key, value in data.items()}
    files = {}
    for item in items:
        if item.key not in data:
            if is_optional or not data:
                continue
            raise ContainerConfigError(f"{word} references non-existent {word} key: {item.key}")
        files[item.path] = PayloadFile(data[item.key], mode if item.mode is None else item.mode)
    return files
