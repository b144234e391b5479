"""Exec credential providers: programs asked for a registry's credentials, with their answers cached.

    matchImages ──► cache (image, registry, global) ──► one exec per image at a time ──► answer checked ──► cache

A provider that fails is logged and contributes nothing; it never fails a pull by itself.
Source: kubernetes pkg/credentialprovider/plugin/plugin.go; kubelet-images spec 10.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Protocol

import msgspec

from pullet.base.decodable import decodable
from pullet.base.errors import PulletError
from pullet.base.jsonvalue import JsonObject, canonical_json
from pullet.base.redact import Secret
from pullet.base.values import Value
from pullet.credentials.provider_config import ProviderConfig
from pullet.cri.types import AuthConfig
from pullet.kit.clock import Clock
from pullet.kit.process import CommandMissingError, CommandTimeoutError, run_command
from pullet.kit.tasks import SingleFlight
from pullet.kube.duration import parse_go_duration
from pullet.policy.credential_match import (
    ServiceAccountSource,
    TrackedCredential,
    credential_hash,
    matches,
)

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 60.0
PURGE_SECONDS = 15 * 60.0
_CACHE_KEY_TYPES = ("Image", "Registry", "Global")


class ProviderAnswerError(PulletError):
    """A provider did not end well, or said something that is not an answer."""

    reason: ClassVar[str] = "CredentialProviderFailed"


class ServiceAccountIdentity(Value, kw_only=True):
    """The service account a pod runs as."""

    namespace: str
    name: str
    uid: str
    annotations: Mapping[str, str] = msgspec.field(default_factory=dict)


class PodServiceAccount(Protocol):
    """What a provider in service-account mode needs of the pod whose image is pulled."""

    async def identity(self) -> ServiceAccountIdentity | None:
        """The pod's service account, None when it has none."""
        ...

    async def token(self, audience: str) -> str:
        """A token for that audience, bound to the pod."""
        ...


