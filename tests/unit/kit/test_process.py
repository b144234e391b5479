"""Commands: their ends, their output, and what is left of them."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from pullet.kit.process import MAX_OUTPUT_BYTES, CommandMissingError, CommandTimeoutError, run_command, wait_readable

FORKS = """
import os, sys, time
print("answer", flush=True)
if os.fork():
    os._exit(3)
null = os.open("/dev/null", os.O_RDWR)
for number in (0, 1, 2):
    os.dup2(null, number)
time.sleep(30)
"""


async def test_output_and_exit_code() -> None:
    result = await run_command([sys.executable, "-c", "import sys; print('out'); sys.stderr.write('err'); sys.exit(4)"])
    assert (result.exit_code, result.stdout, result.stderr) == (4, b"out\n", b"err")


async def test_input_reaches_the_command() -> None:
    data = os.urandom(1 << 20)
    result = await run_command(["cat"], stdin=data)
    assert result.stdout == data[:MAX_OUTPUT_BYTES]


async def test_a_command_ends_with_its_process_even_if_a_child_of_it_lives_on() -> None:
    started = time.monotonic()
    result = await run_command([sys.executable, "-c", FORKS])
    assert (result.exit_code, result.stdout) == (3, b"answer\n")
    assert time.monotonic() - started < 20


async def test_a_missing_command_is_named() -> None:
    with pytest.raises(CommandMissingError, match="nosuchcommand: command not found"):
        await run_command(["nosuchcommand"])


async def test_too_long_kills_the_whole_group() -> None:
    with pytest.raises(CommandTimeoutError):
        await run_command(["sh", "-c", "sleep 30 & sleep 30"], timeout_seconds=0.2)


async def test_cancelling_kills_and_reaps() -> None:
    task = asyncio.get_running_loop().create_task(run_command(["sleep", "30"]))
    async with asyncio.timeout(30):
        while "sleep" not in children():
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert "sleep" not in children()


def children() -> set[str]:
    """The names of our child processes, those that were not reaped among them."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            name, _, rest = (process / "stat").read_text().partition(" (")[2].rpartition(") ")
            if int(rest.split()[1]) == os.getpid():
                found.add(name)
    return found


async def test_waiting_for_a_descriptor_ends_when_there_is_something() -> None:
    read, write = os.pipe()
    try:
        async with asyncio.timeout(5), asyncio.TaskGroup() as group:
            group.create_task(wait_readable(read))
            await asyncio.sleep(0.05)
            os.write(write, b"x")
    finally:
        os.close(read)
        os.close(write)
