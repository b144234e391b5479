"""Configuration of exec credential providers: CredentialProviderConfig of kubelet.config.k8s.io.

A wrong configuration is an error at start, never a surprise at a pull.
Source: kubernetes pkg/credentialprovider/plugin/config.go; kubelet-images spec 10.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import yaml

from pullet.base.decodable import decodable
from pullet.base.errors import UsageError
from pullet.base.quote import go_quote
from pullet.kube.duration import parse_go_duration

KIND = "CredentialProviderConfig"
CONFIG_VERSIONS = tuple(f"kubelet.config.k8s.io/{version}" for version in ("v1", "v1beta1", "v1alpha1"))
EXEC_VERSIONS = tuple(f"credentialprovider.kubelet.k8s.io/{version}" for version in ("v1", "v1beta1", "v1alpha1"))
_SUFFIXES = (".json", ".yaml", ".yml")
_CACHE_TYPES = ("Token", "ServiceAccount")


class ProviderConfigError(UsageError):
    """The provider configuration cannot work; the text names file and field."""

    reason: ClassVar[str] = "CredentialProviderConfigInvalid"


class TokenAttributes(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """How a provider uses tokens of the pod's service account."""

    service_account_token_audience: str
    require_service_account: bool | None = None
    cache_type: str = ""
    required_service_account_annotation_keys: tuple[str, ...] = ()
    optional_service_account_annotation_keys: tuple[str, ...] = ()


class ExecEnvVar(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A variable added to the provider's environment."""

    name: str
    value: str = ""


class ProviderConfig(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """One provider; `name` is also its program's name in the bin directory."""

    name: str
    match_images: tuple[str, ...] = ()
    default_cache_duration: str | None = None
    api_version: str = ""
    args: tuple[str, ...] = ()
    env: tuple[ExecEnvVar, ...] = ()
    token_attributes: TokenAttributes | None = None

    @property
    def default_cache_seconds(self) -> float:
        """The default cache duration in seconds."""
        return parse_go_duration(self.default_cache_duration or "0s").total_seconds()


class _ConfigFile(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    kind: str
    api_version: str
    providers: tuple[ProviderConfig, ...] = ()


def load_provider_configs(path: Path, bin_directory: Path) -> tuple[ProviderConfig, ...]:
    """The providers of a file, or of a directory's *.json, *.yaml and *.yml in lexical order. Blocking.

    Raises:
        ProviderConfigError: unreadable, undecodable, invalid, or a program is missing.
    """
    try:
        files = sorted(file for file in path.iterdir() if file.suffix in _SUFFIXES) if path.is_dir() else [path]
        texts = [(file, file.read_text()) for file in files]
    except (OSError, UnicodeDecodeError) as error:
        raise ProviderConfigError(f"{path}: cannot be read: {error}") from error
    if not texts:
        raise ProviderConfigError(f"{path}: no {', '.join(_SUFFIXES)} file in it")
    providers = tuple(provider for file, text in texts for provider in parse_provider_config(text, where=str(file)))
    _check_unique(providers, str(path))
    for provider in providers:
        program = bin_directory / provider.name
        if not os.access(program, os.X_OK) or not program.is_file():
            raise ProviderConfigError(f"{path}: provider {provider.name}: {program} is not an executable file")
    return providers


def parse_provider_config(text: str, *, where: str) -> tuple[ProviderConfig, ...]:
    """The providers of one file's text (YAML or JSON), checked.

    Raises:
        ProviderConfigError: what is wrong, where, and what would be right.
    """
    try:
        raw: Any = yaml.safe_load(text)
        config = msgspec.convert(raw, decodable(_ConfigFile))
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        raise ProviderConfigError(f"{where}: {error}") from error
    if config.kind != KIND or config.api_version not in CONFIG_VERSIONS:
        raise ProviderConfigError(
            f"{where}: kind {config.kind} of {config.api_version} should be {KIND} of {CONFIG_VERSIONS[0]}"
        )
    if not config.providers:
        raise ProviderConfigError(f"{where}: providers: at least 1 item in plugins is required")
    for index, provider in enumerate(config.providers):
        problem = _problem(provider)
        if problem:
            raise ProviderConfigError(f"{where}: providers[{index}] ({provider.name}): {problem}")
    _check_unique(config.providers, where)
    return config.providers


def _check_unique(providers: Iterable[ProviderConfig], where: str) -> None:
    seen: set[str] = set()
    for provider in providers:
        if provider.name in seen:
            raise ProviderConfigError(f"{where}: provider name {go_quote(provider.name)} is used twice")
        seen.add(provider.name)


def _problem(provider: ProviderConfig) -> str:
    name = provider.name
    if not name or "/" in name or " " in name or name in (".", ".."):
        return f"name {go_quote(name)} must be a plain file name: no '/', no space, not '.' or '..'"
    if provider.api_version not in EXEC_VERSIONS:
        return f"apiVersion {go_quote(provider.api_version)} is unknown: one of {', '.join(EXEC_VERSIONS)}"
    if not provider.match_images or not all(provider.match_images):
        return "matchImages: at least one image pattern is required, none may be empty"
    if provider.default_cache_duration is None:
        return "defaultCacheDuration is required, e.g. 12h (0s: keep nothing)"
    try:
        seconds = provider.default_cache_seconds
    except (UsageError, ValueError) as error:
        return f"defaultCacheDuration: {error}"
    if seconds < 0:
        return "defaultCacheDuration must not be negative"
    return _token_problem(provider)


def _token_problem(provider: ProviderConfig) -> str:
    attributes = provider.token_attributes
    if attributes is None:
        return ""
    if provider.api_version != EXEC_VERSIONS[0]:
        return f"tokenAttributes need apiVersion {EXEC_VERSIONS[0]}"
    if not attributes.service_account_token_audience:
        return "tokenAttributes.serviceAccountTokenAudience is required"
    if attributes.require_service_account is None:
        return "tokenAttributes.requireServiceAccount is required: true or false"
    if attributes.cache_type not in _CACHE_TYPES:
        return (
            f"tokenAttributes.cacheType {go_quote(attributes.cache_type)} is unknown: one of {', '.join(_CACHE_TYPES)}"
        )
    if attributes.required_service_account_annotation_keys and not attributes.require_service_account:
        return "tokenAttributes.requiredServiceAccountAnnotationKeys need requireServiceAccount: true"
    both = set(attributes.required_service_account_annotation_keys) & set(
        attributes.optional_service_account_annotation_keys
    )
    return f"tokenAttributes: annotation keys both required and optional: {', '.join(sorted(both))}" if both else ""
