"""The service account of a pod, for exec credential providers that ask for its tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pullet.credentials.keyring import Keyring
from pullet.credentials.provider_plugin import ServiceAccountIdentity
from pullet.kube.meta import annotations_of, uid_of
from pullet.kube.pod import PodView
from pullet.kube.scheme import SERVICEACCOUNTS
from pullet.kube.secret import SecretView
from pullet.kube.status import ApiError
from pullet.kubeclient.client import ApiClient
from pullet.node.pull_manager import CredentialLookup
from pullet.node.service_account_tokens import ServiceAccountTokens
from pullet.policy.credential_match import TrackedCredential

PROVIDER_TOKEN_SECONDS = 600


class PodAccount:
    """A `PodServiceAccount` over the API."""

    def __init__(self, *, pod: PodView, api: ApiClient, tokens: ServiceAccountTokens) -> None:
        self._pod, self._api, self._tokens = pod, api, tokens

    async def identity(self) -> ServiceAccountIdentity | None:
        """The account, None when the pod has none or it cannot be read."""
        name = self._pod.spec.service_account_name
        if not name:
            return None
        try:
            account = await self._api.get(SERVICEACCOUNTS, self._pod.namespace, name)
        except ApiError:
            return None
        return ServiceAccountIdentity(
            namespace=self._pod.namespace, name=name, uid=uid_of(account), annotations=dict(annotations_of(account))
        )

    async def token(self, audience: str) -> str:
        """A token bound to the pod. Raises ContainerConfigError."""
        return await self._tokens.token(self._pod, audience=audience, expiration_seconds=PROVIDER_TOKEN_SECONDS)


def credential_source(
    keyring: Keyring, api: ApiClient, tokens: ServiceAccountTokens
) -> Callable[[PodView, Sequence[SecretView]], CredentialLookup]:
    """What looks up a pod's credentials in `keyring`: those in its secrets, then the node's, in its account's name."""

    def for_pod(pod: PodView, secrets: Sequence[SecretView]) -> CredentialLookup:
        account = PodAccount(pod=pod, api=api, tokens=tokens)

        async def lookup(repository: str) -> Sequence[TrackedCredential]:
            return await keyring.lookup(repository, pull_secrets=secrets, account=account)

        return lookup

    return for_pod
