"""`pullet up` as a process of its own, driven from outside: stock kubectl, the pullet command, signals.

Nothing here imports pullet: what these tests see is what a user sees. After `down()` the machine must be as before;
`leaks()` says what is not.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

READY_SECONDS = 30.0
DOWN_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class Ran:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str

    def ok(self) -> str:
        """Its output; fails the test when it failed."""
        assert self.code == 0, f"exit code {self.code}\n{self.stdout}\n{self.stderr}"
        return self.stdout


class Pullet:
    """One `pullet up` at one root. `start()` and `kill()` may follow each other as often as a test likes."""

    def __init__(
        self,
        root: Path,
        *,
        node_name: str = "node1",
        config: Mapping[str, Any] | None = None,
        arguments: Sequence[str] = (),
    ) -> None:
        self.root = root
        self.node_name = node_name
        self.kubeconfig = root / "kubeconfig"
        self.log_path = root.with_name(f"{root.name}.log")
        self._home = root.with_name(f"{root.name}.home")
        self.config_path = root.with_name(f"{root.name}.yaml")
        self._config = dict(config or {})
        self._arguments = list(arguments)
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    def start(self, *, environment: Mapping[str, str] | None = None, wait: bool = True) -> None:
        """Start it; with `wait`, return when the node is Ready.

        Its output is appended to `log_path`. Fails the test, with the end of the log, when it ends instead.
        """
        self._home.mkdir(parents=True, exist_ok=True)
        arguments = ["up", "--root", str(self.root), "--node-name", self.node_name, *self._default_ports()]
        if self._config:
            self.config_path.write_text(yaml.safe_dump(self._config))
            arguments += ["--config", str(self.config_path)]
        with self.log_path.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                pullet_command(*arguments, *self._arguments),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )
        if wait:
            self.wait_ready()

    def _default_ports(self) -> list[str]:
        given = " ".join(self._arguments)
        return [
            word
            for option in ("--port", "--registry-port")
            if f"{option} " not in f"{given} " and f"{option}=" not in given
            for word in (option, "0")
        ]

    def wait_ready(self) -> None:
        """Wait until it says that it is up: its nodes are Ready then."""
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            self._must_run()
            if b"pullet is up: " in self.log_path.read_bytes()[self._log_start :]:
                return
            time.sleep(0.02)
        raise AssertionError(f"not up after {READY_SECONDS} s; log:\n{self.log_tail()}")

    def _must_run(self) -> None:
        assert self._process is not None, "not started"
        if self._process.poll() is not None:
            raise AssertionError(f"pullet up ended with {self._process.returncode}; log:\n{self.log_tail()}")

    def wait_end(self, seconds: float = DOWN_SECONDS) -> int:
        """Wait until the process has ended; gives its exit code."""
        assert self._process is not None, "not started"
        return self._process.wait(seconds)

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """SIGKILL, as a crash or the kernel would; its containers stay."""
        assert self._process is not None, "not started"
        self._process.kill()
        self._process.wait()

    def interrupt(self) -> int:
        """SIGINT, as Ctrl-C: the node ends, its containers stay."""
        assert self._process is not None, "not started"
        self._process.send_signal(signal.SIGINT)
        return self._process.wait(DOWN_SECONDS)

    def down(self) -> None:
        """`pullet down`: ends the node and everything it started."""
        if not self.is_running():
            return
        self.pullet("down", "--grace-period", "0").ok()
        self.wait_end()

    def kubectl(
        self, *arguments: str, stdin: str | None = None, namespace: str = "", timeout_seconds: float = 60
    ) -> Ran:
        """Run kubectl against this node."""
        words = [*self.kubectl_command(), *arguments]
        if namespace:
            words += ["-n", namespace]
        return run(words, stdin=stdin, environment=self.kubectl_environment(), timeout_seconds=timeout_seconds)

    def kubectl_command(self) -> list[str]:
        return ["kubectl", "--cache-dir", str(self._home / "cache")]

    def kubectl_environment(self) -> dict[str, str]:
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig), "HOME": str(self._home)}

    def pullet(self, *arguments: str, stdin: str | None = None, timeout_seconds: float = 60) -> Ran:
        """Run the pullet command at this root."""
        return run(pullet_command(*arguments, "--root", str(self.root)), stdin=stdin, timeout_seconds=timeout_seconds)

    def log_tail(self, characters: int = 6000) -> str:
        """The end of what it printed."""
        return self.log_path.read_text(errors="replace")[-characters:] if self.log_path.exists() else ""

    def leaks(self) -> list[str]:
        """What this root still has on the machine: processes, mounts, network namespaces."""
        processes = [f"process {pid}: {command}" for pid, command in _processes_of(self.root)]
        return [*processes, *_mounts_of(self.root)]

    def assert_no_leaks(self, *, seconds: float = 5.0) -> None:
        """Fail the test unless everything of this root is gone within `seconds`."""
        deadline = time.monotonic() + seconds
        while (left := self.leaks()) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not left, "left behind:\n" + "\n".join(left)


@contextmanager
def running(pullet: Pullet) -> Iterator[Pullet]:
    """Start, hand over, take down, and check that nothing is left."""
    try:
        pullet.start()
        yield pullet
        pullet.down()
    finally:
        clean_up(pullet)
    pullet.assert_no_leaks()


def clean_up(pullet: Pullet) -> None:
    """Whatever happened: no process of this root stays on the machine, also of a node that was killed before."""
    if pullet.is_running():
        with suppress(subprocess.TimeoutExpired):
            run(pullet_command("down", "--grace-period", "0", "--root", str(pullet.root)), timeout_seconds=DOWN_SECONDS)
    if pullet.is_running():
        pullet.kill()
    for process, _ in _processes_of(pullet.root):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


@contextmanager
def scratch_directory(name: str) -> Iterator[Path]:
    """A directory on a real disk (overlay mounts want one), gone afterwards unless something is mounted there."""
    base = Path(os.environ.get("PULLET_TEST_DIR", "/var/tmp"))
    directory = Path(tempfile.mkdtemp(prefix=f"pullet-{name}-", dir=base))
    try:
        yield directory
    finally:
        for mount_point in sorted(mount_points_under(directory), reverse=True):
            subprocess.run(["umount", "-l", mount_point], check=False, capture_output=True)
        shutil.rmtree(directory, ignore_errors=True)


def pullet_command(*arguments: str) -> list[str]:
    """The command line of `pullet ARGUMENTS` with the interpreter of the tests."""
    return [sys.executable, "-m", "pullet", *arguments]


def run(
    words: Sequence[str],
    *,
    stdin: str | None = None,
    environment: Mapping[str, str] | None = None,
    timeout_seconds: float = 60,
) -> Ran:
    """Run a command to its end."""
    ended = subprocess.run(
        list(words),
        input=stdin if stdin is not None else "",
        capture_output=True,
        text=True,
        env=dict(environment) if environment is not None else None,
        timeout=timeout_seconds,
        check=False,
    )
    return Ran(code=ended.returncode, stdout=ended.stdout, stderr=ended.stderr)


def mount_points_under(directory: Path) -> list[str]:
    """Mount points in this mount namespace at or below `directory`."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [point for point in points if point == str(directory) or point.startswith(f"{directory}/")]


def _mounts_of(root: Path) -> Iterator[str]:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if f"{root}/" in line or line.split()[4] == str(root):
            yield f"mount: {line}"


def _processes_of(root: Path) -> Iterator[tuple[int, str]]:
    """Processes that name the root in their command line or cgroup, or whose root file system lies under it."""
    for process in Path("/proc").iterdir():
        if not process.name.isdigit() or int(process.name) == os.getpid():
            continue
        try:
            words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
            cgroup = (process / "cgroup").read_text()
            own_root = [line for line in (process / "mountinfo").read_text().splitlines() if line.split()[4] == "/"]
        except OSError:
            continue  # it ended while we looked
        is_named = any(word.endswith(str(root)) or f"{root}/" in word for word in words)
        if is_named or str(root) in cgroup or any(f"{root}/" in line for line in own_root):
            yield int(process.name), " ".join(words)
