"""A whole node on a small file system that a pod fills: the pod goes, the others stay, the node says why."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.harness import Pullet, running, scratch_directory

from pullet.oci.image_builder import build_image, oci_archive
from pullet.testing.images import busybox_layer

pytestmark = [pytest.mark.root, pytest.mark.timeout(150)]

SECONDS = 60.0
TAINT = {"key": "node.kubernetes.io/disk-pressure", "effect": "NoSchedule"}


@contextmanager
def small_disk(path: Path) -> Iterator[Path]:
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=192m", "pullet-test", str(path)], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def pod(name: str, script: str, **spec: Any) -> str:
    body = {
        "containers": [
            {
                "name": "c",
                "image": "busybox:1",
                "imagePullPolicy": "Never",
                "command": ["sh", "-c", script],
                "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
            }
        ],
        "volumes": [{"name": "scratch", "emptyDir": {}}],
        "terminationGracePeriodSeconds": 1,
        **spec,
    }
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": body})


def get(pullet: Pullet, *what: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(pullet.kubectl("get", *what, "-o", "json").ok())
    return found


def wait(look: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + SECONDS
    while not (found := look()):
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.2)
    return found


def evicted(pullet: Pullet, name: str) -> Any:
    """The pod's status once it says so."""
    status = get(pullet, "pod", name)["status"]
    return status if status.get("reason") == "Evicted" else None


def runs(pullet: Pullet, name: str) -> bool:
    """Apply a pod as often as it takes, as a controller would.

    The API's database is on the same disk, which is full until the greedy one's files are gone; and a node that could
    not write that it is under pressure refuses pods until it is over.
    """
    ran = pullet.kubectl("apply", "-f", "-", stdin=pod(name, "exec sleep 100000"))
    if ran.code != 0:
        assert "the API server's database: database or disk is full" in ran.stderr, ran
        return False
    status = get(pullet, "pod", name)["status"]
    if status.get("reason") == "Evicted":
        pullet.kubectl("delete", "pod", name).ok()
    return bool(status.get("phase") == "Running")


def has_taint(pullet: Pullet) -> bool:
    taints = get(pullet, "node", "node1")["spec"].get("taints") or ()
    return any(TAINT.items() <= taint.items() for taint in taints)


def test_the_pod_that_fills_the_disk_is_evicted_and_the_node_recovers() -> None:
    config = {
        "kubelet": {
            "evictionHard": {"nodefs.available": "96Mi", "memory.available": "0"},
            "evictionPressureTransitionPeriod": "2s",
            "nodeStatusUpdateFrequency": "1s",
        }
    }
    with scratch_directory("eviction") as directory, small_disk(directory / "disk") as disk:
        archive = directory / "images.tar"
        image = build_image([busybox_layer()], defaults={"Cmd": ["sleep", "100000"], "Env": ["PATH=/bin"]})
        archive.write_bytes(oci_archive({"docker.io/library/busybox:1": image}))
        with running(Pullet(disk / "root", config=config)) as pullet:
            pullet.pullet("images", "import", str(archive)).ok()
            # in its volume, within its request; the other one writes less, but nothing of it was asked for
            asked = {"requests": {"ephemeral-storage": "64Mi"}}
            modest = json.loads(pod("modest", "head -c 20000000 /dev/zero > /scratch/f; exec sleep 100000"))
            modest["spec"]["containers"][0]["resources"] = asked
            pullet.kubectl("apply", "-f", "-", stdin=json.dumps(modest)).ok()
            pullet.kubectl("wait", "pod/modest", "--for=condition=Ready", "--timeout=60s").ok()
            # to the last byte: until it is gone, nothing on this disk can be written, not even its status
            greedy = pod("greedy", "while true; do cat /dev/zero >> /f; sleep 0.1; done")
            pullet.kubectl("apply", "-f", "-", stdin=greedy).ok()

            status = wait(lambda: evicted(pullet, "greedy"), "the greedy pod evicted")
            assert status["phase"] == "Failed"
            assert status["message"].startswith(
                "The node was low on resource: ephemeral-storage. Threshold quantity: 96Mi, available: "
            )
            assert "Container c was using " in status["message"]
            assert {each["type"] for each in status["conditions"]} >= {"DisruptionTarget", "Ready"}

            # what it wrote is gone, so the pressure ends by itself and pods are taken again
            wait(lambda: not has_taint(pullet), "no taint any more")
            assert get(pullet, "pod", "modest")["status"]["phase"] == "Running"
            wait(lambda: runs(pullet, "next"), "room for another pod")
            pullet.kubectl("wait", "pod/next", "--for=condition=Ready", "--timeout=60s").ok()
            assert "the store is in order" in pullet.pullet("store", "check").ok()


def test_a_node_under_pressure_is_tainted_and_refuses_pods_bound_to_it() -> None:
    config = {"kubelet": {"evictionHard": {"imagefs.available": "9999Ti"}}}
    with scratch_directory("refused") as directory, running(Pullet(directory / "root", config=config)) as pullet:
        wait(lambda: has_taint(pullet), "the taint")
        pullet.kubectl("apply", "-f", "-", stdin=pod("bound", "true", nodeName="node1")).ok()
        pullet.kubectl("apply", "-f", "-", stdin=pod("free", "true")).ok()
        status = wait(lambda: get(pullet, "pod", "bound")["status"].get("reason"), "refused")
        assert status == "Evicted"
        text = pullet.kubectl("get", "pod", "bound", "--no-headers").ok()
        assert text.split()[2] == "Evicted"
        described = pullet.kubectl("describe", "pod", "bound").ok()
        assert "Pod was rejected: The node had condition: [DiskPressure]." in described
        message = wait(
            lambda: [
                each["message"]
                for each in get(pullet, "pod", "free")["status"].get("conditions", ())
                if each.get("reason") == "Unschedulable"
            ],
            "unschedulable",
        )
        assert "untolerated taint" in message[0]
