"""A process that holds secrets leaves no core dump; what it starts is not concerned."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys

import pytest

GET = "import ctypes; print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), flush=True)"
GUARD = "from pullet.kit.secrecy import forbid_core_dumps; forbid_core_dumps()"
# the target has nobody's identity, and so has whoever tries to read its memory, as gcore would
PEEK = """
import ctypes, os, signal, sys
start, stop = os.pipe(), os.pipe()
target = os.fork()
if not target:
    os.setuid(65534)
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
    exec(sys.argv[1])
    os.write(start[1], b"x")
    os.read(stop[0], 1)
    os._exit(0)
os.read(start[0], 1)
os.setuid(65534)
try:
    open(f"/proc/{target}/mem", "rb").close()
    print("read")
except PermissionError:
    print("refused")
os.write(stop[1], b"x")
os.waitpid(target, 0)
"""


def run(*programs: str, arguments: tuple[str, ...] = ()) -> list[str]:
    command = [sys.executable, "-c", "\n".join(programs), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.split()


def test_the_process_is_not_dumpable_and_its_children_are_as_they_were() -> None:
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {GET!r}], check=True)"
    assert run(GET, GUARD, GET, child) == ["1", "0", "1"]


def test_an_abort_leaves_no_core() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    wait = "import signal; print(flush=True); signal.pause()"
    with subprocess.Popen([sys.executable, "-c", f"{GUARD}; {wait}"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        resource.prlimit(process.pid, resource.RLIMIT_CORE, (hard, hard))
        process.send_signal(signal.SIGABRT)
        ended = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert ended is not None
        assert (ended.si_code, ended.si_status) == (os.CLD_KILLED, signal.SIGABRT)


@pytest.mark.root
@pytest.mark.parametrize(("guard", "outcome"), [("pass", ["read"]), (GUARD, ["refused"])])
def test_its_memory_is_read_by_no_unprivileged_process(guard: str, outcome: list[str]) -> None:
    assert run("import pullet.kit.secrecy", PEEK, arguments=(guard,)) == outcome
