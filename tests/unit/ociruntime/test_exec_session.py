"""Exec with a terminal, with a script in the place of an OCI runtime that wants to be given one (runc)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pullet.kit.worker_threads import WorkerThreads
from pullet.ociruntime.cgroup import CgroupMode
from pullet.ociruntime.errors import ExecFailedError
from pullet.ociruntime.exec_session import ExecSession, open_exec
from pullet.ociruntime.runtime import OciRuntime


@pytest.fixture
async def threads() -> AsyncIterator[WorkerThreads]:
    pool = WorkerThreads("test", 2)
    yield pool
    await asyncio.to_thread(pool.close)


def runtime(directory: Path, script: str) -> OciRuntime:
    path = directory / "runtime"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    (directory / "config.json").write_text(json.dumps({"process": {"env": [], "args": []}}))
    return OciRuntime(name="runc", path=str(path), state_directory=directory, cgroup_mode=CgroupMode.UNIFIED)


async def read_all(session: ExecSession) -> bytes:
    assert session.terminal is not None
    text = b""
    while data := await session.terminal.read():
        text += data
    return text


async def test_a_runtime_that_sends_no_terminal_is_given_one(tmp_path: Path, threads: WorkerThreads) -> None:
    script = "trap 'stty size; exit 3' WINCH; read -r word; echo $word; while :; do sleep 0.01; done"
    made = await asyncio.to_thread(runtime, tmp_path, script)
    async with open_exec(
        made, threads=threads, container_id="c", directory=tmp_path, command=["x"], has_terminal=True, has_stdin=True
    ) as session:
        assert session.terminal is not None
        await session.terminal.write(b"typed\n")
        assert await session.terminal.read() == b"typed\n", "nothing is echoed"
        session.terminal.resize(132, 43)
        assert await read_all(session) == b"43 132\n"
        assert await session.wait(threads) == 3


async def test_its_refusal_is_told(tmp_path: Path, threads: WorkerThreads) -> None:
    made = await asyncio.to_thread(
        runtime,
        tmp_path,
        """while [ "$1" != --log ]; do shift; done; echo '{"level":"error","msg":"no"}' >$2; exit 1""",
    )
    async with open_exec(
        made, threads=threads, container_id="c", directory=tmp_path, command=["x"], has_terminal=True, has_stdin=True
    ) as session:
        assert await read_all(session) == b""
        with pytest.raises(ExecFailedError, match="unable to start container process: no: unknown"):
            await session.wait(threads)
