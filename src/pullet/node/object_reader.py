"""The ConfigMaps and Secrets that pods refer to, read when needed."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

from pullet.base.jsonvalue import JsonObject
from pullet.kube.scheme import CONFIGMAPS, SECRETS, Resource
from pullet.kube.status import ApiError, NotFoundError
from pullet.kubeclient.client import ApiClient
from pullet.node.container_errors import ContainerConfigError


class MissingObjectError(ContainerConfigError):
    """The object is not there. The text is the kubelet's: `configmap "x" not found`."""


class ObjectReader:
    """Reads data maps; every read asks the API server, so pods see changes at their next sync."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api

    async def config_map(self, namespace: str, name: str) -> Mapping[str, bytes]:
        """`data` and `binaryData` as bytes by key.

        Raises:
            MissingObjectError: no such ConfigMap.
            ContainerConfigError: the API server refused or did not answer.
        """
        obj = await self._get(CONFIGMAPS, "configmap", namespace, name)
        plain = {key: str(value).encode() for key, value in (obj.get("data") or {}).items()}
        return plain | _decoded(obj.get("binaryData"), f"configmap {namespace}/{name}")

    async def secret(self, namespace: str, name: str) -> Mapping[str, bytes]:
        """`data` as bytes by key; errors as `config_map`."""
        obj = await self._get(SECRETS, "secret", namespace, name)
        return _decoded(obj.get("data"), f"secret {namespace}/{name}")

    async def secret_object(self, namespace: str, name: str) -> JsonObject:
        """The whole Secret; errors as `config_map`."""
        return await self._get(SECRETS, "secret", namespace, name)

    async def _get(self, resource: Resource, word: str, namespace: str, name: str) -> JsonObject:
        try:
            return await self._api.get(resource, namespace, name)
        except NotFoundError as error:
            raise MissingObjectError(f'{word} "{name}" not found') from error
        except ApiError as error:
            raise ContainerConfigError(f"failed to fetch {word} {namespace}/{name}: {error}") from error


def _decoded(data: Mapping[str, str] | None, what: str) -> dict[str, bytes]:
    try:
        return {key: base64.b64decode(value) for key, value in (data or {}).items()}
    except (binascii.Error, ValueError, TypeError) as error:
        raise ContainerConfigError(f"{what}: a value is not base64") from error
