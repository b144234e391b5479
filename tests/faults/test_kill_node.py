"""kill -9 of the node at bad moments: the next start carries on, and nothing is orphaned.

The named points (`PULLET_FAULTS`) lie where a crash would hurt most; a point that is never reached fails its test.
"""

from __future__ import annotations

import http.client
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.harness import Pullet, clean_up, scratch_directory
from tests.golden.images import ImageSpec, PushedImages, Pusher
from tests.golden.registry_process import RegistryProcess, docker_registry
from tests.golden.request_log import LoggedRequest, RequestLog
from tests.golden.stage import write_hosts

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(180)]

PADDING_BYTES = 4 << 20
POD = """\
apiVersion: v1
kind: Pod
metadata: {name: victim}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: main, image: "padded:1"}
"""
MARK = "apiVersion: v1\nkind: ConfigMap\nmetadata: {generateName: mark-, namespace: default}\n"
# where a test lets the node die, in the order in which a pod gets there; tests/architecture keeps this complete
DURING_PULL = ("layer.metadata", "layer.verified", "layer.rename", "layer.renamed", "pull.before_record")
DURING_START = (
    "sandbox.recorded",
    "sandbox.namespaces",
    "sandbox.attached",
    "snapshot.mount",
    "snapshot.mounted",
    "container.rootfs",
    "container.bundle",
    "container.created",
    "container.started",
)
DURING_REMOVAL = ("snapshot.removed", "container.forgotten", "sandbox.forgotten")
DURING_PUSH = ("ingest.rename", "ingest.renamed")
ANY_TIME = ("apiserver.commit",)
# the store tries at its start whether this kernel mounts its layers
HITS_AT_START = {"layer.metadata": 1, "layer.rename": 1}


@dataclass(frozen=True, kw_only=True)
class World:
    """A node that is not started yet, and the log before its registry."""

    pullet: Pullet
    log: RequestLog
    layer: str  # digest of the padded layer

    def layer_requests(self) -> list[LoggedRequest]:
        return [one for one in self.log.requests() if one.reference == self.layer and one.method == "GET"]


@pytest.fixture
def world() -> Iterator[World]:
    with (
        scratch_directory("kill") as directory,
        docker_registry(directory / "registry") as registry,
        RequestLog(registry.port).serving() as log,
    ):
        pushed = PushedImages()
        pusher = Pusher(registry, pushed)
        pusher.push(ImageSpec(name="padded:1", is_index=False, padding_bytes=PADDING_BYTES))
        pusher.close()
        write_hosts(directory / "certs.d", "docker.io", f"http://{log.address}")
        pullet = Pullet(directory / "node", config={"registryHosts": str(directory / "certs.d")})
        try:
            yield World(pullet=pullet, log=log, layer=pushed.digest("layer", "padded:1"))
        finally:
            clean_up(pullet)


def apply_pod(pullet: Pullet) -> None:
    pullet.kubectl("apply", "-f", "-", stdin=POD).ok()


def pod(pullet: Pullet) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(pullet.kubectl("get", "pod", "victim", "-o", "json").ok())
    return found


def wait_until(is_so: Callable[[], bool], *, seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.05)


def container_status(pullet: Pullet) -> dict[str, Any]:
    statuses = pod(pullet)["status"].get("containerStatuses", [{}])
    status: dict[str, Any] = statuses[0]
    return status


def wait_running(pullet: Pullet) -> dict[str, Any]:
    wait_until(lambda: "running" in container_status(pullet).get("state", {}), seconds=60, what="the pod is Running")
    return container_status(pullet)


