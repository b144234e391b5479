"""Start a node in a process of its own and wait until it serves; end it again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pullet.base.errors import UsageError
from pullet.control.client import ControlClient, NodeNotRunningError

START_SECONDS = 60.0
STOP_SECONDS = 60.0
LOG_NAME = "pullet.log"


def start_detached(root: Path, arguments: Sequence[str]) -> int:
    """Start `pullet up` with `arguments` as a process of its own session, its log in the root; gives the pid.

    Returns when the node is Ready.

    Raises:
        UsageError: it ended or did not get ready in time; the text holds the end of its log.
    """
    root.mkdir(parents=True, exist_ok=True)
    log_path = root / LOG_NAME
    with log_path.open("ab") as log:
        start_of_log = log.tell()
        child = subprocess.Popen(
            [sys.executable, "-m", "pullet", "up", "--root", str(root), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    client = ControlClient(root)
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise UsageError(_why_ended(log_path, start_of_log, child.returncode))
        try:
            status = client.call("GET", "/v1/status")
            if status["pid"] == child.pid:
                return child.pid
        except NodeNotRunningError:
            pass
        time.sleep(0.02)
    child.kill()
    raise UsageError(f"the node at {root} did not get ready within {START_SECONDS:.0f} s; its log is {log_path}")


def _why_ended(log_path: Path, start: int, code: int) -> str:
    with log_path.open("rb") as log:
        log.seek(start)
        said = log.read().decode(errors="replace").strip().splitlines()
    errors = [line.removeprefix("error: ") for line in said if line.startswith("error: ")]
    return errors[-1] if errors else f"the node ended with code {code}: {said[-1] if said else 'it said nothing'}"


@contextmanager
def ephemeral_node(arguments: Sequence[str] = ()) -> Iterator[Path]:
    """A node on free ports with a root of its own that is gone afterwards, pods and all; gives the root."""
    base = Path(os.environ.get("PULLET_EPHEMERAL_DIR", "/var/tmp"))
    root = Path(tempfile.mkdtemp(prefix="pullet-", dir=base))
    pid = 0
    try:
        pid = start_detached(root, ["--port", "0", "--registry-port", "0", *arguments])
        yield root
    finally:
        if pid:
            _stop(root, pid)
        shutil.rmtree(root, ignore_errors=True)


def _stop(root: Path, pid: int) -> None:
    client = ControlClient(root)
    try:
        client.call("POST", "/v1/down", {"stop_pods": True})
    except (NodeNotRunningError, OSError):
        return
    deadline = time.monotonic() + STOP_SECONDS
    while _is_alive(pid):
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            return
        time.sleep(0.02)


def _is_alive(pid: int) -> bool:
    try:
        done, _ = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return Path(f"/proc/{pid}").exists()
    return done == 0
