"""Which endpoints serve a registry's name, and in which order.

Mirrors given by settings come first, then what certs.d/<host>/hosts.toml says, or else the registry itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import msgspec

from pullet.base.values import Value
from pullet.registry.endpoint import Endpoint, TlsSettings, api_base, default_endpoint, registry_host
from pullet.registry.hosts_toml import load_hosts_toml
from pullet.registry.short_names import ShortNames


class MirrorSettings(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Mirrors of one registry, URLs in order; with `is_exclusive` they are the registry and nothing else is asked."""

    endpoints: tuple[str, ...]
    is_exclusive: bool = False
    skip_verify: bool = False


class HostsConfig(Value, kw_only=True):
    """Answers `endpoints(domain)`. hosts.toml is read afresh each time, so that edits work without a restart."""

    certs_directories: tuple[Path, ...] = ()
    mirrors: Mapping[str, MirrorSettings] = msgspec.field(default_factory=dict)
    short_names: ShortNames = msgspec.field(default_factory=lambda: ShortNames(None))

    def endpoints(self, domain: str) -> tuple[Endpoint, ...]:
        """The endpoints for references of `domain`, in the order to be tried, none twice. Blocking.

        Raises:
            HostsConfigError: a hosts.toml or a mirror URL is wrong.
        """
        mirrors: list[Endpoint] = []
        found: list[Endpoint] = []
        mirror = self.mirrors.get(domain)
        if mirror is not None:
            tls = TlsSettings(skip_verify=mirror.skip_verify)
            mirrors = [Endpoint(base=api_base(url), tls=tls) for url in mirror.endpoints]
        if mirror is None or not mirror.is_exclusive:
            *others, registry = load_hosts_toml(self.certs_directories, domain) or [default_endpoint(domain)]
            mirrors, found = [*mirrors, *others], [registry]
        else:
            mirrors, found = [], mirrors  # they are the registry
        own_names = {domain, registry_host(domain), *(endpoint.host for endpoint in found)}
        by_base: dict[str, Endpoint] = {}
        for endpoint in (*mirrors, *found):
            namespace = "" if endpoint.host in {domain, registry_host(domain)} else domain
            is_mirror = endpoint.host not in own_names
            by_base.setdefault(endpoint.base, replace(endpoint, namespace=namespace, is_mirror=is_mirror))
        return tuple(by_base.values())
