"""The /etc/hosts of a pod. Source: kubernetes pkg/kubelet/kubelet_pods.go managedHostsFileContent."""

from __future__ import annotations

from pathlib import Path

from pullet.kube.pod import PodView
from pullet.node.sandbox_config import domain, hostname

_LOOPBACK = (
    "127.0.0.1\tlocalhost\n"
    "::1\tlocalhost ip6-localhost ip6-loopback\n"
    "fe00::0\tip6-localnet\n"
    "fe00::0\tip6-mcastprefix\n"
    "fe00::1\tip6-allnodes\n"
    "fe00::2\tip6-allrouters\n"
)


def hosts_file_content(pod: PodView, pod_ips: tuple[str, ...], *, cluster_domain: str, host_content: str = "") -> str:
    """The file's text; `host_content` is the machine's own file, used for host network."""
    if pod.spec.host_network:
        text = f"# Kubernetes-managed hosts file (host network).\n{host_content}"
    else:
        name = hostname(pod)
        suffix = domain(pod, cluster_domain)
        names = f"{name}.{suffix}\t{name}" if suffix else name
        lines = "".join(f"{ip}\t{names}\n" for ip in pod_ips)
        text = f"# Kubernetes-managed hosts file.\n{_LOOPBACK}{lines}"
    if pod.spec.host_aliases:
        aliases = "".join(f"{alias.ip}\t" + "\t".join(alias.hostnames) + "\n" for alias in pod.spec.host_aliases)
        text += f"\n# Entries added by HostAliases.\n{aliases}"
    return text


def write_hosts_file(
    path: Path, pod: PodView, pod_ips: tuple[str, ...], *, cluster_domain: str, host_file: Path = Path("/etc/hosts")
) -> None:
    """Write the file if it changed, in place: containers have it bind-mounted by inode. Blocking."""
    host_content = host_file.read_text("utf-8", "replace") if pod.spec.host_network and host_file.exists() else ""
    content = hosts_file_content(pod, pod_ips, cluster_domain=cluster_domain, host_content=host_content)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.read_text() == content:
        return
    path.write_text(content)
    path.chmod(0o644)
