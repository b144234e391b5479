from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from pullet.ociruntime import defaults
from pullet.ociruntime.process_user import ProcessUser
from pullet.ociruntime.runtime_spec import (
    BindMount,
    ContainerSpec,
    Limits,
    Namespaces,
    ProcessSpec,
    container_json,
    process_json,
)
from pullet.ociruntime.seccomp import default_profile

PROCESS = ProcessSpec(
    args=("sh", "-c", "true"),
    env=("A=b",),
    cwd="/work",
    user=ProcessUser(1, 2, (2, 3)),
    capabilities=("CAP_KILL",),
    no_new_privileges=True,
)
SPEC = ContainerSpec(
    process=PROCESS,
    rootfs="/rootfs",
    namespaces=Namespaces(network="/ns/net", ipc="/ns/ipc", uts="/ns/uts"),
    cgroups_path="/pullet/x",
    cgroup_is_unified=True,
)


def destinations(spec: ContainerSpec) -> list[str]:
    return [mount["destination"] for mount in container_json(spec)["mounts"]]


def test_the_process() -> None:
    process = process_json(PROCESS, oom_score_adj=7)
    assert process["args"] == ["sh", "-c", "true"]
    assert process["user"] == {"uid": 1, "gid": 2, "additionalGids": [2, 3]}
    assert process["capabilities"] == {kind: ["CAP_KILL"] for kind in ("bounding", "effective", "permitted")}
    assert (process["noNewPrivileges"], process["oomScoreAdj"], process["terminal"]) == (True, 7, False)


def test_namespaces_are_joined_made_or_left_out() -> None:
    found = container_json(SPEC)["linux"]["namespaces"]
    assert {"type": "network", "path": "/ns/net"} in found
    assert {"type": "pid"} in found
    assert {"type": "cgroup"} in found
    of_machine = replace(SPEC, namespaces=Namespaces(network="", ipc="", uts="", pid=""))
    assert [one["type"] for one in container_json(of_machine)["linux"]["namespaces"]] == ["mount", "cgroup"]


def test_the_cgroup_namespace_is_for_v2_and_for_the_unprivileged() -> None:
    for spec in (
        replace(SPEC, cgroup_is_unified=False),
        replace(SPEC, is_privileged=True),
    ):
        assert {"type": "cgroup"} not in container_json(spec)["linux"]["namespaces"]


def test_outer_mounts_come_before_those_inside_them() -> None:
    mounts = (
        BindMount(source="/c", destination="/data/deep/er"),
        BindMount(source="/a", destination="/data"),
        BindMount(source="/b", destination="/data/deep"),
    )
    assert destinations(replace(SPEC, mounts=mounts))[-3:] == ["/data", "/data/deep", "/data/deep/er"]


def test_a_bind_mount_replaces_a_default() -> None:
    spec = replace(SPEC, mounts=(BindMount(source="/somewhere", destination="/sys/"),))
    assert destinations(spec).count("/sys") == 0
    assert "/proc" in destinations(spec)


def test_mount_options() -> None:
    mount = BindMount(source="/a", destination="/a", is_readonly=True, is_noexec=True, propagation="rslave")
    written = container_json(replace(SPEC, mounts=(mount,)))
    assert written["mounts"][-1]["options"] == ["rbind", "rslave", "ro", "noexec"]
    assert written["linux"]["rootfsPropagation"] == "rslave"
    assert "rootfsPropagation" not in container_json(SPEC)["linux"]


def test_only_limits_that_are_set_are_written() -> None:
    assert set(container_json(SPEC)["linux"]["resources"]) == {"devices"}
    limits = Limits(cpu_shares=2, cpu_quota=-1, memory_bytes=10, pids=5)
    resources = container_json(replace(SPEC, limits=limits))["linux"]["resources"]
    assert resources["cpu"] == {"shares": 2, "quota": -1}
    assert resources["memory"] == {"limit": 10, "swap": 10}
    assert resources["pids"] == {"limit": 5}


def test_privileged_has_no_fences() -> None:
    fenced = container_json(replace(SPEC, seccomp={"defaultAction": "SCMP_ACT_ALLOW"}))["linux"]
    assert fenced["maskedPaths"] == list(defaults.MASKED_PATHS)
    assert "seccomp" in fenced
    free = container_json(replace(SPEC, is_privileged=True, seccomp={"defaultAction": "SCMP_ACT_ALLOW"}))
    assert free["linux"]["maskedPaths"] == free["linux"]["readonlyPaths"] == []
    assert "seccomp" not in free["linux"]
    assert free["linux"]["resources"]["devices"] == [{"allow": True, "access": "rwm"}]
    assert "rw" in next(mount for mount in free["mounts"] if mount["destination"] == "/sys")["options"]


def refused(profile: dict[str, Any], errno: int) -> set[str]:
    return {
        name
        for rule in profile["syscalls"]
        if rule["errnoRet"] == errno and "args" not in rule
        for name in rule["names"]
    }


def test_seccomp_refuses_by_capability() -> None:
    ordinary = default_profile(capabilities=defaults.DEFAULT_CAPABILITIES, machine="x86_64")
    assert {"mount", "bpf", "init_module", "setns", "keyctl", "reboot"} <= refused(ordinary, 1)
    assert refused(ordinary, 38) == {"clone3"}
    assert "chroot" not in refused(ordinary, 1)
    admin = default_profile(capabilities=["CAP_SYS_ADMIN"], machine="x86_64")
    assert refused(admin, 1).isdisjoint({"mount", "bpf", "setns"})
    assert "keyctl" in refused(admin, 1)
    assert refused(admin, 38) == set()
    assert "architectures" not in default_profile(capabilities=[], machine="riscv64")
