"""The files and the /dev/shm that every container of a pod shares. All blocking."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pullet.cri.types import DNSConfig, NamespaceMode, PodSandboxConfig
from pullet.ociruntime.errors import NamespaceError
from pullet.ociruntime.namespaces import unmount_all
from pullet.ociruntime.runtime_spec import BindMount

SHM_BYTES: Final = 64 << 20
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 2, 4, 8
_HOSTS: Final = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nff02::1\tip6-allnodes\n"


def make_files(directory: Path, config: PodSandboxConfig, hostname: str) -> None:
    """Write resolv.conf, hosts and hostname, and mount the pod's own /dev/shm where it has its own IPC.

    Raises:
        NamespaceError: the kernel refused the mount.
    """
    (directory / "resolv.conf").write_bytes(resolv_conf(config.dns_config) or _of_machine("/etc/resolv.conf"))
    is_host_network = config.namespaces.network is NamespaceMode.NODE
    hosts = _of_machine("/etc/hosts") if is_host_network else f"{_HOSTS}127.0.1.1\t{hostname}\n".encode()
    (directory / "hosts").write_bytes(hosts)
    (directory / "hostname").write_text(f"{hostname}\n")
    if config.namespaces.ipc is not NamespaceMode.NODE:
        mount_shm(directory)
    for name in ("resolv.conf", "hosts", "hostname"):
        (directory / name).chmod(0o644)


def mount_shm(directory: Path) -> None:
    """Mount a fresh tmpfs as the pod's /dev/shm, unless one is there. Raises NamespaceError."""
    shm = directory / "shm"
    shm.mkdir(exist_ok=True)
    if os.path.ismount(shm):
        return
    libc = ctypes.CDLL(None, use_errno=True)
    options = f"mode=1777,size={SHM_BYTES}".encode()
    if libc.mount(b"shm", os.fsencode(shm), b"tmpfs", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC, options) != 0:
        raise NamespaceError(f"cannot mount the pod's /dev/shm: {os.strerror(ctypes.get_errno())}")


def unmount_files(directory: Path) -> None:
    """Take /dev/shm away. Idempotent."""
    unmount_all(directory / "shm")


def shared_mounts(directory: Path, config: PodSandboxConfig) -> Sequence[BindMount]:
    """What a container of the pod sees of these files, unless it mounts something of its own there."""
    is_host_ipc = config.namespaces.ipc is NamespaceMode.NODE
    return (
        *(
            BindMount(source=str(directory / name), destination=f"/etc/{name}")
            for name in ("hosts", "hostname", "resolv.conf")
        ),
        BindMount(source="/dev/shm" if is_host_ipc else str(directory / "shm"), destination="/dev/shm"),
    )


def resolv_conf(dns: DNSConfig) -> bytes:
    """The text for these settings; empty when nothing is set. Source: containerd, parseDNSOptions."""
    lines = []
    if dns.searches:
        lines.append(f"search {' '.join(dns.searches)}")
    lines += [f"nameserver {server}" for server in dns.servers]
    if dns.options:
        lines.append(f"options {' '.join(dns.options)}")
    return "".join(f"{line}\n" for line in lines).encode()


def _of_machine(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""