def processes_of_the_pod() -> list[int]:
    """Processes that run the image's /entry: one for the pod when nothing was started twice."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                words = (process / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"/entry" in words and _is_in_own_pid_namespace(process):
                found.append(int(process.name))
    return found


def _is_in_own_pid_namespace(process: Path) -> bool:
    try:
        return (process / "ns" / "pid").readlink() != Path("/proc/self/ns/pid").readlink()
    except OSError:
        return False


def assert_converged(world: World) -> None:
    """The pod runs, once; after `pullet down` no process, mount, network namespace or temporary file is left."""
    pullet = world.pullet
    status = wait_running(pullet)
    assert status["ready"], status
    assert len(processes_in(pullet.root)) == 1, "started twice"
    assert temporary_files(pullet.root) == []
    pullet.down()
    pullet.assert_no_leaks()
    assert temporary_files(pullet.root) == []


def assert_gone(world: World) -> None:
    """The pod is gone from the API; after `pullet down` nothing is left."""
    pullet = world.pullet
    wait_until(lambda: "victim" not in pullet.kubectl("get", "pods").ok(), seconds=30, what="the pod is gone")
    wait_until(lambda: not processes_in(pullet.root), seconds=10, what="its processes are gone")
    pullet.down()
    pullet.assert_no_leaks()


def processes_in(root: Path) -> list[int]:
    """Processes of pods of this root."""
    return [pid for pid in processes_of_the_pod() if _uses(pid, root)]


def _uses(pid: int, root: Path) -> bool:
    try:
        return f"{root}/" in Path(f"/proc/{pid}/mountinfo").read_text()
    except OSError:
        return False


def temporary_files(root: Path) -> list[str]:
    """Files that a finished pull has no use for: partial downloads and unpacks, names that end as temporary ones do."""
    found = []
    for folder, _, names in os.walk(root):
        is_ingest = any(part in ("ingest", "ingests", "tmp", "partial") for part in Path(folder).parts[-2:])
        if "/rootfs" in folder or "/merged" in folder:
            continue
        found += [f"{folder}/{name}" for name in names if is_ingest or name.endswith((".tmp", ".partial", ".part"))]
    return found


def test_kill_during_the_download_and_resume(world: World) -> None:
    pullet = world.pullet
    pullet.start()
    world.log.drip_bytes_per_second["library/padded"] = 1 << 20
    apply_pod(pullet)
    wait_until(
        lambda: any(one.sent_bytes > PADDING_BYTES // 4 for one in world.layer_requests()),
        seconds=30,
        what="a quarter of the layer is sent",
    )
    pullet.kill()
    world.log.drip_bytes_per_second.clear()
    sent_before = max(one.sent_bytes for one in world.layer_requests())
    assert sent_before < PADDING_BYTES
    pullet.start()
    wait_running(pullet)
    assert len(world.layer_requests()) == 2
    assert_converged(world)


@pytest.mark.parametrize("point", [*DURING_PULL, *DURING_START])
def test_kill_on_the_way_to_running(world: World, point: str) -> None:
    pullet = world.pullet
    pullet.start(environment={"PULLET_FAULTS": f"{point}=kill:{HITS_AT_START.get(point, 0) + 1}"})
    apply_pod(pullet)
    wait_until(lambda: not pullet.is_running(), seconds=30, what=f"the point {point} is reached")
    pullet.start()
    assert_converged(world)


@pytest.mark.parametrize("hit", [1, 30, 60])
def test_kill_between_a_write_and_its_answer(world: World, hit: int) -> None:
    pullet = world.pullet
    pullet.start(environment={"PULLET_FAULTS": f"{ANY_TIME[0]}=kill:{hit}"}, wait=False)
    deadline = time.monotonic() + 30
    while pullet.is_running() and time.monotonic() < deadline:
        if pullet.kubeconfig.exists():
            pullet.kubectl("create", "-f", "-", stdin=MARK)
        time.sleep(0.05)
    assert not pullet.is_running(), f"not {hit} writes in 30 s"
    pullet.start()
    apply_pod(pullet)
    assert_converged(world)


@pytest.mark.parametrize("point", DURING_REMOVAL)
def test_kill_during_removal(world: World, point: str) -> None:
    pullet = world.pullet
    pullet.start(environment={"PULLET_FAULTS": f"{point}=kill"})
    apply_pod(pullet)
    wait_running(pullet)
    pullet.kubectl("delete", "pod", "victim", "--wait=false").ok()
    wait_until(lambda: not pullet.is_running(), seconds=30, what=f"the point {point} is reached")
    pullet.start()
    assert_gone(world)


@pytest.mark.parametrize("point", DURING_PUSH)
def test_kill_during_a_push_into_the_embedded_registry(world: World, point: str) -> None:
    pullet = world.pullet
    pullet.start(environment={"PULLET_FAULTS": f"{point}=kill"})
    spec = ImageSpec(name="pushed:1", is_index=False, padding_bytes=PADDING_BYTES)
    with pytest.raises((OSError, http.client.HTTPException)):
        push(pullet, spec)
    wait_until(lambda: not pullet.is_running(), seconds=10, what=f"the point {point} is reached")
    pullet.start()
    push(pullet, spec)
    pullet.pullet("images", "pull", f"{embedded_registry(pullet)}/library/pushed:1").ok()
    pullet.down()
    pullet.assert_no_leaks()
    assert temporary_files(pullet.root) == []


def embedded_registry(pullet: Pullet) -> str:
    """host:port of the node's own registry."""
    status = json.loads(pullet.pullet("status", "-o", "json").ok())
    return str(status["registry"]).rpartition("//")[2].rstrip("/")


def push(pullet: Pullet, spec: ImageSpec) -> None:
    port = int(embedded_registry(pullet).rpartition(":")[2])
    pusher = Pusher(RegistryProcess(port=port, login=None), PushedImages())
    try:
        pusher.push(spec)
    finally:
        pusher.close()


def test_kill_while_running_leaves_the_container_alone(world: World) -> None:
    pullet = world.pullet
    pullet.start()
    apply_pod(pullet)
    before = wait_running(pullet)
    pullet.kill()
    pullet.start()
    # once a later pod runs, the node has looked at the earlier one
    pullet.kubectl("apply", "-f", "-", stdin=POD.replace("victim", "witness")).ok()
    pullet.kubectl("wait", "--for=condition=Ready", "pod/witness", "--timeout=60s", timeout_seconds=90).ok()
    pullet.kubectl("delete", "pod", "witness").ok()
    after = wait_running(pullet)
    assert (after["containerID"], after["restartCount"]) == (before["containerID"], 0)
    assert after["state"] == before["state"]
    assert_converged(world)


def test_kill_during_termination_ends_in_a_pod_that_is_gone(world: World) -> None:
    pullet = world.pullet
    pullet.start()
    apply_pod(pullet)
    wait_running(pullet)
    pullet.kubectl("delete", "pod", "victim", "--wait=false").ok()
    pullet.kill()
    pullet.start()
    assert_gone(world)
