"""crun or runc as a command: how it is called and what its messages mean."""

from __future__ import annotations

import json
import os
import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final

from pullet.base.values import Value
from pullet.kit.process import CommandResult, run_command
from pullet.ociruntime import cgroup
from pullet.ociruntime.cgroup import CgroupMode
from pullet.ociruntime.errors import OciRuntimeError, RuntimeChangedError, RuntimeMissingError

SEARCH_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT: Final = {"PATH": SEARCH_PATH}
NAMES: Final = ("crun", "runc")  # the first that is there is taken
_STATE_OF_OTHER: Final = {"crun": "state.json", "runc": "status"}  # the file that the other one keeps of a container

# A hybrid machine whose v2 tree has controllers stops crun; in a mount namespace of its own it does not see that tree.
_WITHOUT_V2_TREE: Final = (
    "/usr/bin/unshare",
    "--mount",
    "--propagation",
    "slave",
    "/bin/sh",
    "-c",
    'umount /sys/fs/cgroup/unified; exec "$@"',
    "sh",
)

_NOT_FOUND: Final = re.compile(r"executable file `(?P<name>.*?)` not found in \$PATH")


class OciRuntime(Value, kw_only=True):
    """One OCI runtime with its state directory. Made by `find_runtime`."""

    name: str  # crun | runc
    path: str
    state_directory: Path
    cgroup_mode: CgroupMode
    prefix: tuple[str, ...] = ()

    @property
    def sends_terminals(self) -> bool:
        """Whether an `exec` that waits for its process hands its terminal over; runc does so only when it leaves."""
        return self.name == "crun"

    def command(self, *arguments: str, log: Path | None = None) -> list[str]:
        """The whole argv of one call; `log` is where it writes its messages as JSON lines."""
        argv = [*self.prefix, self.path, "--root", str(self.state_directory)]
        if self.name == "crun":
            argv += ["--cgroup-manager", "cgroupfs"]
        if log is not None:
            argv += ["--log", str(log), "--log-format", "json"]
        return [*argv, *arguments]

    async def call(self, *arguments: str, timeout_seconds: float = 60.0) -> CommandResult:
        """Run one short command of the runtime."""
        return await run_command(self.command(*arguments), environment=ENVIRONMENT, timeout_seconds=timeout_seconds)

    async def kill(self, container_id: str, signal_name: str) -> None:
        """Send a signal to the container's first process; one that has ended is success.

        Raises:
            OciRuntimeError: the runtime does not know the signal.
        """
        result = await self.call("kill", container_id, signal_name)
        if result.exit_code != 0 and "signal" in result.stderr_tail:
            raise OciRuntimeError(last_message(result.stderr))

    async def delete(self, container_id: str) -> None:
        """Forget the container, killing what is left of it. Idempotent; absent is success.

        Raises:
            OciRuntimeError: it is still there.
        """
        result = await self.call("delete", "--force", container_id)
        if result.exit_code != 0 and (self.state_directory / container_id).exists():
            raise OciRuntimeError(f"{self.name} delete failed: {last_message(result.stderr)}")


def find_runtime(state_directory: Path, *, wanted: str = "", search_path: str | None = None) -> OciRuntime:
    """The `wanted` one of NAMES; if that is "", crun, or runc where there is no crun. Blocking.

    Raises:
        RuntimeMissingError: it is not installed; the text names the package.
        RuntimeChangedError: the containers in `state_directory` were made by the other one, which alone can end them.
    """
    where = search_path if search_path is not None else f"{os.environ.get('PATH', '')}:{SEARCH_PATH}"
    for name in [wanted] if wanted else NAMES:
        path = shutil.which(name, path=where)
        if path is not None:
            if others := len(list(state_directory.glob(f"*/{_STATE_OF_OTHER[name]}"))):
                raise RuntimeChangedError(name, others)
            mode = cgroup.detect_mode()
            hides_v2 = name == "crun" and mode is CgroupMode.HYBRID and cgroup.v2_keeps_controllers()
            return OciRuntime(
                name=name,
                path=path,
                state_directory=state_directory,
                cgroup_mode=mode,
                prefix=_WITHOUT_V2_TREE if hides_v2 else (),
            )
    raise RuntimeMissingError(
        f"the OCI runtime {wanted} is not in PATH. Install it: apt-get install {wanted}"
        if wanted
        else "no OCI runtime on this machine: neither crun nor runc is in PATH. Install one: apt-get install crun"
    )


def last_message(log: bytes) -> str:
    """The last message of a log in JSON lines or of stderr, without its decoration."""
    message = ""
    for line in log.decode("utf-8", "replace").splitlines():
        text = line.strip()
        with suppress(ValueError):
            record = json.loads(text)
            if isinstance(record, dict):
                text = str(record.get("msg", ""))
        # crun stamps what goes to stderr: 2026-01-01T00:00:00.123456Z: message
        text = re.sub(r"^\d{4}-\d\d-\d\dT[\d:.]+Z: ", "", text)
        if text:
            message = text
    return message or "no message"


def explain_start_failure(log: bytes) -> str:
    """Why a command could not be run, in containerd's frame around the runtime's own words."""
    # It says `runc create failed` of a container that is made first and started then, as containerd does.
    message = re.sub("^runc run failed: ", "runc create failed: ", last_message(log))
    return (
        f"failed to create containerd task: failed to create shim task: OCI runtime create failed: {message}: unknown"
    )


def name_missing_executable(message: str) -> str:
    """Crun's words for a command that is not there in those everybody searches the web for; others as they are."""
    match = _NOT_FOUND.search(message)
    return message if match is None else f'exec: "{match["name"]}": executable file not found in $PATH'


def signal_argument(stop_signal: str) -> str:
    """A stop signal as the runtimes take it: `SIGTERM` for none, names with SIG, numbers as they are."""
    text = stop_signal.strip().upper() or "SIGTERM"
    return text if text.isdigit() or text.startswith("SIG") else f"SIG{text}"
