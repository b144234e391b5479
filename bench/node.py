"""The node as a whole: start, idle memory, one pod beside podman and bare crun, fifty pods at once.

Prints medians of RUNS runs. Needs root, crun and kubectl; podman is raced where it is installed.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from pullet.cli.launch import ephemeral_node
from pullet.control.client import ControlClient

RUNS = 5
PODS = 50
# crun refuses to run where a v2 tree beside v1 keeps controllers: there it gets a mount namespace without that tree.
IS_HYBRID = Path("/sys/fs/cgroup/unified").is_dir()
WITHOUT_V2 = ["unshare", "-m", "sh", "-c", 'umount /sys/fs/cgroup/unified; exec "$@"', "sh"] if IS_HYBRID else []
BUSYBOX = Path("/bin/busybox")


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def kubectl(root: Path, *arguments: str, stdin: str = "") -> str:
    environment = {**os.environ, "KUBECONFIG": str(root / "kubeconfig")}
    result = subprocess.run(
        ["kubectl", *arguments], env=environment, input=stdin, capture_output=True, text=True, check=True
    )
    return result.stdout


def pod(name: str) -> dict[str, object]:
    container = {"name": "main", "image": "bench:1", "command": ["/bin/busybox", "sleep", "3600"]}
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def until_running(root: Path, names: set[str]) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        items = json.loads(kubectl(root, "get", "pods", "-o", "json"))["items"]
        running = {item["metadata"]["name"] for item in items if item["status"].get("phase") == "Running"}
        if names <= running:
            return
    raise SystemExit(f"not running after 120 s: {sorted(names)}")


def memory_mb(pid: int) -> float:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) / 1024


def bench_start() -> None:
    times, idle = [], []
    for _ in range(RUNS):
        started = time.perf_counter()
        with ephemeral_node(["--log-level=error"]) as root:
            times.append(time.perf_counter() - started)
            pid = ControlClient(root).call("GET", "/v1/status")["pid"]
            time.sleep(2)
            idle.append(memory_mb(pid))
    print(
        f"`pullet up` to Ready:        {statistics.median(times):.2f} s  (min {min(times):.2f}, max {max(times):.2f})"
    )
    print(f"idle memory of the process:  {statistics.median(idle):.0f} MB")


def import_image(root: Path, directory: Path) -> None:
    """A one-file image made with the node's own import, so that no registry is part of what is timed."""
    from pullet.cli.demo_images import archive_of_busybox

    path = archive_of_busybox(directory, "bench:1")
    ControlClient(root).call("POST", "/v1/images/import", {"path": str(path)})


def bench_pods() -> None:
    with tempfile.TemporaryDirectory() as scratch, ephemeral_node(["--log-level=error"]) as root:
        import_image(root, Path(scratch))
        singles, bare = [], []
        rootfs = Path(scratch) / "rootfs"
        for number in range(RUNS + 1):
            name = f"one-{number}"
            manifest = json.dumps(pod(name))

            def apply(name: str = name, manifest: str = manifest) -> None:
                kubectl(root, "create", "--validate=false", "-f", "-", stdin=manifest)
                kubectl(root, "wait", f"pod/{name}", "--for=jsonpath={.status.phase}=Running", "--timeout=60s")

            singles.append(timed(apply))
            bare.append(timed(lambda number=number: bare_crun(rootfs, f"bench-bare-{number}")))  # type: ignore[misc]
        overhead = statistics.median(timed(lambda: kubectl(root, "get", "pods")) for _ in range(RUNS))
        print(f"apply to Running, image present: {statistics.median(singles[1:]):.2f} s")
        print(f"  of it two calls of kubectl:    {2 * overhead:.2f} s")
        print(f"bare `crun run` of the same:     {statistics.median(bare[1:]):.2f} s")
        names = {f"many-{number}" for number in range(PODS)}
        items = {"apiVersion": "v1", "kind": "List", "items": [pod(name) for name in sorted(names)]}

        def many() -> None:
            kubectl(root, "create", "--validate=false", "-f", "-", stdin=json.dumps(items))
            until_running(root, names)

        print(f"{PODS} pods at once until all Running: {timed(many):.1f} s")
        pid = ControlClient(root).call("GET", "/v1/status")["pid"]
        print(f"memory of the process with {PODS + RUNS + 1} pods: {memory_mb(pid):.0f} MB")


def bare_crun(rootfs: Path, name: str) -> None:
    """crun alone: what no runtime above it can beat."""
    if not rootfs.exists():
        (rootfs / "bin").mkdir(parents=True)
        shutil.copy(BUSYBOX, rootfs / "bin" / "busybox")
    bundle = rootfs.parent / name
    bundle.mkdir()
    subprocess.run(["crun", "spec"], cwd=bundle, check=True)
    spec = json.loads((bundle / "config.json").read_text())
    spec["process"] |= {"args": ["/bin/busybox", "true"], "terminal": False}
    spec["root"]["path"] = str(rootfs)
    (bundle / "config.json").write_text(json.dumps(spec))
    run = ["crun", "run", "--bundle", str(bundle), name]
    subprocess.run([*WITHOUT_V2, *run], check=True, stdin=subprocess.DEVNULL)


def bench_podman() -> None:
    if shutil.which("podman") is None:
        print("podman is not installed: not raced")
        return
    with tempfile.TemporaryDirectory() as scratch:
        shutil.copy(BUSYBOX, scratch)
        subprocess.run(["tar", "-C", scratch, "-cf", f"{scratch}/root.tar", "busybox"], check=True)
        subprocess.run(
            ["podman", "import", "-q", f"{scratch}/root.tar", "bench-podman:1"], check=True, capture_output=True
        )
    times = []
    for _ in range(RUNS + 1):
        run = [
            *WITHOUT_V2,
            "podman",
            "run",
            "-d",
            "--ulimit=nofile=1024:1024",
            "--ulimit=nproc=4096:4096",
            "bench-podman:1",
            "/busybox",
            "sleep",
            "60",
        ]
        started = time.perf_counter()
        ran = subprocess.run(run, check=False, capture_output=True, text=True)
        if ran.returncode:
            print(f"podman cannot run containers here: {ran.stderr.strip().splitlines()[-1]}")
            return
        name = ran.stdout.strip()
        times.append(time.perf_counter() - started)
        subprocess.run([*WITHOUT_V2, "podman", "rm", "-f", "-t", "0", name], check=True, capture_output=True)
    with suppress(subprocess.CalledProcessError):
        subprocess.run(["podman", "rmi", "-f", "bench-podman:1"], check=True, capture_output=True)
    print(f"`podman run -d` of the same:     {statistics.median(times[1:]):.2f} s")


def main(_: list[str]) -> None:
    if os.geteuid() != 0:
        sys.exit("the node needs root")
    bench_start()
    bench_pods()
    bench_podman()
