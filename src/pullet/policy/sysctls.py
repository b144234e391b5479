"""Which kernel parameters a pod may set: the safe ones, and others only where the node allows them. Pure.

Source: kubernetes pkg/kubelet/sysctl/{allowlist,safe_sysctls}.go, component-helpers/node/util/sysctl/namespace.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pullet.base.quote import go_quote
from pullet.kube.pod import PodView

SAFE_SYSCTLS: Final = frozenset({
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start", "net.ipv4.ip_local_reserved_ports", "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
})  # fmt: skip
_OF_IPC: Final = ("kernel.shm*", "kernel.msg*", "kernel.sem", "fs.mqueue.*")
_OF_NETWORK: Final = ("net.*",)


def namespace_of_sysctl(name: str) -> str:
    """`ipc`, `net`, or nothing for a parameter of the whole machine. Patterns are named by what they begin with."""
    dotted = dotted_name(name)
    if any(_matches(pattern, dotted) for pattern in _OF_IPC):
        return "ipc"
    return "net" if any(_matches(pattern, dotted) for pattern in _OF_NETWORK) else ""


def dotted_name(name: str) -> str:
    """`net/ipv4/ip_forward` as `net.ipv4.ip_forward`; where the first separator is a dot, the name as it is."""
    first = next((character for character in name if character in "./"), ".")
    return name if first == "." else name.translate(str.maketrans("./", "/."))


def forbidden_sysctl(pod: PodView, allowed: Sequence[str]) -> str:
    """Why the node refuses the pod's sysctls; empty when it does not. `allowed`: names, or prefixes ending in `*`."""
    for each in pod.spec.security_context.sysctls:
        name, namespace = dotted_name(each.name), namespace_of_sysctl(each.name)
        shown = go_quote(name)
        is_allowed = name in SAFE_SYSCTLS or any(_matches(pattern, name) for pattern in allowed)
        if not is_allowed or not namespace:
            return f"forbidden sysctl: {shown} not allowlisted"
        if namespace == "net" and pod.spec.host_network:
            return f"forbidden sysctl: {shown} not allowed with host net enabled"
        if namespace == "ipc" and pod.spec.host_ipc:
            return f"forbidden sysctl: {shown} not allowed with host ipc enabled"
    return ""


def _matches(pattern: str, name: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern
