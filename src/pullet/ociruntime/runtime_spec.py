"""config.json of one container: everything decided, nothing looked up. Source: runtime-spec v1.1 config-linux.md."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import msgspec

from pullet.base.values import Value
from pullet.ociruntime import defaults
from pullet.ociruntime.process_user import ProcessUser

Propagation: TypeAlias = Literal["rprivate", "rslave", "rshared"]


class BindMount(Value, kw_only=True):
    """A path of the machine at a path of the container."""

    source: str
    destination: str
    is_readonly: bool = False
    is_noexec: bool = False
    propagation: Propagation = "rprivate"


class Namespaces(Value, kw_only=True):
    """Paths of namespaces to join. None: a new one; empty: the machine's own."""

    network: str | None
    ipc: str | None
    uts: str | None
    pid: str | None = None


class Limits(Value, kw_only=True):
    """cgroup limits; 0 is "not set". cpu_* are microseconds, memory is bytes."""

    cpu_period: int = 0
    cpu_quota: int = 0
    cpu_shares: int = 0
    memory_bytes: int = 0
    pids: int = 0
    oom_score_adj: int = 0


class ProcessSpec(Value, kw_only=True):
    """What runs, as whom, with which rights."""

    args: Sequence[str]
    env: Sequence[str]
    cwd: str
    user: ProcessUser
    capabilities: Sequence[str]
    has_terminal: bool = False
    no_new_privileges: bool = False


class ContainerSpec(Value, kw_only=True):
    """All of one container."""

    process: ProcessSpec
    rootfs: str
    namespaces: Namespaces
    cgroups_path: str
    cgroup_is_unified: bool
    is_privileged: bool = False
    is_readonly_rootfs: bool = False
    mounts: Sequence[BindMount] = ()
    limits: Limits = Limits()
    masked_paths: Sequence[str] = defaults.MASKED_PATHS
    readonly_paths: Sequence[str] = defaults.READONLY_PATHS
    seccomp: dict[str, Any] | None = None
    host_devices: Sequence[dict[str, Any]] = ()
    annotations: dict[str, str] = msgspec.field(default_factory=dict)


def process_json(process: ProcessSpec, *, oom_score_adj: int = 0) -> dict[str, Any]:
    """The `process` object; alone, it is also what `exec --process` takes."""
    user: dict[str, Any] = {"uid": process.user.uid, "gid": process.user.gid}
    if process.user.additional_gids:
        user["additionalGids"] = list(process.user.additional_gids)
    capabilities = list(process.capabilities)
    # A process that is not root gets nothing beyond the bounding set, as in containerd: no ambient capabilities.
    return {
        "terminal": process.has_terminal,
        "user": user,
        "args": list(process.args),
        "env": list(process.env),
        "cwd": process.cwd,
        "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), capabilities),
        "noNewPrivileges": process.no_new_privileges,
        "oomScoreAdj": oom_score_adj,
    }


def container_json(spec: ContainerSpec) -> dict[str, Any]:
    """The whole config.json."""
    privileged = spec.is_privileged
    linux: dict[str, Any] = {
        "namespaces": _namespaces(spec.namespaces, cgroup_is_unified=spec.cgroup_is_unified, is_privileged=privileged),
        "cgroupsPath": spec.cgroups_path,
        "resources": {"devices": defaults.device_rules(is_privileged=privileged), **_resources(spec.limits)},
        "maskedPaths": [] if privileged else list(spec.masked_paths),
        "readonlyPaths": [] if privileged else list(spec.readonly_paths),
    }
    if spec.host_devices:
        linux["devices"] = list(spec.host_devices)
    if any(mount.propagation == "rshared" for mount in spec.mounts):
        linux["rootfsPropagation"] = "rshared"
    elif any(mount.propagation == "rslave" for mount in spec.mounts):
        linux["rootfsPropagation"] = "rslave"
    if spec.seccomp is not None and not privileged:
        linux["seccomp"] = spec.seccomp
    return {
        "ociVersion": "1.0.2",
        "process": process_json(spec.process, oom_score_adj=spec.limits.oom_score_adj),
        "root": {"path": spec.rootfs, "readonly": spec.is_readonly_rootfs},
        "mounts": _mounts(spec),
        "annotations": dict(spec.annotations),
        "linux": linux,
    }


def _mounts(spec: ContainerSpec) -> list[dict[str, Any]]:
    """Default mounts that no bind mount replaces, then the bind mounts, outer ones before those inside them."""
    binds = sorted(spec.mounts, key=lambda mount: mount.destination.rstrip("/").count("/"))
    taken = {mount.destination.rstrip("/") for mount in binds}
    given = defaults.default_mounts(is_privileged=spec.is_privileged, cgroup_is_unified=spec.cgroup_is_unified)
    return [mount for mount in given if mount["destination"] not in taken] + [_bind(mount) for mount in binds]


def _bind(mount: BindMount) -> dict[str, Any]:
    options = ["rbind", mount.propagation, "ro" if mount.is_readonly else "rw"]
    if mount.is_noexec:
        options.append("noexec")
    return {"destination": mount.destination, "type": "bind", "source": mount.source, "options": options}


def _namespaces(paths: Namespaces, *, cgroup_is_unified: bool, is_privileged: bool) -> list[dict[str, str]]:
    result: list[dict[str, str]] = [{"type": "mount"}]
    for kind, path in (("network", paths.network), ("ipc", paths.ipc), ("uts", paths.uts), ("pid", paths.pid)):
        if path is None:
            result.append({"type": kind})
        elif path:
            result.append({"type": kind, "path": path})
    if cgroup_is_unified and not is_privileged:
        result.append({"type": "cgroup"})
    return result


def _resources(limits: Limits) -> dict[str, Any]:
    resources: dict[str, Any] = {}
    cpu = {
        name: value
        for name, value in (
            ("shares", limits.cpu_shares),
            ("quota", limits.cpu_quota),
            ("period", limits.cpu_period),
        )
        if value
    }
    if cpu:
        resources["cpu"] = cpu
    if limits.memory_bytes > 0:
        # swap counts memory and swap together: equal to memory means no swap, as Kubernetes wants it
        resources["memory"] = {"limit": limits.memory_bytes, "swap": limits.memory_bytes}
    if limits.pids > 0:
        resources["pids"] = {"limit": limits.pids}
    return resources
