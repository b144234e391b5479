"""Tokens of service accounts bound to a pod, renewed before they expire.

Source: kubernetes pkg/kubelet/token/token_manager.go.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from pullet.base.values import Value
from pullet.kit.clock import Clock
from pullet.kube.meta import parse_time
from pullet.kube.pod import PodView
from pullet.kube.scheme import SERVICEACCOUNTS
from pullet.kube.status import ApiError
from pullet.kubeclient.client import ApiClient
from pullet.node.container_errors import ContainerConfigError

MAX_AGE = timedelta(hours=24)
RENEW_AT = 0.8  # of the lifetime


class _Token(Value):
    value: str
    issued_at: datetime
    expires_at: datetime


class ServiceAccountTokens:
    """Asks for tokens (TokenRequest) and keeps them while they are fresh."""

    def __init__(self, *, api: ApiClient, clock: Clock) -> None:
        self._api, self._clock = api, clock
        self._tokens: dict[tuple[str, str, str, int], _Token] = {}

    async def token(self, pod: PodView, *, audience: str, expiration_seconds: int) -> str:
        """A token for the pod's service account that is good for a while yet.

        Raises:
            ContainerConfigError: none was given, and the one at hand (if any) has expired.
        """
        account = pod.spec.service_account_name or "default"
        key = (pod.uid, account, audience, expiration_seconds)
        known = self._tokens.get(key)
        now = self._clock.now()
        if known is not None and not self._is_due(known, now):
            return known.value
        try:
            fresh = await self._request(pod, account, audience, expiration_seconds, now)
        except ApiError as error:
            if known is not None and now < known.expires_at:
                return known.value
            raise ContainerConfigError(f"failed to fetch token: {error}") from error
        self._tokens[key] = fresh
        return fresh.value

    def forget(self, pod_uid: str) -> None:
        """The pod is gone."""
        for key in [key for key in self._tokens if key[0] == pod_uid]:
            del self._tokens[key]

    @staticmethod
    def _is_due(token: _Token, now: datetime) -> bool:
        lifetime = token.expires_at - token.issued_at
        return now - token.issued_at > min(lifetime * RENEW_AT, MAX_AGE)

    async def _request(
        self, pod: PodView, account: str, audience: str, expiration_seconds: int, now: datetime
    ) -> _Token:
        answer = await self._api.create(
            SERVICEACCOUNTS,
            pod.namespace,
            {
                "apiVersion": "authentication.k8s.io/v1",
                "kind": "TokenRequest",
                "spec": {
                    "audiences": [audience] if audience else [],
                    "expirationSeconds": expiration_seconds,
                    "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": pod.name, "uid": pod.uid},
                },
            },
            subresource="token",
            name=account,
        )
        status = answer.get("status") or {}
        expires_at = parse_time(status.get("expirationTimestamp")) or now + timedelta(seconds=expiration_seconds)
        return _Token(str(status.get("token") or ""), now, expires_at)
