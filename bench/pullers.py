"""The tools that race: each pulls one reference into one empty directory; daemons run before the clock starts."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

PACKAGES = {"ctr": "containerd", "podman": "podman", "skopeo": "skopeo", "umoci": "umoci"}
INSECURE = "--tls-verify=false"


class Puller:
    """A plain command. In it {root}, {ref} and {host} stand for the directory, the reference and the registry."""

    daemon: int | None = None

    def __init__(self, name: str, command: str, needs: tuple[str, ...] = ()) -> None:
        self.name, self._command, self.needs = name, command, needs

    def start(self, root: Path, host: str) -> None:
        root.mkdir(parents=True)

    def command(self, root: Path, reference: str) -> str:
        return self._command.format(root=root, ref=reference, host=reference.partition("/")[0])

    def stop(self) -> None:
        pass


class Containerd(Puller):
    """containerd with its own root, and ctr."""

    def __init__(self, name: str, snapshotter: str = "overlayfs") -> None:
        super().__init__(name, "", needs=("containerd", "ctr"))
        self._snapshotter = snapshotter

    def start(self, root: Path, host: str) -> None:
        super().start(root, host)
        self._socket = root / "c.sock"
        config = root / "config.toml"
        config.write_text(
            f'version = 2\nroot = "{root}/root"\nstate = "{root}/state"\n'
            'disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]\n'
            f'[grpc]\n  address = "{self._socket}"\n[ttrpc]\n  address = "{root}/t.sock"\n'
        )
        log = (root / "log").open("wb")
        self._process = subprocess.Popen(["containerd", "-c", config, "-l", "warn"], stdout=log, stderr=log)
        log.close()
        self.daemon = self._process.pid
        for _ in range(200):
            if (
                self._socket.exists()
                and not subprocess.run(
                    ["ctr", "-a", self._socket, "version"], capture_output=True, check=False
                ).returncode
            ):
                return
            time.sleep(0.05)
        raise RuntimeError("containerd did not start: " + (root / "log").read_text()[-1000:])

    def command(self, root: Path, reference: str) -> str:
        return f"ctr -a {self._socket} images pull --plain-http --snapshotter {self._snapshotter} {reference}"

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self.daemon = None


class RunningNode(Puller):
    """A whole node as the daemon, and the command that asks it, as ctr asks containerd."""

    def __init__(self, name: str, program: Path) -> None:
        super().__init__(name, f"{program} images pull -q --root {{root}} {{ref}}", needs=("crun",))
        self._program = program

    def start(self, root: Path, host: str) -> None:
        super().start(root, host)
        self._root = root
        command = [str(self._program), "up", "--root", str(root), "--port", "0", "--registry-port", "0"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.daemon = self._process.pid
        for _ in range(400):
            if not subprocess.run(
                [self._program, "status", "--root", root], capture_output=True, check=False
            ).returncode:
                time.sleep(1)  # what a node does in its first second is over
                return
            time.sleep(0.1)
        raise RuntimeError("the node did not start")

    def stop(self) -> None:
        subprocess.run([self._program, "down", "--root", self._root], capture_output=True, check=False)
        self._process.wait(60)
        self.daemon = None


def known_pullers() -> dict[str, Puller]:
    """By name, ours first: the command without a running node, interpreter start and all."""
    pullet = Path(sys.executable).with_name("pullet")
    podman = "podman --root {root}/s --runroot {root}/r --storage-driver overlay pull -q " + INSECURE + " {ref}"
    umoci = (
        "sh -c 'skopeo copy -q --src-tls-verify=false docker://{ref} oci:{root}/oci:t"
        " && rm -rf {root}/b && umoci unpack --image {root}/oci:t {root}/b'"
    )
    pullers: tuple[Puller, ...] = (
        Puller("pullet", f"{pullet} images pull -q --root {{root}} {{ref}}"),
        RunningNode("pullet-node", pullet),
        Puller("pullet-directory", f"{sys.executable} -m bench.cold_pull {{root}} directory {{ref}}"),
        Puller("verify only", f"{sys.executable} -m bench.verify_only {{ref}}"),
        Containerd("containerd"),
        Puller("podman", podman, needs=("podman",)),
        Puller("skopeo+umoci", umoci, needs=("skopeo", "umoci")),
    )
    return {puller.name: puller for puller in pullers}


def install_missing(pullers: list[Puller]) -> list[Puller]:
    """Those that can run; what is missing is installed as root from Debian, and said."""
    missing = sorted({need for one in pullers for need in one.needs if shutil.which(need) is None})
    packages = sorted({PACKAGES.get(need, need) for need in missing})
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
