"""From CRI's words and the image's to the OCI runtime's: what the container of a ContainerConfig is. Pure.

Source: containerd internal/cri/server/container_create_linux.go and internal/cri/opts, for which value wins.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from pullet.base.values import Value
from pullet.cri.errors import InvalidArgumentError
from pullet.cri.types import (
    Capability,
    ContainerConfig,
    LinuxContainerResources,
    LinuxContainerSecurityContext,
    Mount,
    MountPropagation,
)
from pullet.oci.image_config import ContainerDefaults
from pullet.ociruntime import defaults
from pullet.ociruntime.process_user import ProcessUser
from pullet.ociruntime.runtime_spec import (
    BindMount,
    ContainerSpec,
    Limits,
    Namespaces,
    ProcessSpec,
    Propagation,
)

_PROPAGATION: Final[Mapping[MountPropagation, Propagation]] = {
    MountPropagation.PRIVATE: "rprivate",
    MountPropagation.HOST_TO_CONTAINER: "rslave",
    MountPropagation.BIDIRECTIONAL: "rshared",
}


class Surroundings(Value, kw_only=True):
    """What the sandbox and the machine give a container."""

    rootfs: str
    namespaces: Namespaces
    hostname: str
    sandbox_mounts: Sequence[BindMount]  # /etc/hosts and the like: only where the pod mounts nothing there
    mounts: Sequence[BindMount]  # the pod's, with paths looked up
    cgroups_path: str
    cgroup_is_unified: bool
    machine: str  # uname -m
    available_capabilities: Sequence[str]  # what we have ourselves: nobody can be given more
    seccomp: dict[str, Any] | None = None
    host_devices: Sequence[dict[str, Any]] = ()


def container_spec(
    config: ContainerConfig, image: ContainerDefaults, user: ProcessUser, around: Surroundings
) -> ContainerSpec:
    """Put it all together.

    Raises:
        InvalidArgumentError: no command, or an unknown capability.
    """
    security = config.security_context
    process = ProcessSpec(
        args=command_line(config, image),
        env=environment(config, image, hostname=around.hostname),
        cwd=config.working_dir or image.working_dir or "/",
        user=user,
        capabilities=effective_capabilities(security, available=around.available_capabilities),
        has_terminal=config.tty,
        no_new_privileges=security.no_new_privs,
    )
    taken = {mount.destination.rstrip("/") for mount in around.mounts}
    given = [mount for mount in around.sandbox_mounts if mount.destination not in taken]
    return ContainerSpec(
        process=process,
        rootfs=around.rootfs,
        namespaces=around.namespaces,
        cgroups_path=around.cgroups_path,
        cgroup_is_unified=around.cgroup_is_unified,
        is_privileged=security.is_privileged,
        is_readonly_rootfs=security.is_readonly_rootfs,
        mounts=[*given, *around.mounts],
        limits=limits(config.resources),
        masked_paths=defaults.MASKED_PATHS if security.masked_paths is None else security.masked_paths,
        readonly_paths=defaults.READONLY_PATHS if security.readonly_paths is None else security.readonly_paths,
        seccomp=around.seccomp,
        host_devices=around.host_devices,
    )


def command_line(config: ContainerConfig, image: ContainerDefaults) -> list[str]:
    """The pod's command replaces Entrypoint and Cmd; its args alone replace Cmd. Raises InvalidArgumentError."""
    if config.command:
        line = [*config.command, *config.args]
    else:
        line = [*(image.entrypoint or ()), *(config.args or image.cmd or ())]
    if not line or not line[0]:
        raise InvalidArgumentError("no command specified: the image has no Entrypoint or Cmd and the pod gives none")
    return line


def environment(config: ContainerConfig, image: ContainerDefaults, *, hostname: str) -> list[str]:
    """Default PATH, HOSTNAME, the image's, then the pod's; the last one of a name wins."""
    path_name, _, path = defaults.DEFAULT_PATH.partition("=")
    values = {path_name: path}
    if config.tty:
        values["TERM"] = "xterm"
    if hostname:
        values["HOSTNAME"] = hostname
    for item in image.env or ():
        name, _, value = item.partition("=")
        values[name] = value
    values.update(config.envs)
    return [f"{name}={value}" for name, value in values.items()]


def user_text(security: LinuxContainerSecurityContext, image: ContainerDefaults) -> str:
    """Which user, as the image config would write it: the pod's number, the pod's name, or the image's."""
    if security.run_as_user is not None:
        return str(security.run_as_user)
    return security.run_as_username or image.user


def effective_capabilities(security: LinuxContainerSecurityContext, *, available: Sequence[str]) -> list[str]:
    """All for privileged, else the defaults with what the pod adds and drops. Raises InvalidArgumentError."""
    if security.is_privileged:
        return list(available)
    return _adjust(defaults.DEFAULT_CAPABILITIES, security.capabilities, available)


def _adjust(base: Sequence[str], change: Capability, available: Sequence[str]) -> list[str]:
    added, dropped = _names(change.add), _names(change.drop)
    chosen = set() if "CAP_ALL" in dropped else set(base)
    if "CAP_ALL" in added:
        chosen = set(available)
    for name in (*added, *dropped):
        if name != "CAP_ALL" and name not in defaults.ALL_CAPABILITIES:
            raise InvalidArgumentError(f'unknown capability "{name}"')
    chosen |= set(added)
    chosen -= set(dropped)
    return [name for name in available if name in chosen]


def _names(items: Iterable[str]) -> list[str]:
    upper = [item.upper() for item in items]
    return [name if name.startswith("CAP_") else f"CAP_{name}" for name in upper]


def limits(resources: LinuxContainerResources) -> Limits:
    """CRI's limits in the OCI runtime's words."""
    return Limits(
        cpu_period=resources.cpu_period,
        cpu_quota=resources.cpu_quota,
        cpu_shares=resources.cpu_shares,
        memory_bytes=resources.memory_limit_bytes,
        pids=resources.pids_limit,
        oom_score_adj=resources.oom_score_adj,
    )


def bind_mount(mount: Mount, source: str, *, is_image: bool = False) -> BindMount:
    """A CRI mount whose source was looked up; an image is always read-only and without execution."""
    return BindMount(
        source=source,
        destination=mount.container_path,
        is_readonly=mount.is_readonly or is_image,
        is_noexec=is_image,
        propagation=_PROPAGATION[mount.propagation],
    )
