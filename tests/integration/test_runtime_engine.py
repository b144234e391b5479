"""What the engine's containers get and do, on real parts: identity, limits, mounts, streams, logs, endings."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from pullet.cri.errors import CriError
from pullet.cri.log_format import parse_record
from pullet.cri.types import (
    Capability,
    ContainerConfig,
    ContainerMetadata,
    ContainerState,
    ContainerStatus,
    DNSConfig,
    ImageSpec,
    LinuxContainerResources,
    LinuxContainerSecurityContext,
    Mount,
    NamespaceMode,
    NamespaceOption,
    PodSandboxConfig,
    PodSandboxMetadata,
    PortMapping,
)
from pullet.engine.runtime_service import EngineRuntimeService
from pullet.kit.clock import SystemClock
from pullet.kit.worker_threads import WorkerThreads
from pullet.ociruntime.cni import NetworkSettings
from pullet.ociruntime.namespaces import processes_in
from pullet.testing.directory_images import DirectoryImages, busybox_image

pytestmark = pytest.mark.root


@dataclass
class World:
    """An engine with one image, opened as often as a test likes."""

    directory: Path
    image: str
    service: EngineRuntimeService
    sandbox_config: PodSandboxConfig
    sandbox: str = ""
    names: list[str] = field(default_factory=list)

    async def create(self, script: str, config: ContainerConfig | None = None) -> str:
        """A container of the world's sandbox that runs the shell script."""
        if not self.sandbox:
            self.sandbox = await self.service.run_pod_sandbox(self.sandbox_config)
        name = f"c{len(self.names)}"
        self.names.append(name)
        base = config or ContainerConfig(metadata=ContainerMetadata(""), image=ImageSpec(self.image))
        made = replace(
            base, metadata=ContainerMetadata(name), log_path=f"{name}.log", command=base.command or ("sh", "-c", script)
        )
        return await self.service.create_container(self.sandbox, made, self.sandbox_config)

    async def start(self, script: str, config: ContainerConfig | None = None) -> str:
        container = await self.create(script, config)
        await self.service.start_container(container)
        return container

    async def run(self, script: str, config: ContainerConfig | None = None) -> tuple[ContainerStatus, str]:
        """Its ending and what it wrote."""
        status = await self.ended(await self.start(script, config))
        return status, await self.text(status)

    async def ended(self, container: str) -> ContainerStatus:
        async with asyncio.timeout(15):
            while (status := await self.service.container_status(container)).state is not ContainerState.EXITED:
                await asyncio.sleep(0.02)
        return status

    async def text(self, status: ContainerStatus) -> str:
        raw = await asyncio.to_thread(Path(status.log_path).read_bytes)
        return "".join(record.text.decode() + "\n" for line in raw.splitlines() if (record := parse_record(line)))

    def config(self, **changes: object) -> ContainerConfig:
        base = ContainerConfig(metadata=ContainerMetadata(""), image=ImageSpec(self.image))
        return replace(base, **changes)  # type: ignore[arg-type]  # checked by the dataclass's own constructor

    def secure(self, **changes: object) -> ContainerConfig:
        context = replace(LinuxContainerSecurityContext(), **changes)  # type: ignore[arg-type]  # as above
        return self.config(security_context=context)


@asynccontextmanager
async def opened(
    directory: Path, threads: WorkerThreads, images: DirectoryImages, *, subnet: str = "10.84.2.0/24"
) -> AsyncIterator[EngineRuntimeService]:
    async with asyncio.TaskGroup() as group:
        service = await EngineRuntimeService.open(
            root=directory / "engine",
            images=images,
            network=NetworkSettings(bridge="pullettest2", subnet=subnet),
            clock=SystemClock(),
            threads=threads,
            group=group,
        )
        yield service
        await service.close()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    threads = WorkerThreads("engine", 4)
    images = await asyncio.to_thread(DirectoryImages, tmp_path / "images")
    image, rootfs = await asyncio.to_thread(busybox_image, tmp_path / "busybox")
    images.add(image, rootfs)
    config = PodSandboxConfig(
        metadata=PodSandboxMetadata("web", "uid-1", "default"),
        hostname="web-0",
        log_directory=str(tmp_path / "logs"),
        dns_config=DNSConfig(servers=("10.96.0.10",), searches=("svc.local",), options=("ndots:5",)),
    )
    try:
        async with opened(tmp_path, threads, images) as service:
            yield World(tmp_path, image.id, service, config)
            for sandbox in await service.list_pod_sandbox():
                await service.remove_pod_sandbox(sandbox.id)
    finally:
        await asyncio.to_thread(threads.close)


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
    world.sandbox_config = replace(world.sandbox_config, namespaces=shared)
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
    world.sandbox_config = replace(
        world.sandbox_config, namespaces=NamespaceOption(network=NamespaceMode.NODE), hostname=""
    )
    _, text = await world.run("cat /proc/net/dev; hostname")
    assert "eth0" in text
    assert text.splitlines()[-1] == socket.gethostname()
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
        await world.service.run_pod_sandbox(replace(world.sandbox_config, port_mappings=(first,)))
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


# -- streams ----------------------------------------------------------------------------------------------------------


