"""Who asks: a client certificate (CN is the user, O the groups), else a bearer token; nobody else.

Source: apiserver pkg/authentication/request/{x509,bearertoken}.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Mapping, Sequence
from typing import Any

from pullet.apiserver.request_context import ANONYMOUS, AUTHENTICATED_GROUP, User
from pullet.apiserver.service_account_tokens import ServiceAccountTokens
from pullet.base.redact import Secret
from pullet.base.values import Value
from pullet.kube.status import UnauthorizedError

PEER_CERTIFICATE = "peer_certificate"  # the key of a PeerCertificate in an ASGI scope's state
OPEN_PATHS = frozenset({"/healthz", "/livez", "/readyz", "/version"})


class PeerCertificate(Value):
    """The client certificate of a connection: its subject as `ssl` spells subjects, the SHA-256 of its DER in hex."""

    subject: Sequence[Sequence[tuple[str, str]]]
    fingerprint: str


class Authenticator:
    """Turns certificate and headers into a user."""

    def __init__(self, *, tokens: ServiceAccountTokens, static_tokens: Sequence[tuple[Secret, User]] = ()) -> None:
        self._tokens = tokens
        self._static = static_tokens

    def authenticate(self, scope: Mapping[str, Any], path: str) -> User:
        """The user of a request.

        Raises:
            UnauthorizedError: no credential, or one that is not good.
        """
        header = next((value for name, value in scope["headers"] if name == b"authorization"), b"").decode("latin-1")
        if not header:
            header = _websocket_token(scope)
        if header:
            kind, _, token = header.partition(" ")
            user = self._bearer(token.strip()) if kind.lower() == "bearer" else None
            if user is None:
                raise UnauthorizedError
            return user
        certificate: PeerCertificate | None = scope.get("state", {}).get(PEER_CERTIFICATE)
        if certificate is not None:
            return certificate_user(certificate)
        if path.rstrip("/") in OPEN_PATHS or path.startswith(("/livez/", "/readyz/", "/healthz/")):
            return ANONYMOUS
        raise UnauthorizedError

    def _bearer(self, token: str) -> User | None:
        for secret, user in self._static:
            if hmac.compare_digest(secret.reveal().encode(), token.encode()):
                return user
        checked = self._tokens.check(token)
        return checked[0] if checked else None


def _websocket_token(scope: Mapping[str, Any]) -> str:
    """A token that a browser hides among WebSocket subprotocols."""
    for protocol in scope.get("subprotocols") or ():
        prefix = "base64url.bearer.authorization.k8s.io."
        if protocol.startswith(prefix):
            text = protocol.removeprefix(prefix)
            try:
                return "Bearer " + base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
            except ValueError:
                return ""
    return ""


def certificate_user(certificate: PeerCertificate) -> User:
    """The user a certificate's subject names."""
    facts = [pair for group in certificate.subject for pair in group]
    name = next((value for key, value in facts if key == "commonName"), "")
    groups = tuple(value for key, value in facts if key == "organizationName")
    credential = ("authentication.kubernetes.io/credential-id", (f"X509SHA256={certificate.fingerprint}",))
    return User(name=name, groups=(*groups, AUTHENTICATED_GROUP), extra=(credential,))
