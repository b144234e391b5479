"""ServiceAccount tokens: JSON Web Tokens bound to an account and, if asked, to a pod.

A token is good while its signature holds, its time has not run out, and the account and pod it names still exist with
the same uids. Source: kubernetes pkg/serviceaccount/{claims,jwt}.go, RFC 7519.
"""

from __future__ import annotations

import base64
import hashlib
import uuid
from datetime import datetime, timedelta
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from pullet.apiserver.records import encode_json
from pullet.apiserver.request_context import AUTHENTICATED_GROUP, User
from pullet.apiserver.storage import Storage
from pullet.base.jsonvalue import JsonObject
from pullet.kit.clock import Clock
from pullet.kube import scheme
from pullet.kube.meta import name_of, namespace_of, uid_of

ISSUER = "https://kubernetes.default.svc.cluster.local"
ACCOUNT_PREFIX = "system:serviceaccount:"
_SIZE = 32


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class ServiceAccountTokens:
    """Issues and checks tokens with one key."""

    def __init__(self, *, key: ec.EllipticCurvePrivateKey, storage: Storage, clock: Clock) -> None:
        self._key = key
        self._storage = storage
        self._clock = clock
        public = key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self._key_id = _encode(hashlib.sha256(public).digest())

    def issue(
        self, account: JsonObject, *, audiences: list[str], seconds: int, bound_pod: JsonObject | None
    ) -> tuple[str, datetime]:
        """A token and when it runs out."""
        now = self._clock.now()
        expires_at = now + timedelta(seconds=seconds)
        namespace, name = namespace_of(account), name_of(account)
        about: JsonObject = {
            "namespace": namespace,
            "serviceaccount": {"name": name, "uid": uid_of(account)},
        }
        if bound_pod is not None:
            about["pod"] = {"name": name_of(bound_pod), "uid": uid_of(bound_pod)}
            node = (bound_pod.get("spec") or {}).get("nodeName")
            if node:
                about["node"] = {"name": node}
        claims = {
            "aud": audiences or [ISSUER],
            "exp": int(expires_at.timestamp()),
            "iat": int(now.timestamp()),
            "iss": ISSUER,
            "jti": str(uuid.uuid4()),
            "kubernetes.io": about,
            "nbf": int(now.timestamp()),
            "sub": f"{ACCOUNT_PREFIX}{namespace}:{name}",
        }
        header = {"alg": "ES256", "kid": self._key_id}
        signed = f"{_encode(encode_json(header))}.{_encode(encode_json(claims))}"
        r, s = decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_encode(r.to_bytes(_SIZE, 'big') + s.to_bytes(_SIZE, 'big'))}", expires_at

    def check(self, token: str, audiences: list[str] | None = None) -> tuple[User, list[str]] | None:
        """Who the token speaks for and to which of `audiences`, or None if it is not good."""
        claims = self._verified(token)
        if claims is None:
            return None
        now = self._clock.now().timestamp()
        if not claims.get("nbf", 0) - 60 <= now < claims.get("exp", 0) or claims.get("iss") != ISSUER:
            return None
        spoken_to = [audience for audience in claims.get("aud") or () if audience in (audiences or [ISSUER])]
        about = claims.get("kubernetes.io") or {}
        if not spoken_to or not self._still_there(about):
            return None
        return _user(claims, about), spoken_to

    def _verified(self, token: str) -> dict[str, Any] | None:
        try:
            signed, _, signature = token.rpartition(".")
            head, _, payload = signed.partition(".")
            header = msgspec.json.decode(_decode(head))
            raw = _decode(signature)
            if header.get("alg") != "ES256" or header.get("kid") != self._key_id or len(raw) != 2 * _SIZE:
                return None
            der = encode_dss_signature(int.from_bytes(raw[:_SIZE], "big"), int.from_bytes(raw[_SIZE:], "big"))
            self._key.public_key().verify(der, signed.encode(), ec.ECDSA(hashes.SHA256()))
            claims = msgspec.json.decode(_decode(payload))
        except (ValueError, AttributeError, msgspec.DecodeError, InvalidSignature):
            return None
        return claims if isinstance(claims, dict) else None

    def _still_there(self, about: JsonObject) -> bool:
        namespace = about.get("namespace") or ""
        for resource, claim in ((scheme.SERVICEACCOUNTS, "serviceaccount"), (scheme.PODS, "pod")):
            wanted = about.get(claim)
            if wanted is None:
                if claim == "serviceaccount":
                    return False
                continue
            record = self._storage.get(resource.storage_key, namespace, wanted.get("name") or "")
            if record is None or uid_of(record.obj) != wanted.get("uid"):
                return False
        return True


def _user(claims: JsonObject, about: JsonObject) -> User:
    namespace = about["namespace"]
    extra: list[tuple[str, tuple[str, ...]]] = [
        ("authentication.kubernetes.io/credential-id", (f"JTI={claims.get('jti')}",))
    ]
    if "pod" in about:
        extra.append(("authentication.kubernetes.io/pod-name", (about["pod"]["name"],)))
        extra.append(("authentication.kubernetes.io/pod-uid", (about["pod"]["uid"],)))
    if "node" in about:
        extra.append(("authentication.kubernetes.io/node-name", (about["node"]["name"],)))
    return User(
        name=claims["sub"],
        uid=about["serviceaccount"]["uid"],
        groups=("system:serviceaccounts", f"system:serviceaccounts:{namespace}", AUTHENTICATED_GROUP),
        extra=tuple(extra),
    )
