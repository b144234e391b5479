from __future__ import annotations

import pytest

from pullet.cri.errors import InvalidArgumentError
from pullet.cri.types import (
    Capability,
    ContainerConfig,
    ContainerMetadata,
    ImageSpec,
    LinuxContainerResources,
    LinuxContainerSecurityContext,
    Mount,
    MountPropagation,
)
from pullet.engine.container_spec import (
    Surroundings,
    bind_mount,
    command_line,
    container_spec,
    effective_capabilities,
    environment,
    user_text,
)
from pullet.oci.image_config import ContainerDefaults
from pullet.ociruntime import defaults
from pullet.ociruntime.process_user import ProcessUser
from pullet.ociruntime.runtime_spec import BindMount, Limits, Namespaces

IMAGE = ContainerDefaults(entrypoint=("/entry",), cmd=("default",), env=("PATH=/image", "A=image"), user="alice")


def config(**changes: object) -> ContainerConfig:
    return ContainerConfig(metadata=ContainerMetadata("main"), image=ImageSpec("i"), **changes)  # type: ignore[arg-type]  # the dataclass checks the names


@pytest.mark.parametrize(
    ("command", "args", "expected"),
    [
        ((), (), ["/entry", "default"]),
        ((), ("mine",), ["/entry", "mine"]),
        (("run",), (), ["run"]),
        (("run",), ("mine",), ["run", "mine"]),
    ],
)
def test_command_and_args_against_entrypoint_and_cmd(
    command: tuple[str, ...], args: tuple[str, ...], expected: list[str]
) -> None:
    assert command_line(config(command=command, args=args), IMAGE) == expected


@pytest.mark.parametrize("image", [ContainerDefaults(), ContainerDefaults(entrypoint=("",))])
def test_without_a_command_nothing_runs(image: ContainerDefaults) -> None:
    with pytest.raises(InvalidArgumentError, match="no command specified"):
        command_line(config(), image)


def test_the_pods_environment_wins_over_the_images_over_the_defaults() -> None:
    found = environment(config(envs=(("A", "pod"), ("B", "x=y"))), IMAGE, hostname="web")
    assert found == ["PATH=/image", "HOSTNAME=web", "A=pod", "B=x=y"]
    assert environment(config(tty=True), ContainerDefaults(), hostname="") == [defaults.DEFAULT_PATH, "TERM=xterm"]


@pytest.mark.parametrize(
    ("security", "text"),
    [
        (LinuxContainerSecurityContext(), "alice"),
        (LinuxContainerSecurityContext(run_as_user=0), "0"),
        (LinuxContainerSecurityContext(run_as_user=7, run_as_username="bob"), "7"),
        (LinuxContainerSecurityContext(run_as_username="bob"), "bob"),
    ],
)
def test_which_user(security: LinuxContainerSecurityContext, text: str) -> None:
    assert user_text(security, IMAGE) == text


def capabilities(add: tuple[str, ...] = (), drop: tuple[str, ...] = ()) -> set[str]:
    security = LinuxContainerSecurityContext(capabilities=Capability(add, drop))
    return set(effective_capabilities(security, available=defaults.ALL_CAPABILITIES))


def test_capabilities() -> None:
    usual = set(defaults.DEFAULT_CAPABILITIES)
    assert capabilities() == usual
    assert capabilities(add=("net_admin",)) == usual | {"CAP_NET_ADMIN"}
    assert capabilities(drop=("CAP_CHOWN", "KILL")) == usual - {"CAP_CHOWN", "CAP_KILL"}
    assert capabilities(drop=("ALL",)) == set()
    assert capabilities(add=("CHOWN",), drop=("ALL",)) == {"CAP_CHOWN"}
    assert capabilities(add=("ALL",)) == set(defaults.ALL_CAPABILITIES)
    assert capabilities(add=("ALL",), drop=("SYS_ADMIN",)) == set(defaults.ALL_CAPABILITIES) - {"CAP_SYS_ADMIN"}
    with pytest.raises(InvalidArgumentError, match='unknown capability "CAP_FLY"'):
        capabilities(add=("FLY",))


def test_nobody_gets_more_than_we_have() -> None:
    privileged = LinuxContainerSecurityContext(is_privileged=True)
    assert effective_capabilities(privileged, available=("CAP_KILL",)) == ["CAP_KILL"]
    assert effective_capabilities(LinuxContainerSecurityContext(), available=("CAP_KILL",)) == ["CAP_KILL"]


def test_an_image_volume_is_read_only_and_without_execution() -> None:
    image = bind_mount(Mount(container_path="/d", image=ImageSpec("i")), "/view", is_image=True)
    assert image == BindMount(source="/view", destination="/d", is_readonly=True, is_noexec=True)
    shared = Mount(container_path="/d", host_path="/h", propagation=MountPropagation.BIDIRECTIONAL)
    assert bind_mount(shared, "/h").propagation == "rshared"


def test_the_whole() -> None:
    around = Surroundings(
        rootfs="/r",
        namespaces=Namespaces(network="/n", ipc="/i", uts="/u"),
        hostname="web",
        sandbox_mounts=(
            BindMount(source="/s/hosts", destination="/etc/hosts"),
            BindMount(source="/s/shm", destination="/dev/shm"),
        ),
        mounts=(BindMount(source="/p/hosts", destination="/etc/hosts"),),
        cgroups_path="/c",
        cgroup_is_unified=True,
        machine="x86_64",
        available_capabilities=defaults.ALL_CAPABILITIES,
    )
    resources = LinuxContainerResources(memory_limit_bytes=5, oom_score_adj=3)
    spec = container_spec(config(resources=resources, working_dir="/w"), IMAGE, ProcessUser(1, 1), around)
    assert [(mount.source, mount.destination) for mount in spec.mounts] == [
        ("/s/shm", "/dev/shm"),
        ("/p/hosts", "/etc/hosts"),
    ]
    assert spec.limits == Limits(memory_bytes=5, oom_score_adj=3)
    assert (spec.process.cwd, spec.masked_paths) == ("/w", defaults.MASKED_PATHS)