class _AuthJSON(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    username: str = ""
    password: str = ""


class _ResponseJSON(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    kind: str
    api_version: str
    cache_key_type: str
    cache_duration: str | None = None
    auth: dict[str, _AuthJSON] | None = None


class _Asker(Value):
    """For whom the provider is asked: nobody in particular, or a service account with its token."""

    identity: ServiceAccountIdentity | None = None
    annotations: Mapping[str, str] = msgspec.field(default_factory=dict)
    token: Secret = msgspec.field(default=Secret(""))
    cache_scope: str = ""


class _Cached(Value):
    entries: tuple[tuple[str, TrackedCredential], ...]
    expires_at: float


class ExecProvider:
    """One configured provider. Concurrent lookups of one image share one run of the program."""

    def __init__(
        self,
        config: ProviderConfig,
        *,
        bin_directory: Path,
        clock: Clock,
        group: asyncio.TaskGroup,
        environment: Mapping[str, str],
    ) -> None:
        """`environment` is the node's own; the configured variables win over it."""
        self._config, self._clock = config, clock
        self._program = bin_directory / config.name
        self._environment = {**environment, **{each.name: each.value for each in config.env}}
        self._cache: dict[tuple[str, str, str], _Cached] = {}
        self._purged_at = clock.monotonic()
        self._flights: SingleFlight[tuple[str, str], tuple[tuple[str, TrackedCredential], ...]] = SingleFlight(group)

    @property
    def name(self) -> str:
        """The provider's name."""
        return self._config.name

    def applies_to(self, repository: str) -> bool:
        """Whether any matchImages entry matches (keyring rules)."""
        return any(matches(pattern, repository) for pattern in self._config.match_images)

    async def fetch(
        self, repository: str, account: PodServiceAccount | None
    ) -> tuple[tuple[str, TrackedCredential], ...]:
        """(auth key, credential) pairs for the repository; empty when the provider has none or fails."""
        try:
            asker = await self._asker(account)
            if asker is None:
                return ()
            cached = self._cached(repository, asker.cache_scope)
            if cached is not None:
                return cached
            return await self._flights.run((repository, asker.cache_scope), lambda: self._ask(repository, asker))
        except PulletError as error:
            log.warning(
                "credential provider gave nothing",
                extra={"provider": self.name, "image": repository, "error": str(error)},
            )
            return ()

    async def _asker(self, account: PodServiceAccount | None) -> _Asker | None:
        attributes = self._config.token_attributes
        if attributes is None:
            return _Asker()
        identity = await account.identity() if account is not None else None
        if account is None or identity is None:
            return None if attributes.require_service_account else _Asker()
        required = attributes.required_service_account_annotation_keys
        if any(key not in identity.annotations for key in required):
            return None
        keys = (*required, *attributes.optional_service_account_annotation_keys)
        annotations = {key: identity.annotations[key] for key in keys if key in identity.annotations}
        token = await account.token(attributes.service_account_token_audience)
        scope: JsonObject = {"account": [identity.namespace, identity.name, identity.uid], "annotations": annotations}
        if attributes.cache_type == "Token":
            scope["token"] = hashlib.sha256(token.encode()).hexdigest()
        return _Asker(identity, annotations, Secret(token), hashlib.sha256(canonical_json(scope)).hexdigest())

    def _cached(self, repository: str, scope: str) -> tuple[tuple[str, TrackedCredential], ...] | None:
        now = self._clock.monotonic()
        if now - self._purged_at >= PURGE_SECONDS:
            self._cache = {key: each for key, each in self._cache.items() if each.expires_at > now}
            self._purged_at = now
        for kind in _CACHE_KEY_TYPES:
            found = self._cache.get((kind, _cache_value(kind, repository), scope))
            if found is not None and found.expires_at > now:
                return found.entries
        return None

    async def _ask(self, repository: str, asker: _Asker) -> tuple[tuple[str, TrackedCredential], ...]:
        response = await self._run(repository, asker)
        self._check(response, asker)
        identity = asker.identity
        source = ServiceAccountSource(identity.namespace, identity.name, identity.uid) if identity else None
        entries = []
        for key, login in (response.auth or {}).items():
            auth = AuthConfig(username=login.username, password=Secret(login.password))
            origin = f"credential provider {self.name} (key {key})"
            entries.append(
                (key, TrackedCredential(auth=auth, source=source, hash=credential_hash(auth), origin=origin))
            )
        seconds = self._cache_seconds(response)
        if seconds > 0:
            kind = response.cache_key_type
            key_of_cache = (kind, _cache_value(kind, repository), asker.cache_scope)
            self._cache[key_of_cache] = _Cached(tuple(entries), self._clock.monotonic() + seconds)
        return tuple(entries)

    async def _run(self, repository: str, asker: _Asker) -> _ResponseJSON:
        request: JsonObject = {
            "kind": "CredentialProviderRequest",
            "apiVersion": self._config.api_version,
            "image": repository,
        }
        if asker.token:
            request["serviceAccountToken"] = asker.token.reveal()
            if asker.annotations:
                request["serviceAccountAnnotations"] = dict(asker.annotations)
        try:
            result = await run_command(
                [str(self._program), *self._config.args],
                stdin=msgspec.json.encode(request),
                environment=self._environment,
                timeout_seconds=TIMEOUT_SECONDS,
            )
        except (CommandMissingError, CommandTimeoutError) as error:
            raise ProviderAnswerError(str(error)) from error
        except OSError as error:
            raise ProviderAnswerError(f"{self._program}: {error.strerror}") from error
        if result.exit_code != 0:
            # its stderr is not repeated: a provider may print what it should not
            raise ProviderAnswerError(f"{self._program} ended with exit code {result.exit_code}")
        try:
            return msgspec.json.decode(result.stdout, type=decodable(_ResponseJSON))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ProviderAnswerError(f"{self._program} did not print a CredentialProviderResponse: {error}") from None

    def _check(self, response: _ResponseJSON, asker: _Asker) -> None:
        if response.kind != "CredentialProviderResponse" or response.api_version != self._config.api_version:
            raise ProviderAnswerError(
                f"answer is {response.kind} of {response.api_version}, "
                f"want CredentialProviderResponse of {self._config.api_version}"
            )
        if response.cache_key_type not in _CACHE_KEY_TYPES:
            raise ProviderAnswerError(
                f"cacheKeyType {response.cache_key_type!r} is unknown: one of {', '.join(_CACHE_KEY_TYPES)}"
            )
        attributes = self._config.token_attributes
        if attributes is not None and attributes.cache_type == "ServiceAccount" and asker.token:
            passwords = {login.password for login in (response.auth or {}).values()}
            if asker.token.reveal() in passwords:
                raise ProviderAnswerError("the service account token came back as password: cacheType must be Token")
        self._cache_seconds(response)

    def _cache_seconds(self, response: _ResponseJSON) -> float:
        if response.cache_duration is None:
            return self._config.default_cache_seconds
        try:
            seconds = parse_go_duration(response.cache_duration).total_seconds()
        except ValueError as error:
            raise ProviderAnswerError(f"cacheDuration: {error}") from None
        if seconds < 0:
            raise ProviderAnswerError(f"cacheDuration {response.cache_duration} is negative")
        return seconds


def _cache_value(kind: str, repository: str) -> str:
    match kind:
        case "Image":
            return repository
        case "Registry":
            return repository.partition("/")[0]
        case _:
            return ""
