"""The service account of a pod, for credential providers that act in its name."""

from __future__ import annotations

from pullet.credentials.provider_plugin import ServiceAccountIdentity
from pullet.kube.pod import PodView
from pullet.kube.scheme import SERVICEACCOUNTS
from pullet.kube.status import ApiError
from pullet.kubeclient.client import ApiClient
from pullet.node.container_errors import ContainerConfigError
from pullet.node.service_account_tokens import ServiceAccountTokens

EXPIRATION_SECONDS = 3600  # what the API server gives when nothing is asked for


class BoundServiceAccount:
    """`credentials.provider_plugin.PodServiceAccount` for one pod; tokens are bound to the pod."""

    def __init__(self, pod: PodView, *, api: ApiClient, tokens: ServiceAccountTokens) -> None:
        self._pod, self._api, self._tokens = pod, api, tokens

    async def identity(self) -> ServiceAccountIdentity | None:
        """The account the pod names; None when it names none.

        Raises:
            ContainerConfigError: the account cannot be read.
        """
        name = self._pod.spec.service_account_name
        if not name:
            return None
        try:
            account = await self._api.get(SERVICEACCOUNTS, self._pod.namespace, name)
        except ApiError as error:
            raise ContainerConfigError(
                f"failed to fetch serviceaccount {self._pod.namespace}/{name}: {error}"
            ) from error
        metadata = account["metadata"]
        return ServiceAccountIdentity(
            namespace=self._pod.namespace,
            name=name,
            uid=str(metadata.get("uid", "")),
            annotations=metadata.get("annotations") or {},
        )

    async def token(self, audience: str) -> str:
        """A token for `audience`. Raises ContainerConfigError."""
        return await self._tokens.token(self._pod, audience=audience, expiration_seconds=EXPIRATION_SECONDS)
