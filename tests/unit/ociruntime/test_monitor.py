"""The monitor with a shell script in the OCI runtime's place: what it records when, with no container at all."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pullet.cri.log_format import LogRecord, parse_record
from pullet.kit.worker_threads import WorkerThreads
from pullet.ociruntime.cgroup import CgroupMode
from pullet.ociruntime.errors import OciRuntimeError, StartFailedError
from pullet.ociruntime.monitored_process import (
    Ended,
    Started,
    has_monitor,
    kill_monitor,
    open_monitor,
    read_ended,
    read_started,
    reopen_log,
    start_monitored,
)
from pullet.ociruntime.runtime import OciRuntime

# As `crun run --detach --pid-file FILE`: starts the process, leaves without waiting for it (a shell might).
RUNTIME = f"""#!{sys.executable} -ISE
import os, sys
option = {{name: sys.argv[sys.argv.index(name) + 1] for name in ("--log", "--pid-file", "--bundle")}}
bundle = option["--bundle"]
if os.path.exists(bundle + "/trips"):
    print("no such namespace", file=sys.stderr)
    sys.exit(1)
if os.path.exists(bundle + "/refuses"):
    print("noise on stderr", file=sys.stderr)
    with open(option["--log"], "w") as file:
        file.write('{{"msg":"it cannot be","level":"error"}}')
    sys.exit(1)
child = os.fork()
if child == 0:
    os.execv("/bin/sh", ["sh", bundle + "/script"])
with open(option["--pid-file"], "w") as file:
    file.write(str(child))
if os.path.exists(bundle + "/reaps"):
    os.wait()
