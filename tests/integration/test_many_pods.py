"""Fifty pods at once on one node, and a node that is killed under them: nothing restarts, nothing is forgotten."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.e2e.harness import Pullet, running, scratch_directory

from pullet.oci.image_builder import FileEntry, build_image, build_layer, oci_archive
from pullet.testing.images import busybox_layer

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]

PODS = 50
SECONDS = 90.0
DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "crowd"},
    "spec": {
        "replicas": PODS,
        "selector": {"matchLabels": {"app": "crowd"}},
        "template": {
            "metadata": {"labels": {"app": "crowd"}},
            "spec": {
                "terminationGracePeriodSeconds": 0,
                "containers": [
                    {
                        "name": "c",
                        "image": "busybox:1",
                        "command": ["sh", "-c", "echo begun; exec sleep 100000"],
                        "readinessProbe": {
                            "exec": {"command": ["test", "!", "-e", "/tmp/sick"]},
                            "periodSeconds": 30,
                            "timeoutSeconds": 30,
                            "failureThreshold": 1,
                        },
                    }
                ],
            },
        },
    },
}
CRASHING = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "crash"},
    "spec": {"containers": [{"name": "c", "image": "busybox:1", "command": ["sh", "-c", "exit 3"]}]},
}


@pytest.fixture
def node() -> Iterator[Pullet]:
    with scratch_directory("many") as directory:
        links = build_layer({"bin/test": FileEntry(link="busybox", mode=0o777)})
        image = build_image([busybox_layer(), links], defaults={"Cmd": ["sleep", "100000"], "Env": ["PATH=/bin"]})
        archive = directory / "images.tar"
        archive.write_bytes(oci_archive({"docker.io/library/busybox:1": image}))
        with running(Pullet(directory / "root")) as pullet:
            pullet.pullet("images", "import", str(archive)).ok()
            yield pullet


def wait(pullet: Pullet, selector: str, is_so: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
    """The pods of a label or name once `is_so` holds."""
    deadline = time.monotonic() + SECONDS
    while True:
        items: list[dict[str, Any]] = json.loads(pullet.kubectl("get", "pods", f"--{selector}", "-o", "json").ok())[
            "items"
        ]
        if is_so(items):
            return items
        assert time.monotonic() < deadline, [pod["status"] for pod in items][:3]
        time.sleep(0.5)


def unready(pods: list[dict[str, Any]]) -> list[str]:
    """Names of the pods whose condition Ready is not True."""
    states = {
        pod["metadata"]["name"]: [
            each["status"] for each in pod["status"].get("conditions") or () if each["type"] == "Ready"
        ]
        for pod in pods
    }
    return [name for name, state in states.items() if state != ["True"]]


def runs(pods: list[dict[str, Any]]) -> dict[str, tuple[str, int]]:
    """Container id and restarts by pod."""
    statuses = {pod["metadata"]["name"]: pod["status"]["containerStatuses"][0] for pod in pods}
    return {name: (status["containerID"], status["restartCount"]) for name, status in statuses.items()}


def test_a_killed_node_finds_its_fifty_pods_again(node: Pullet) -> None:
    node.kubectl(
        "apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": [DEPLOYMENT, CRASHING]})
    ).ok()
    node.kubectl("rollout", "status", "deployment/crowd", f"--timeout={SECONDS:.0f}s", timeout_seconds=SECONDS).ok()
    before = wait(node, "selector=app=crowd", lambda pods: len(pods) == PODS and not unready(pods))
    addresses = {pod["status"]["podIP"] for pod in before}
    assert len(addresses) == PODS
    (crashed,) = wait(
        node,
        "field-selector=metadata.name=crash",
        lambda pods: pods[0]["status"].get("containerStatuses", [{"restartCount": 0}])[0]["restartCount"] > 0,
    )
    sick = before[0]["metadata"]["name"]
    node.kubectl("exec", sick, "--", "sh", "-c", "echo > /tmp/sick").ok()
    node.kill()
    node.start()
    # the probes go on: the one pod is found unready, the others well
    after = wait(node, "selector=app=crowd", lambda pods: unready(pods) == [sick])
    assert runs(after) == runs(before)
    assert node.kubectl("logs", sick).ok() == "begun\n"
    (crashing,) = wait(node, "field-selector=metadata.name=crash", lambda pods: bool(pods))
    assert runs([crashing])["crash"][1] >= runs([crashed])["crash"][1]
    node.kubectl("delete", "deployment", "crowd", "--wait=false").ok()
    wait(node, "selector=app=crowd", lambda pods: not pods)
