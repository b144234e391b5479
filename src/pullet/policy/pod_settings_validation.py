"""Rules on a pod's surroundings: DNS, host aliases, seccomp, the items of its volumes. In the API server's words.

Source: kubernetes pkg/apis/core/validation/validation.go (validatePodDNSConfig, ValidateHostAliases,
validateSeccompProfileField, validateKeyToPath).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from pullet.kube.field_error import FieldError, invalid, not_supported, required
from pullet.kube.meta import dns_subdomain_problems

_ADDRESS_TEXT = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
_MODE_TEXT = "must be a number between 0 and 0777 (octal), both inclusive"
_MAX_NAMESERVERS = 3
_MAX_SEARCHES = 32
_MAX_SEARCH_CHARACTERS = 2048
_SECCOMP_TYPES = ("Localhost", "RuntimeDefault", "Unconfined")


def validate_dns(spec: Mapping[str, Any], path: str) -> list[FieldError]:
    """Rules on `dnsConfig` of a PodSpec, which `dnsPolicy: None` cannot do without."""
    config = spec.get("dnsConfig")
    here = f"{path}.dnsConfig"
    errors: list[FieldError] = []
    if spec.get("dnsPolicy") == "None":
        if config is None:
            return [required(here, "must provide `dnsConfig` when `dnsPolicy` is None")]
        if not config.get("nameservers"):
            text = "must provide at least one DNS nameserver when `dnsPolicy` is None"
            errors.append(required(f"{here}.nameservers", text))
    if config is None:
        return errors
    servers, searches = config.get("nameservers") or [], config.get("searches") or []
    if len(servers) > _MAX_NAMESERVERS:
        errors.append(
            invalid(f"{here}.nameservers", servers, f"must not have more than {_MAX_NAMESERVERS} nameservers")
        )
    for index, server in enumerate(servers):
        errors += _address(server, f"{here}.nameservers[{index}]")
    if len(searches) > _MAX_SEARCHES:
        errors.append(invalid(f"{here}.searches", searches, f"must not have more than {_MAX_SEARCHES} search paths"))
    if len(" ".join(searches)) > _MAX_SEARCH_CHARACTERS:
        text = f"must not have more than {_MAX_SEARCH_CHARACTERS} characters (including spaces) in the search list"
        errors.append(invalid(f"{here}.searches", searches, text))
    for index, search in enumerate(searches):
        problems = [] if search == "." else dns_subdomain_problems(search.removesuffix("."))
        errors += [invalid(f"{here}.searches[{index}]", search, text) for text in problems]
    for index, option in enumerate(config.get("options") or ()):
        if not option.get("name"):
            errors.append(required(f"{here}.options[{index}]", "must not be empty"))
    return errors


def validate_host_aliases(spec: Mapping[str, Any], path: str) -> list[FieldError]:
    """Rules on `hostAliases` of a PodSpec."""
    errors: list[FieldError] = []
    for index, alias in enumerate(spec.get("hostAliases") or ()):
        here = f"{path}.hostAliases[{index}]"
        errors += _address(alias.get("ip") or "", f"{here}.ip")
        for position, name in enumerate(alias.get("hostnames") or ()):
            errors += [invalid(f"{here}.hostnames[{position}]", name, text) for text in dns_subdomain_problems(name)]
    return errors


def _address(text: str, path: str) -> list[FieldError]:
    try:
        _ = ipaddress.ip_address(text)
    except ValueError:
        return [invalid(path, text, _ADDRESS_TEXT)]
    return []


def validate_seccomp(security: Mapping[str, Any], path: str) -> list[FieldError]:
    """Rules on `seccompProfile` of a security context."""
    profile = security.get("seccompProfile")
    if profile is None:
        return []
    here = f"{path}.seccompProfile"
    errors: list[FieldError] = []
    kind, local = profile.get("type") or "", profile.get("localhostProfile")
    if kind == "Localhost":
        if local is None:
            errors.append(required(f"{here}.localhostProfile", "must be set when seccomp type is Localhost"))
        else:
            errors += inner_path(local, f"{here}.localhostProfile")
    elif local is not None:
        errors.append(invalid(f"{here}.localhostProfile", local, "can only be set when seccomp type is Localhost"))
    if not kind:
        errors.append(required(f"{here}.type", "type is required when seccompProfile is set"))
    elif kind not in _SECCOMP_TYPES:
        errors.append(not_supported(f"{here}.type", kind, _SECCOMP_TYPES))
    return errors


def inner_path(text: str, path: str) -> list[FieldError]:
    """A path that stays below where it starts."""
    errors = [invalid(path, text, "must be a relative path")] if text.startswith("/") else []
    return errors + ([invalid(path, text, "must not contain '..'")] if ".." in text.split("/") else [])


def validate_items(source: Mapping[str, Any], path: str) -> list[FieldError]:
    """Rules on `defaultMode` and `items` of a Secret or ConfigMap volume."""
    errors = _mode(source.get("defaultMode"), f"{path}.defaultMode")
    for index, item in enumerate(source.get("items") or ()):
        here = f"{path}.items[{index}]"
        if not item.get("key"):
            errors.append(required(f"{here}.key"))
        target = item.get("path") or ""
        errors += inner_path(target, f"{here}.path") if target else [required(f"{here}.path")]
        errors += _mode(item.get("mode"), f"{here}.mode")
    return errors


def _mode(mode: int | None, path: str) -> list[FieldError]:
    return [] if mode is None or 0 <= mode <= 0o777 else [invalid(path, mode, _MODE_TEXT)]