"""


@pytest.fixture
def runtime(tmp_path: Path) -> OciRuntime:
    path = tmp_path / "runtime"
    path.write_text(RUNTIME)
    path.chmod(0o755)
    return OciRuntime(name="runc", path=str(path), state_directory=tmp_path / "state", cgroup_mode=CgroupMode.LEGACY)


@pytest.fixture
async def threads() -> AsyncIterator[WorkerThreads]:
    pool = WorkerThreads("test", 2)
    yield pool
    await asyncio.to_thread(pool.close)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    # longer than the address of a socket may be
    directory = tmp_path / ("x" * 100) / ("c" * 64)
    directory.mkdir(parents=True)
    return directory


async def start(runtime: OciRuntime, threads: WorkerThreads, bundle: Path, script: str) -> Started:
    await asyncio.to_thread((bundle / "script").write_text, script)
    return await start_monitored(
        runtime,
        threads=threads,
        container_id=bundle.name,
        directory=bundle,
        log_path=bundle / "log",
        has_terminal=False,
        has_stdin=False,
        stdin_once=False,
    )


async def ended(bundle: Path) -> Ended:
    async with asyncio.timeout(10):
        while await asyncio.to_thread(has_monitor, bundle):
            await asyncio.sleep(0.01)
    found = await asyncio.to_thread(read_ended, bundle)
    assert found is not None
    return found


def records(path: Path) -> list[LogRecord]:
    return [record for line in path.read_bytes().splitlines() if (record := parse_record(line))]


async def test_exit_codes_and_output_are_recorded(runtime: OciRuntime, threads: WorkerThreads, bundle: Path) -> None:
    started = await start(runtime, threads, bundle, "echo out; echo err >&2; printf rest; exit 42")
    assert await asyncio.to_thread(read_started, bundle) == started
    end = await ended(bundle)
    assert (end.kind, end.exit_code) == ("exited", 42)
    assert end.finished_at >= started.started_at
    written = await asyncio.to_thread(records, bundle / "log")
    assert [record.text for record in written if record.stream == "stdout"] == [b"out", b"rest"]
    assert [record.text for record in written if record.stream == "stderr"] == [b"err"]


async def test_a_signal_is_128_and_its_number(runtime: OciRuntime, threads: WorkerThreads, bundle: Path) -> None:
    await start(runtime, threads, bundle, "kill -9 $$")
    assert (await ended(bundle)).exit_code == 137


async def test_a_runtime_that_refuses(runtime: OciRuntime, threads: WorkerThreads, bundle: Path) -> None:
    await asyncio.to_thread((bundle / "refuses").touch)
    with pytest.raises(StartFailedError, match="OCI runtime create failed: it cannot be: unknown"):
        await start(runtime, threads, bundle, "")
    end = await ended(bundle)
    assert (end.kind, end.exit_code) == ("failed", 1)
    assert await asyncio.to_thread((bundle / "log").read_bytes) == b"", "the runtime's noise is not the container's"


async def test_a_runtime_that_fails_before_it_has_a_log_is_heard(
    runtime: OciRuntime, threads: WorkerThreads, bundle: Path
) -> None:
    await asyncio.to_thread((bundle / "trips").touch)
    with pytest.raises(StartFailedError, match="OCI runtime create failed: no such namespace: unknown"):
        await start(runtime, threads, bundle, "")
    assert await asyncio.to_thread((bundle / "log").read_bytes) == b""


async def test_an_exit_code_that_somebody_else_took_is_unknown(
    runtime: OciRuntime, threads: WorkerThreads, bundle: Path
) -> None:
    await asyncio.to_thread((bundle / "reaps").touch)
    await start(runtime, threads, bundle, "")
    async with asyncio.timeout(10):
        while await asyncio.to_thread(has_monitor, bundle):
            await asyncio.sleep(0.01)
    assert await asyncio.to_thread(read_ended, bundle) is None


async def test_a_monitor_is_found_again_by_its_lock(runtime: OciRuntime, threads: WorkerThreads, bundle: Path) -> None:
    assert not await asyncio.to_thread(has_monitor, bundle)
    assert await asyncio.to_thread(open_monitor, bundle) is None
    started = await start(runtime, threads, bundle, "exec sleep 100")
    assert await asyncio.to_thread(has_monitor, bundle)
    pidfd = await asyncio.to_thread(open_monitor, bundle)
    assert pidfd is not None
    os.close(pidfd)
    with pytest.raises(OciRuntimeError, match="a monitor is already running"):
        await start(runtime, threads, bundle, "exec sleep 100")
    os.kill(started.pid, signal.SIGTERM)
    assert (await ended(bundle)).exit_code == 143


async def test_a_stale_pid_is_not_believed(bundle: Path) -> None:
    await asyncio.to_thread((bundle / "monitor.pid").write_text, f"{os.getpid()}\n")
    assert await asyncio.to_thread(open_monitor, bundle) is None


async def test_a_killed_monitor_leaves_no_ending(runtime: OciRuntime, threads: WorkerThreads, bundle: Path) -> None:
    started = await start(runtime, threads, bundle, "exec sleep 100")
    await asyncio.to_thread(kill_monitor, bundle)
    async with asyncio.timeout(10):
        while await asyncio.to_thread(has_monitor, bundle):
            await asyncio.sleep(0.01)
    assert await asyncio.to_thread(read_ended, bundle) is None
    os.kill(started.pid, signal.SIGKILL)


async def test_the_log_is_opened_anew(runtime: OciRuntime, threads: WorkerThreads, bundle: Path) -> None:
    script = f"echo one; while [ ! -e {bundle}/go ]; do sleep 0.02; done; echo two"
    await start(runtime, threads, bundle, script)
    log = bundle / "log"
    async with asyncio.timeout(10):
        while not await asyncio.to_thread(log.read_bytes):
            await asyncio.sleep(0.01)
    await asyncio.to_thread(log.rename, bundle / "log.1")
    await asyncio.to_thread(reopen_log, bundle)
    await asyncio.to_thread((bundle / "go").touch)
    await ended(bundle)
    assert [record.text for record in await asyncio.to_thread(records, bundle / "log.1")] == [b"one"]
    assert [record.text for record in await asyncio.to_thread(records, log)] == [b"two"]


async def test_a_background_child_that_keeps_the_pipe_does_not_keep_the_monitor(
    runtime: OciRuntime, threads: WorkerThreads, bundle: Path
) -> None:
    started = await start(runtime, threads, bundle, "sleep 3 & echo parent gone; exit 8")
    assert started.pid > 0
    async with asyncio.timeout(2):
        assert (await ended(bundle)).exit_code == 8
    assert [record.text for record in await asyncio.to_thread(records, bundle / "log")] == [b"parent gone"]


async def test_an_unwritable_log_does_not_stop_the_container(
    runtime: OciRuntime, threads: WorkerThreads, bundle: Path
) -> None:
    await asyncio.to_thread((bundle / "script").write_text, "echo lost; exit 3")
    await start_monitored(
        runtime,
        threads=threads,
        container_id=bundle.name,
        directory=bundle,
        log_path=Path("/dev/full"),
        has_terminal=False,
        has_stdin=False,
        stdin_once=False,
    )
    assert (await ended(bundle)).exit_code == 3