class FarEnd:
    """The client's side of exec and attach."""

    def __init__(self, *typed: bytes) -> None:
        self.typed: asyncio.Queue[bytes] = asyncio.Queue()
        for data in typed:
            self.typed.put_nowait(data)
        self.sizes: asyncio.Queue[tuple[int, int]] = asyncio.Queue()
        self.stdout, self.stderr = b"", b""

    async def read_stdin(self) -> bytes:
        return await self.typed.get()

    async def write_stdout(self, data: bytes) -> None:
        self.stdout += data

    async def write_stderr(self, data: bytes) -> None:
        self.stderr += data

    async def next_resize(self) -> tuple[int, int]:
        return await self.sizes.get()

    async def saw(self, text: bytes) -> None:
        async with asyncio.timeout(10):
            while text not in self.stdout:
                await asyncio.sleep(0.02)


async def test_exec_streams_both_ways(world: World) -> None:
    container = await world.start("sleep 1000")
    far = FarEnd(b"one\n", b"two\n", b"")
    code = await world.service.exec_stream(
        container, ["sh", "-c", "cat; echo bad >&2; exit 7"], tty=False, stdin=True, io=far
    )
    assert (far.stdout, far.stderr, code) == (b"one\ntwo\n", b"bad\n", 7)


async def test_exec_with_a_terminal(world: World) -> None:
    container = await world.start("sleep 1000")
    far = FarEnd()
    far.sizes.put_nowait((132, 43))
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        running = group.create_task(
            world.service.exec_stream(container, ["sh"], tty=True, stdin=True, io=far), name="exec"
        )
        await asyncio.sleep(0.3)
        far.typed.put_nowait(b"stty size; tty_is=$TERM; echo $tty_is; exit 3\n")
    assert running.result() == 3
    assert b"43 132" in far.stdout
    assert b"xterm" in far.stdout


async def test_exec_of_what_is_not_there(world: World) -> None:
    container = await world.start("sleep 1000")
    with pytest.raises(CriError, match='exec: "nosuch": executable file not found in'):
        await world.service.exec_stream(container, ["nosuch"], tty=False, stdin=False, io=FarEnd())
    with pytest.raises(CriError, match='exec: "nosuch": executable file not found in'):
        await world.service.exec_stream(container, ["nosuch"], tty=True, stdin=False, io=FarEnd())


async def test_a_cancelled_exec_leaves_no_process(world: World) -> None:
    container = await world.start("sleep 1000")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await world.service.exec_stream(container, ["sleep", "999"], tty=False, stdin=False, io=FarEnd())
    answer = await world.service.exec_sync(container, ["ps"], 5)
    assert b"sleep 1000" in answer.stdout
    assert b"sleep 999" not in answer.stdout


async def test_attach_types_and_reads(world: World) -> None:
    config = world.config(stdin=True, stdin_once=True, command=("sh", "-c", "cat; echo over"))
    container = await world.start("", config)
    far = FarEnd(b"hello\n")
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        group.create_task(world.service.attach_stream(container, tty=False, stdin=True, io=far))
        await far.saw(b"hello\n")
        far.typed.put_nowait(b"")
    assert far.stdout == b"hello\nover\n"
    assert (await world.ended(container)).exit_code == 0


async def test_attach_to_a_terminal(world: World) -> None:
    container = await world.start("", world.config(stdin=True, tty=True, command=("sh",)))
    far = FarEnd()
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        group.create_task(world.service.attach_stream(container, tty=True, stdin=True, io=far))
        far.sizes.put_nowait((99, 33))
        await asyncio.sleep(0.3)
        far.typed.put_nowait(b"stty size\n")
        await far.saw(b"33 99")
        far.typed.put_nowait(b"exit 12\n")
    assert (await world.ended(container)).exit_code == 12
    assert "33 99" in await world.text(await world.service.container_status(container))


async def test_two_attached_see_the_same_and_leaving_does_no_harm(world: World) -> None:
    container = await world.start("while :; do echo tick; sleep 0.1; done")
    first, second = FarEnd(), FarEnd()
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(world.service.attach_stream(container, tty=False, stdin=False, io=far))
            for far in (first, second)
        ]
        await first.saw(b"tick")
        await second.saw(b"tick")
        tasks[0].cancel()
        second.stdout = b""
        await second.saw(b"tick\ntick")
        tasks[1].cancel()
    assert (await world.service.container_status(container)).state is ContainerState.RUNNING


async def test_port_forward_reaches_the_pods_loopback(world: World) -> None:
    await world.start("nc -l -p 9000 -e echo from inside")
    await asyncio.sleep(0.3)
    received = []

    async def read(descriptor: int) -> None:
        with socket.socket(fileno=descriptor) as connection:
            connection.setblocking(False)
            received.append(await asyncio.get_running_loop().sock_recv(connection, 100))

    await world.service.port_forward(world.sandbox, 9000, read)
    assert received == [b"from inside\n"]
    with pytest.raises(CriError, match="failed to connect to localhost:9001"):
        await world.service.port_forward(world.sandbox, 9001, read)


async def test_a_host_port_leads_into_the_pod(world: World) -> None:
    with socket.socket() as probe:
        probe.bind(("", 0))
        port = probe.getsockname()[1]
    mapping = PortMapping(container_port=80, host_port=port)
    world.sandbox_config = replace(world.sandbox_config, port_mappings=(mapping,))
    await world.start("nc -l -p 80 -e echo published")
    await asyncio.sleep(0.3)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    assert await reader.read() == b"published\n"
    writer.close()
    await writer.wait_closed()
