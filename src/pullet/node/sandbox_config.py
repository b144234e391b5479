"""The sandbox of a pod as CRI wants it: names, labels, ports, DNS, namespaces.

Source: kubernetes pkg/kubelet/kuberuntime/kuberuntime_sandbox.go, pkg/kubelet/network/dns/dns.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from pullet.base.errors import PulletError
from pullet.base.values import Value
from pullet.cri.types import DNSConfig, PodSandboxConfig, PodSandboxMetadata, PortMapping
from pullet.kube.pod import PodView
from pullet.node.container_security import namespaces
from pullet.node.pod_paths import PodPaths
from pullet.node.settings import NodeSettings
from pullet.policy.runtime_status import LABEL_POD_NAME, LABEL_POD_NAMESPACE, LABEL_POD_UID

MAX_HOSTNAME = 63
MAX_KERNEL_HOSTNAME = 64
MAX_SEARCHES = 32


class SandboxConfigError(PulletError):
    """The pod asks for a sandbox that cannot be."""

    reason: ClassVar[str] = "SandboxConfig"


class ResolvConf(Value):
    """What a resolv.conf says."""

    servers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


def parse_resolv_conf(text: str) -> ResolvConf:
    """Nameservers in order, the last search line, all options; comments and the rest are skipped."""
    servers: list[str] = []
    searches: tuple[str, ...] = ()
    options: list[str] = []
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        match words:
            case ["nameserver", server, *_]:
                servers.append(server)
            case ["search", *names]:
                searches = tuple(name.rstrip(".") or "." for name in names)
            case ["options", *found]:
                options += found
            case _:
                pass
    return ResolvConf(tuple(servers), searches, tuple(options))


def read_resolv_conf(path: Path, *, behind_stub: Path = Path("/run/systemd/resolve/resolv.conf")) -> ResolvConf:
    """What the machine's file says; a missing one says nothing. Blocking.

    Where it names only a resolver on loopback, which pods with a network of their own cannot reach, the servers behind
    that of systemd-resolved are taken, if it runs.
    """
    found = _read(path)
    is_stub = bool(found.servers) and all(server.startswith("127.") or server == "::1" for server in found.servers)
    behind = _read(behind_stub) if is_stub else found
    return behind if behind.servers else found


def _read(path: Path) -> ResolvConf:
    try:
        return parse_resolv_conf(path.read_text("utf-8", "replace"))
    except OSError:
        return ResolvConf()


def sandbox_config(
    pod: PodView, *, attempt: int, paths: PodPaths, dns: DNSConfig, cgroup_parent: str, cluster_domain: str
) -> PodSandboxConfig:
    """The CRI sandbox config of the pod's sandbox number `attempt`.

    Raises:
        SandboxConfigError: a host name the kernel does not take.
    """
    labels = {
        **pod.metadata.labels,
        LABEL_POD_NAME: pod.name,
        LABEL_POD_NAMESPACE: pod.namespace,
        LABEL_POD_UID: pod.uid,
    }
    return PodSandboxConfig(
        metadata=PodSandboxMetadata(pod.name, pod.uid, pod.namespace, attempt),
        hostname="" if pod.spec.host_network else kernel_hostname(pod, cluster_domain),
        log_directory=str(paths.logs(pod)),
        dns_config=dns,
        port_mappings=() if pod.spec.host_network else port_mappings(pod),
        labels=labels,
        annotations=pod.metadata.annotations,
        cgroup_parent=cgroup_parent,
        namespaces=namespaces(pod),
        sysctls={each.name: each.value for each in pod.spec.security_context.sysctls},
    )


def hostname(pod: PodView) -> str:
    """The pod's own choice, else its name, cut to what Linux allows."""
    name = pod.spec.hostname or pod.name
    return name[:MAX_HOSTNAME].rstrip("-.")


def domain(pod: PodView, cluster_domain: str) -> str:
    """What follows the host name in the pod's full name; empty without a subdomain."""
    return f"{pod.spec.subdomain}.{pod.namespace}.svc.{cluster_domain}" if pod.spec.subdomain else ""


def kernel_hostname(pod: PodView, cluster_domain: str) -> str:
    """The host name that processes see: the full name where `setHostnameAsFQDN` asks for it.

    Raises:
        SandboxConfigError: the full name is longer than the kernel takes.
    """
    suffix = domain(pod, cluster_domain)
    if not pod.spec.set_hostname_as_fqdn or not suffix:
        return hostname(pod)
    full = f"{hostname(pod)}.{suffix}"
    if len(full) > MAX_KERNEL_HOSTNAME:
        raise SandboxConfigError(
            f"failed to construct FQDN from pod hostname and cluster domain, FQDN {full} is too long "
            f"({len(full)} characters), the max length is {MAX_KERNEL_HOSTNAME}"
        )
    return full


def port_mappings(pod: PodView) -> tuple[PortMapping, ...]:
    """Every declared port; only those with a host port are published."""
    return tuple(
        PortMapping(port.container_port, port.host_port, port.protocol, port.host_ip)
        for container in (*pod.spec.containers, *pod.sidecars)
        for port in container.ports
    )


def dns_config(pod: PodView, settings: NodeSettings, host: ResolvConf) -> DNSConfig:
    """What the pod's resolv.conf holds. ClusterFirst without a cluster DNS server is Default."""
    spec = pod.spec
    policy = spec.dns_policy
    is_cluster = policy == "ClusterFirstWithHostNet" or (policy == "ClusterFirst" and not spec.host_network)
    servers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    if policy == "None":
        pass
    elif is_cluster and settings.cluster_dns:
        domain = settings.cluster_domain
        own = (f"{pod.namespace}.svc.{domain}", f"svc.{domain}", domain) if domain else ()
        servers, searches, options = settings.cluster_dns, (*own, *host.searches), ("ndots:5",)
    else:
        servers, searches, options = host.servers, host.searches, host.options
    extra = spec.dns_config
    return DNSConfig(
        servers=_unique((*servers, *extra.nameservers)),
        searches=_unique((*searches, *extra.searches))[:MAX_SEARCHES],
        options=_merged_options(options, pod),
    )


def _unique(values: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


def _merged_options(options: Sequence[str], pod: PodView) -> tuple[str, ...]:
    merged: dict[str, str] = {}
    for option in options:
        name, _, value = option.partition(":")
        merged[name] = value
    for extra in pod.spec.dns_config.options:
        merged[extra.name] = extra.value or ""
    return tuple(f"{name}:{value}" if value else name for name, value in merged.items() if name)
