"""The tools that race: each pulls one reference into one empty directory; daemons run before the clock starts."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

PACKAGES = {"ctr": "containerd", "podman": "podman", "skopeo": "skopeo", "umoci": "umoci"}
INSECURE = "--tls-verify=false"
PULL = "{pullet} images pull -q --root {{root}} {{ref}}"
DIRECTORY_CONFIG = Path(__file__).with_name("directory.yaml")
CONTAINERD_CONFIG = Path(__file__).with_name("containerd.toml")
READY_SECONDS, STOP_SECONDS = 40, 30


class Puller:
    """A command that pulls, and where it needs one the daemon it asks, which is started anew for every run.

    In all commands {root}, {ref} and {host} stand for the directory, the reference and the registry. A daemon is ready
    when the command `ready` succeeds (at once if there is none) and is ended by SIGTERM.
    """

    def __init__(
        self, name: str, command: str, *, daemon: str = "", ready: str = "", needs: tuple[str, ...] = ()
    ) -> None:
        self.name, self.needs = name, needs
        self._command, self._daemon, self._ready = command, daemon, ready
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def daemon(self) -> int | None:
        """The running daemon's process."""
        return self._process.pid if self._process is not None else None

    def start(self, root: Path) -> None:
        """Make the directory; start the daemon and wait until it is ready."""
        root.mkdir(parents=True)
        if not self._daemon:
            return
        log = root.with_name(root.name + ".log")
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                shlex.split(self._daemon.format(root=root)), stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )
        deadline = time.monotonic() + READY_SECONDS
        ready = shlex.split(self._ready.format(root=root))
        while ready and subprocess.run(ready, capture_output=True, check=False).returncode:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(
                    f"the daemon of {self.name} did not start: {log.read_text(errors='replace')[-1000:]}"
                )
            time.sleep(0.1)
        time.sleep(1)  # what a daemon does in its first second is over

    def command(self, root: Path, reference: str) -> str:
        return self._command.format(root=root, ref=reference, host=reference.partition("/")[0])

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def containerd(name: str, snapshotter: str = "overlayfs", *, directory: Path | None = None) -> Puller:
    """containerd and its ctr from PATH or, of version 2, from `directory`, which comes first in the daemon's PATH."""
    where = f"{directory}/" if directory is not None else ""
    ctr = f"{where}ctr -a {{root}}/c.sock"
    path = f"env PATH={directory}:{os.environ['PATH']} " if directory is not None else ""
    config = CONTAINERD_CONFIG.with_stem(f"containerd2-{snapshotter}" if directory is not None else "containerd")
    return Puller(
        name,
        f"{ctr} images pull --plain-http --snapshotter {snapshotter} {{ref}}",
        daemon=f"{path}{where}containerd -l warn -c {config}"
        " --root {root}/root --state {root}/state --address {root}/c.sock",
        ready=f"{ctr} version",
        needs=(f"{where}containerd", f"{where}ctr", *([f"{where}mkfs.erofs"] if snapshotter == "erofs" else [])),
    )


def node(name: str, options: str = "") -> Puller:
    """The command asking a running node."""
    pullet = Path(sys.executable).with_name("pullet")
    return Puller(
        name,
        PULL.format(pullet=pullet),
        daemon=f"{pullet} up --root {{root}} --port 0 --registry-port 0{options}",
        ready=f"{pullet} status --root {{root}}",
        needs=("crun",),
    )


def known_pullers(containerd2: Path | None = None) -> dict[str, Puller]:
    """By name, ours first: the command without a running node, interpreter start and all."""
    pullet = Path(sys.executable).with_name("pullet")
    pull = PULL.format(pullet=pullet)
    podman = "podman --root {root}/s --runroot {root}/r --storage-driver overlay pull -q " + INSECURE + " {ref}"
    umoci = (
        "sh -c 'skopeo copy -q --src-tls-verify=false docker://{ref} oci:{root}/oci:t"
        " && rm -rf {root}/b && umoci unpack --image {root}/oci:t {root}/b'"
    )
    pullers = [
        Puller("pullet", pull),
        node("pullet-node"),
        Puller("pullet-directory", f"{sys.executable} -m bench.cold_pull {{root}} directory {{ref}}"),
        node("pullet-node-directory", f" --config {DIRECTORY_CONFIG}"),
        Puller("verify only", f"{sys.executable} -m bench.verify_only {{ref}}"),
        containerd("containerd"),
        Puller("podman", podman, needs=("podman",)),
        Puller("skopeo+umoci", umoci, needs=("skopeo", "umoci")),
    ]
    if containerd2 is not None:
        pullers.append(containerd("containerd2", directory=containerd2))
        pullers.append(containerd("containerd2-erofs", "erofs", directory=containerd2))
    return {puller.name: puller for puller in pullers}


def peers(commands: Sequence[str], daemons: Sequence[str], readies: Sequence[str]) -> list[Puller]:
    """Peers of the command line, each NAME=COMMAND; a daemon and its readiness belong to the peer of the same name."""
    pulls, serves, checks = (
        {n: c for n, _, c in (one.partition("=") for one in o)} for o in (commands, daemons, readies)
    )
    if strangers := {*serves, *checks} - {*pulls}:
        raise SystemExit(f"--daemon or --ready for {', '.join(sorted(strangers))}, which no --peer names")
    return [
        Puller(name, command, daemon=serves.get(name, ""), ready=checks.get(name, ""))
        for name, command in pulls.items()
    ]


def install_missing(pullers: list[Puller]) -> list[Puller]:
    """Those that can run; what is missing is installed as root from Debian, and said."""
    missing = sorted({need for one in pullers for need in one.needs if shutil.which(need) is None})
    packages = sorted({PACKAGES.get(need, need) for need in missing if "/" not in need})
    if packages and os.geteuid() == 0 and shutil.which("apt-get"):
        print(f"installing {' '.join(packages)} to race against", flush=True)
        command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages]
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(command, env=environment, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    able = [one for one in pullers if all(shutil.which(need) for need in one.needs)]
    for one in pullers:
        if one not in able:
            print(f"{one.name} is not raced: its programs are missing")
    return able
