"""What the engine's containers get and do, on real parts: identity, limits, mounts, logs, endings."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from tests.integration.engine_world import World, engine_world, opened

from pullet.cri.errors import CriError
from pullet.cri.log_format import parse_record
from pullet.cri.types import (
    Capability,
    ImageSpec,
    LinuxContainerResources,
    Mount,
    NamespaceMode,
    NamespaceOption,
    PortMapping,
)
from pullet.kit.worker_threads import WorkerThreads
from pullet.ociruntime.namespaces import processes_in
from pullet.testing.directory_images import DirectoryImages

pytestmark = pytest.mark.root


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with engine_world(tmp_path) as world:
        yield world


# -- who and where ----------------------------------------------------------------------------------------------------


async def test_the_pod_gives_name_hosts_and_resolver(world: World) -> None:
    _, text = await world.run("hostname; cat /etc/hostname; cat /etc/resolv.conf; cat /etc/hosts")
    lines = text.splitlines()
    assert lines[:5] == ["web-0", "web-0", "search svc.local", "nameserver 10.96.0.10", "options ndots:5"]
    assert "127.0.0.1\tlocalhost" in lines


async def test_a_mount_replaces_the_hosts_file_of_the_sandbox(world: World) -> None:
    await asyncio.to_thread((world.directory / "hosts").write_text, "1.2.3.4 from-the-node\n")
    mount = Mount(container_path="/etc/hosts", host_path=str(world.directory / "hosts"))
    _, text = await world.run("cat /etc/hosts", world.config(mounts=(mount,)))
    assert text == "1.2.3.4 from-the-node\n"


async def test_names_of_the_image_become_numbers(world: World) -> None:
    status, text = await world.run("id", world.secure(run_as_username="alice", supplemental_groups=(777,)))
    assert text.strip() == "uid=1234(alice) gid=1235(alice) groups=50(staff),777,1235(alice)"
    assert (status.user_uid, status.user_gid) == (1234, 1235)


async def test_a_number_that_the_image_does_not_know_is_itself(world: World) -> None:
    _, text = await world.run("id -u; id -g", world.secure(run_as_user=4321, run_as_group=4322))
    assert text.split() == ["4321", "4322"]


async def test_a_name_that_the_image_does_not_know_is_refused(world: World) -> None:
    with pytest.raises(CriError, match="unable to find user nobody-here: no matching entries in passwd file"):
        await world.create("true", world.secure(run_as_username="nobody-here"))
    assert await world.service.list_containers() == []


async def test_environment_and_working_directory(world: World) -> None:
    config = world.config(envs=(("FROM", "pod"), ("EMPTY", "")), working_dir="/made/here")
    _, text = await world.run("pwd; env", config)
    lines = text.splitlines()
    assert lines[0] == "/made/here"
    assert {"FROM=pod", "EMPTY=", "PATH=/bin", "HOSTNAME=web-0"} <= set(lines)


async def test_containers_of_a_pod_share_its_network_and_not_its_processes(world: World) -> None:
    await world.start("nc -l -p 8080 -e echo served")
    _, text = await world.run("sleep 0.3; nc 127.0.0.1 8080; ps | wc -l")
    assert text.splitlines()[0] == "served"
    assert int(text.splitlines()[1]) <= 4


async def test_a_pod_may_share_its_processes(world: World) -> None:
    shared = NamespaceOption(pid=NamespaceMode.POD)
    world.sandbox_config = msgspec.structs.replace(world.sandbox_config, namespaces=shared)
    await world.start("sleep 1234", world.secure(namespaces=shared))
    status, text = await world.run("sleep 0.2; ps; sleep 5 & echo orphaned", world.secure(namespaces=shared))
    assert "sleep 1234" in text
    assert status.exit_code == 0
    _, text = await world.run("ps", world.secure(namespaces=shared))
    assert "sleep 5" not in text, "what a container leaves behind ends with it"
    file = world.directory / "engine" / "sandboxes" / world.sandbox / "ns" / "pid"
    assert await asyncio.to_thread(processes_in, file)
    await world.service.remove_pod_sandbox(world.sandbox)
    assert not await asyncio.to_thread(file.exists)


async def test_a_container_may_look_into_another(world: World) -> None:
    target = await world.start("sleep 4321")
    option = NamespaceOption(pid=NamespaceMode.TARGET, target_id=target)
    _, text = await world.run("ps", world.secure(namespaces=option))
    assert "sleep 4321" in text


async def test_host_network_is_the_machines(world: World) -> None:
    world.sandbox_config = msgspec.structs.replace(
        world.sandbox_config, namespaces=NamespaceOption(network=NamespaceMode.NODE), hostname=""
    )
    _, text = await world.run("/bin/busybox readlink /proc/self/ns/net; hostname")
    network = await asyncio.to_thread(os.readlink, "/proc/self/ns/net")
    assert text.splitlines() == [network, socket.gethostname()]
    assert (await world.service.pod_sandbox_status(world.sandbox)).ip == ""


async def test_a_bridge_of_another_subnet_is_taken_over(world: World) -> None:
    await world.run("true")
    await world.service.remove_pod_sandbox(world.sandbox)
    threads, images = WorkerThreads("other", 2), await asyncio.to_thread(DirectoryImages, world.directory / "none")
    async with opened(world.directory / "other", threads, images, subnet="10.84.12.0/24") as service:
        sandbox = await service.run_pod_sandbox(world.sandbox_config)
        assert (await service.pod_sandbox_status(sandbox)).ip.startswith("10.84.12.")
        await service.remove_pod_sandbox(sandbox)
    await asyncio.to_thread(threads.close)


async def test_a_sandbox_that_gets_no_network_leaves_nothing(world: World) -> None:
    first = PortMapping(container_port=80, host_port=70000)
    with pytest.raises(CriError, match="failed to set up sandbox: plugin type='portmap' failed"):
        await world.service.run_pod_sandbox(msgspec.structs.replace(world.sandbox_config, port_mappings=(first,)))
    assert await world.service.list_pod_sandbox() == []
    state = world.directory / "engine"
    assert await asyncio.to_thread(lambda: list((state / "sandboxes").iterdir())) == []
    assert await asyncio.to_thread(lambda: list((state / "network").glob("*/10.*"))) == []


# -- rights and limits ------------------------------------------------------------------------------------------------


async def test_a_read_only_root_is(world: World) -> None:
    status, text = await world.run("touch /x || exit 4", world.secure(is_readonly_rootfs=True))
    assert (status.exit_code, "Read-only file system" in text) == (4, True)


async def test_what_an_ordinary_container_may_not(world: World) -> None:
    mount = "busybox mount -t tmpfs none /tmp && echo mounted"
    _, text = await world.run(f"{mount}; echo 1 > /proc/sys/kernel/domainname && echo written")
    assert "mounted" not in text
    assert "written" not in text


async def test_what_a_privileged_container_may(world: World) -> None:
    _, text = await world.run("busybox mount -t tmpfs none /tmp && echo mounted", world.secure(is_privileged=True))
    assert "mounted" in text


async def test_capabilities_are_added_and_dropped(world: World) -> None:
    change = Capability(add=("NET_ADMIN",), drop=("ALL",))
    _, text = await world.run("head -n 22 /proc/self/status", world.secure(capabilities=change, no_new_privs=True))
    values = dict(line.split(":\t") for line in text.splitlines() if ":\t" in line)
    _, more = await world.run("busybox grep -E 'Cap|NoNewPrivs' /proc/self/status", world.secure(capabilities=change))
    values = dict(line.split(":\t") for line in more.splitlines())
    assert int(values["CapEff"], 16) == 1 << 12
    assert int(values["CapBnd"], 16) == 1 << 12
    assert values["NoNewPrivs"] == "0"


async def test_no_new_privileges(world: World) -> None:
    _, text = await world.run("busybox grep NoNewPrivs /proc/self/status", world.secure(no_new_privs=True))
    assert text.split() == ["NoNewPrivs:", "1"]


async def test_a_container_that_eats_its_memory_is_oom_killed(world: World) -> None:
    resources = LinuxContainerResources(memory_limit_bytes=16 << 20)
    status, _ = await world.run(
        "busybox tail /dev/zero", world.config(resources=resources, command=("tail", "/dev/zero"))
    )
    assert (status.exit_code, status.reason) == (137, "OOMKilled")


async def test_limits_reach_the_cgroup(world: World) -> None:
    resources = LinuxContainerResources(cpu_period=100_000, cpu_quota=50_000, pids_limit=33, oom_score_adj=500)
    await world.start("sleep 1000", world.config(resources=resources))
    (container,) = await world.service.list_containers()
    answer = await world.service.exec_sync(container.id, ["cat", "/proc/1/oom_score_adj"], 5)
    assert answer.stdout == b"500\n"
    found = await asyncio.to_thread(
        lambda: {file.read_text().strip() for file in Path("/sys/fs/cgroup").glob(f"**/{container.id}/pids.max")}
    )
    assert found == {"33"}


# -- mounts -----------------------------------------------------------------------------------------------------------


async def test_a_host_path_is_mounted_and_made_if_absent(world: World) -> None:
    mounts = (
        Mount(container_path="/data", host_path=str(world.directory / "new" / "data")),
        Mount(container_path="/data/fixed", host_path=str(world.directory / "busybox" / "etc"), is_readonly=True),
    )
    script = "echo hi > /data/file; touch /data/fixed/x || echo refused; cat /data/fixed/group | head -n 1"
    _, text = await world.run(script, world.config(mounts=mounts))
    assert (world.directory / "new" / "data" / "file").read_text() == "hi\n"
    assert "refused" in text
    assert "root:x:0:" in text.splitlines()


async def test_an_image_volume_that_is_not_there(world: World) -> None:
    mount = Mount(container_path="/data", image=ImageSpec("sha256:" + "9" * 64))
    with pytest.raises(CriError, match="ImageVolumeMountFailed"):
        await world.create("true", world.config(mounts=(mount,)))


async def test_a_sub_path_of_an_image_cannot_lead_out_of_it(world: World) -> None:
    mount = Mount(container_path="/data", image=ImageSpec(world.image), image_sub_path="../../..")
    with pytest.raises(CriError, match="ImageVolumeMountFailed"):
        await world.create("true", world.config(mounts=(mount,)))


# -- logs -------------------------------------------------------------------------------------------------------------


async def test_streams_parts_and_unfinished_lines_are_told_apart(world: World) -> None:
    script = "echo out; echo err >&2; head -c 20000 /dev/zero | busybox tr '\\0' x; echo; printf end"
    status, _ = await world.run(script)
    raw = await asyncio.to_thread(Path(status.log_path).read_bytes)
    records = [record for line in raw.splitlines() if (record := parse_record(line))]
    assert {(record.stream, record.text) for record in records} >= {("stdout", b"out"), ("stderr", b"err")}
    long = [(record.is_partial, len(record.text)) for record in records if record.text.startswith(b"xx")]
    assert long == [(True, 16384), (False, 20000 - 16384)]
    assert [record.text for record in records if record.stream == "stdout"][-1] == b"end"


async def test_a_renamed_log_is_continued_in_a_new_file(world: World) -> None:
    container = await world.start("echo before; cat /tmp/go; echo after; sleep 1000", world.config(mounts=()))
    await world.service.exec_sync(container, ["true"], 5)
    path = Path((await world.service.container_status(container)).log_path)

    def rotate() -> None:
        path.rename(path.with_suffix(".1"))

    await asyncio.to_thread(rotate)
    await world.service.reopen_container_log(container)
    assert await asyncio.to_thread(path.read_bytes) == b""
    await world.service.stop_container(container, 0)


async def test_all_of_a_burst_is_logged(world: World) -> None:
    status, text = await world.run("seq 1 30000")
    assert text.split() == [str(number) for number in range(1, 30001)]
    assert status.exit_code == 0


# -- stopping ---------------------------------------------------------------------------------------------------------


async def test_the_stop_signal_is_the_containers_own(world: World) -> None:
    script = 'trap "exit 21" USR1; echo ready; while :; do sleep 0.05; done'
    container = await world.start(script, world.config(stop_signal="SIGUSR1"))
    await asyncio.sleep(0.2)
    await world.service.stop_container(container, 10)
    assert (await world.ended(container)).exit_code == 21


async def test_after_the_grace_period_it_is_killed(world: World) -> None:
    container = await world.start('trap "" TERM; while :; do sleep 0.05; done')
    await asyncio.sleep(0.1)
    started = asyncio.get_running_loop().time()
    await world.service.stop_container(container, 0.5)
    assert 0.5 <= asyncio.get_running_loop().time() - started < 3
    ended = await world.ended(container)
    assert (ended.exit_code, ended.reason) == (137, "Error")


async def test_a_killed_monitor_takes_its_container_with_it(world: World) -> None:
    container = await world.start("sleep 1000")
    pid_file = world.directory / "engine" / "containers" / container / "monitor.pid"
    init_file = pid_file.with_name("init.pid")
    init = int(await asyncio.to_thread(init_file.read_text))
    os.kill(int(await asyncio.to_thread(pid_file.read_text)), signal.SIGKILL)
    ended = await world.ended(container)
    assert (ended.exit_code, ended.reason) == (137, "Unknown")
    assert "monitor" in ended.message
    await world.service.remove_container(container)
    assert not await asyncio.to_thread(is_running, init)


def is_running(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
