"""Pods on a whole node, from the user's side: what their containers get, do, and how they end.

One node; every pod is applied at once, so that the module takes as long as its slowest pod.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from grpc_health.v1.health import HealthServicer
from grpc_health.v1.health_pb2 import HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server
from tests.e2e.harness import Pullet, run, running, scratch_directory

from pullet.oci.image_builder import BuiltImage, FileEntry, build_image, build_layer, oci_archive
from pullet.testing.images import busybox_layer

pytestmark = [pytest.mark.root, pytest.mark.timeout(90)]

SECONDS = 30.0
NO_DIRECTORIES = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}],
}
PODS = Path(__file__).with_name("node_pods.yaml")


class Node:
    """The node with its pods, and the health service that one of them is probed at."""

    def __init__(self, pullet: Pullet, directory: Path, health: HealthServicer) -> None:
        self.pullet, self.directory, self.health = pullet, directory, health

    def pod(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.pullet.kubectl("get", "pod", name, "-o", "json").ok())
        return found

    def wait(self, name: str, is_so: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """The pod once `is_so(status)` holds."""
        deadline = time.monotonic() + SECONDS
        while True:
            pod = self.pod(name)
            if is_so(pod["status"]):
                return pod
            assert time.monotonic() < deadline, json.dumps(pod["status"], indent=1)
            time.sleep(0.1)

    def run(self, name: str, script: str, container: str = "c") -> str:
        self.wait(name, lambda status: _state(status, "running"))
        return self.pullet.kubectl("exec", name, "-c", container, "--", "sh", "-c", script).ok()

    def logs(self, name: str, *arguments: str) -> str:
        return self.pullet.kubectl("logs", name, *arguments).ok()

    def events(self, name: str, reason: str) -> list[str]:
        """Messages of the pod's events with that reason, waiting for the first."""
        deadline = time.monotonic() + SECONDS
        selector = f"involvedObject.name={name},reason={reason}"
        while True:
            listed = json.loads(self.pullet.kubectl("get", "events", "--field-selector", selector, "-o", "json").ok())
            if listed["items"] or time.monotonic() > deadline:
                return [event["message"] for event in listed["items"]]
            time.sleep(0.1)


def _state(status: dict[str, Any], kind: str) -> dict[str, Any] | None:
    """The state of the pod's only regular container, when it is of that kind."""
    for container in status.get("containerStatuses") or ():
        found: dict[str, Any] | None = container["state"].get(kind)
        return found
    return None


def _busybox(text: str) -> BuiltImage:
    links = {
        f"bin/{name}": FileEntry(link="busybox", mode=0o777) for name in ("grep", "ps", "readlink", "stat", "tail")
    }
    own = build_layer({**links, "etc/image": FileEntry(data=f"{text}\n".encode())})
    return build_image([busybox_layer(), own], defaults={"Cmd": ["sleep", "100000"], "Env": ["PATH=/bin"]})


@contextmanager
def grpc_server(health: HealthServicer) -> Iterator[int]:
    """A gRPC server on loopback, where a pod on the machine's network has its address; service `web` is not well."""
    health.set("web", HealthCheckResponse.NOT_SERVING)
    with ThreadPoolExecutor(1) as threads:
        server = grpc.server(threads)
        add_HealthServicer_to_server(health, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield port
        finally:
            server.stop(None).wait()


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with scratch_directory("pods") as directory:
        data = build_layer({"data/hello": FileEntry(data=b"from the image\n"), "top": FileEntry(data=b"top\n")})
        images = {
            "docker.io/library/busybox:1": _busybox("one"),
            "docker.io/library/busybox:2": _busybox("two"),
            "docker.io/library/data:1": build_image([data], defaults={}),
        }
        archive = directory / "images.tar"
        archive.write_bytes(oci_archive(images))
        profile = directory / "root" / "nodes" / "node1" / "seccomp" / "profiles" / "no-directories.json"
        profile.parent.mkdir(parents=True)
        profile.write_text(json.dumps(NO_DIRECTORIES))
        health = HealthServicer()
        with (
            grpc_server(health) as port,
            running(Pullet(directory / "root", arguments=["--api-for-pods"])) as pullet,
        ):
            pullet.pullet("images", "import", str(archive)).ok()
            manifest = PODS.read_text().replace("/HOSTPATH", str(directory / "hostpath"))
            manifest = manifest.replace("/KUBECTL", str(Path(str(shutil.which("kubectl"))).resolve()))
            manifest = manifest.replace("65001", str(port))
            pullet.kubectl("apply", "-f", "-", stdin=manifest).ok()
            yield Node(pullet, directory, health)


def test_environment(node: Node) -> None:
    lines = node.run("volumes", "env").splitlines()
    pod = node.pod("volumes")
    wanted = {
        "TEXT=x-$(NOPE)-$(PLAIN)",
        "FROM_MAP=value1",
        "FROM_SECRET=hunter2",
        "MAP_key=value1",
        f"POD_IP={pod['status']['podIP']}",
        f"POD_UID={pod['metadata']['uid']}",
        "LABEL=volumes",
        "CPU=1",
        "MEMORY=64",
    }
    assert wanted <= set(lines)
    assert not any(line.startswith("OPTIONAL=") for line in lines)


def test_volumes(node: Node) -> None:
    script = (
        "cat /map/key /one.txt /secret/password /down/label /down/cpu /projected/sub/key /image/top /imagesub/hello"
    )
    said = node.run("volumes", script)
    assert said == "value1text\nhunter2" + "volumes" + "100" + "value1" + "top\n" + "from the image\n"
    mounts = node.run("volumes", "cat /proc/mounts")
    assert "tmpfs /memory tmpfs rw,relatime,size=16384k" in mounts
    assert node.run("volumes", "touch /image/x 2>&1 || echo refused").splitlines()[-1] == "refused"
    assert node.run("volumes", "stat -c %a /secret/..data/password /sub").split() == ["400", "777"]
    node.run("volumes", "echo hi > /host/there")
    assert (node.directory / "hostpath" / "there").read_text() == "hi\n"


def test_the_mounted_token_is_good_for_the_api_server(node: Node) -> None:
    token = node.run("volumes", "cat /var/run/secrets/kubernetes.io/serviceaccount/token")
    server = yaml.safe_load(node.pullet.kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
    authority = node.directory / "ca.crt"
    authority.write_text(node.run("volumes", "cat /var/run/secrets/kubernetes.io/serviceaccount/ca.crt"))
    words = ["--kubeconfig=/dev/null", f"--server={server}", f"--certificate-authority={authority}", f"--token={token}"]
    asked = node.pullet.kubectl(*words, "get", "pod", "volumes", "-o", "name")
    assert asked.ok() == "pod/volumes\n"


def test_a_client_inside_a_pod_finds_the_api_server(node: Node) -> None:
    """In-cluster configuration: address from the environment, token and authority from the mounted volume."""
    listed = node.run("client", "/kubectl get pod client -o name")
    assert listed == "pod/client\n"
    refused = node.run("client", "/kubectl get nodes 2>&1 || true")
    assert "system:serviceaccount:default:default" in refused
    assert "Forbidden" in refused
    server = yaml.safe_load(node.pullet.kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
    port = server.rpartition(":")[2]
    assert f"KUBERNETES_SERVICE_PORT={port}" in node.run("client", "env")
    on_the_machine = node.run("host", "env").splitlines()
    assert {"KUBERNETES_SERVICE_HOST=127.0.0.1", f"KUBERNETES_PORT=tcp://127.0.0.1:{port}"} <= set(on_the_machine)


@contextmanager
def neighbour() -> Iterator[list[str]]:
    """Another machine on a network of this one, which it sends everything to: a prefix to run commands there."""
    name = f"plt{os.getpid()}"
    address = ["ip", "addr", "add", "dev"]
    try:
        for words in (
            ["ip", "netns", "add", name],
            ["ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name],
            [*address, name, "198.51.100.1/30"],
            ["ip", "link", "set", name, "up"],
            ["ip", "-n", name, *address[1:], "eth0", "198.51.100.2/30"],
            ["ip", "-n", name, "link", "set", "eth0", "up"],
            ["ip", "-n", name, "route", "add", "default", "via", "198.51.100.1"],
        ):
            run(words).ok()
        yield ["ip", "netns", "exec", name]
    finally:
        run(["ip", "netns", "delete", name])


def test_nobody_else_reaches_the_api_server_through_the_bridge_of_pods(node: Node) -> None:
    host, port = node.run("client", "echo $KUBERNETES_SERVICE_HOST $KUBERNETES_SERVICE_PORT").split()
    with neighbour() as on_it:
        script = f"import socket; socket.create_connection(({host!r}, {port}), timeout=30)"
        asked = run([*on_it, sys.executable, "-c", script])
    assert "ConnectionRefusedError" in asked.stderr


def test_names_and_hosts(node: Node) -> None:
    hosts = node.run("volumes", "cat /etc/hosts")
    assert "10.1.2.3\tfoo.local\tbar.local\n" in hosts
    assert f"{node.pod('volumes')['status']['podIP']}\tvolumes\n" in hosts
    assert node.run("volumes", "cat /etc/resolv.conf") == "search one.test\nnameserver 1.2.3.4\noptions ndots:2\n"
    assert node.run("volumes", "hostname") == "volumes\n"
    full = "web.shop.default.svc.cluster.local"
    assert node.run("config", "hostname") == f"{full}\n"
    assert f"{node.pod('config')['status']['podIP']}\t{full}\tweb\n" in node.run("config", "cat /etc/hosts")


def test_init_containers_and_sidecars_in_order(node: Node) -> None:
    pod = node.wait("volumes", lambda status: _state(status, "running"))
    assert node.run("volumes", "cat /empty/order") == "first\nsidecar\nsecond\n"
    first, sidecar, second = pod["status"]["initContainerStatuses"]
    assert first["state"]["terminated"]["reason"] == second["state"]["terminated"]["reason"] == "Completed"
    assert sidecar["started"] is True
    assert "running" in sidecar["state"]


def test_a_changed_config_map_reaches_the_container(node: Node) -> None:
    node.run("config", 'test "$(cat /map/key)" = old')
    node.pullet.kubectl("patch", "configmap", "changing", "-p", '{"data":{"key":"new"}}').ok()
    node.pullet.kubectl("annotate", "pod", "config", "touched=yes").ok()  # any news of the pod syncs it at once
    deadline = time.monotonic() + SECONDS
    while node.run("config", "cat /map/key") != "new":
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_identity_and_rights(node: Node) -> None:
    lines = node.run(
        "rights", "id; grep -E 'CapBnd|NoNewPrivs|Seccomp:' /proc/self/status; touch /x 2>&1 || true"
    ).splitlines()
    assert lines[0].startswith("uid=1000 gid=2000 groups=2000,3000,4000")
    assert lines[1:4] == ["CapBnd:\t0000000000000400", "NoNewPrivs:\t1", "Seccomp:\t2"]
    assert lines[4] == "touch: /x: Read-only file system"
    assert node.run("rights", "cat /proc/sys/net/ipv4/ip_unprivileged_port_start") == "80\n"
    assert (
        node.run("rights", "echo mine > /volume/f; stat -c '%u %g' /volume/f; stat -c %a /sub") == "1000 3000\n2777\n"
    )


def test_a_seccomp_profile_of_the_machine(node: Node) -> None:
    said = node.run("confined", "mkdir /tmp/x 2>&1 || grep Seccomp: /proc/self/status; touch /tmp/y && echo a file")
    assert said.splitlines() == [
        "mkdir: can't create directory '/tmp/x': Operation not permitted", "Seccomp:\t2", "a file"
    ]  # fmt: skip


def test_a_parameter_of_the_whole_machine_is_nobodys(node: Node) -> None:
    before = Path("/proc/sys/kernel/domainname").read_text()
    text = 'forbidden sysctl: "kernel.domainname" not allowlisted'
    status = node.wait("tampers", lambda status: status["phase"] == "Failed")["status"]
    assert (status["reason"], status["message"]) == ("SysctlForbidden", f"Pod was rejected: {text}")
    assert node.events("tampers", "SysctlForbidden") == [text]
    assert Path("/proc/sys/kernel/domainname").read_text() == before


def test_a_root_image_is_refused_to_those_who_must_not_be_root(node: Node) -> None:
    pod = node.wait("nonroot", lambda status: (_state(status, "waiting") or {}).get("message"))
    waiting = _state(pod["status"], "waiting")
    where = f'(pod: "nonroot_default({pod["metadata"]["uid"]})", container: c)'
    assert waiting == {
        "reason": "CreateContainerConfigError",
        "message": f"container has runAsNonRoot and image will run as root {where}",
    }


def test_namespaces_of_the_machine_and_shared_ones(node: Node) -> None:
    for kind in ("net", "pid", "ipc"):
        assert node.run("host", f"readlink /proc/self/ns/{kind}") == f"{Path(f'/proc/self/ns/{kind}').readlink()}\n"
    assert node.pod("host")["status"]["podIP"] == node.pod("host")["status"]["hostIP"]
    assert "sleep 4242" in node.run("shared", "ps", container="a")
    assert "sleep 4242" not in node.run("rights", "ps")


@pytest.mark.parametrize(
    ("name", "phase", "ended"),
    [
        ("succeeds", "Succeeded", {"exitCode": 0, "reason": "Completed"}),
        ("fails", "Failed", {"exitCode": 7, "reason": "Error", "message": "said at the end\n"}),
        ("falls-back", "Failed", {"exitCode": 8, "reason": "Error", "message": "line 1\nline 2\n"}),
        ("eats", "Failed", {"exitCode": 137, "reason": "OOMKilled"}),
    ],
)
def test_how_pods_end(node: Node, name: str, phase: str, ended: dict[str, Any]) -> None:
    pod = node.wait(name, lambda status: status["phase"] == phase)
    state = _state(pod["status"], "terminated")
    assert state is not None
    assert {key: state.get(key) for key in ended} == ended
    assert "message" in ended or "message" not in state


def test_a_job_fails_by_the_exit_code_of_its_pod(node: Node) -> None:
    node.pullet.kubectl("wait", "--for=condition=Failed", "job/picky", f"--timeout={SECONDS:.0f}s").ok()
    status = json.loads(node.pullet.kubectl("get", "job", "picky", "-o", "json").ok())["status"]
    failed = next(each for each in status["conditions"] if each["type"] == "Failed")
    pod = node.pullet.kubectl("get", "pod", "-l", "job-name=picky", "-o", "jsonpath={.items[*].metadata.name}").ok()
    text = f"Container c for pod default/{pod} failed with exit code 42 matching FailJob rule at index 0"
    assert (failed["reason"], failed["message"], status["failed"]) == ("PodFailurePolicy", text, 1)
    assert node.events("picky", "PodFailurePolicy") == [text]


def test_a_deadline_fails_the_pod(node: Node) -> None:
    status = node.wait("late", lambda status: status["phase"] == "Failed")["status"]
    assert status["reason"] == "DeadlineExceeded"
    assert status["message"] == "Pod was active on the node longer than the specified deadline"


def test_a_failing_liveness_probe_restarts(node: Node) -> None:
    node.wait("sick", lambda status: status["containerStatuses"][0]["restartCount"] > 0)
    assert node.events("sick", "Killing")[0] == "Container c failed liveness probe, will be restarted"
    assert node.events("sick", "Unhealthy")[0] == "Liveness probe failed: ill\n"


def test_a_crashing_container_backs_off_and_keeps_its_log(node: Node) -> None:
    pod = node.wait("crash", lambda status: status["containerStatuses"][0]["restartCount"] >= 1)
    # A node that was restarted meanwhile begins a new count, so there may be several events of the one text.
    wanted = f"Back-off restarting failed container c in pod crash_default({pod['metadata']['uid']})"
    assert set(node.events("crash", "BackOff")) == {wanted}
    assert node.logs("crash", "--previous") == "run\n"


def test_readiness_by_http_and_hooks(node: Node) -> None:
    pod = node.wait("web", lambda status: {"type": "Ready", "status": "True"}.items() <= _condition(status).items())
    assert pod["status"]["containerStatuses"][0]["ready"] is True
    assert node.run("web", "cat /tmp/post-start") == "post\n"


def test_readiness_by_grpc(node: Node) -> None:
    text = 'Readiness probe failed: service unhealthy (responded with "NOT_SERVING")'
    assert node.events("host", "Unhealthy") == [text]
    node.health.set("web", HealthCheckResponse.SERVING)
    node.wait("host", lambda status: _condition(status).get("status") == "True")


def _condition(status: dict[str, Any], kind: str = "Ready") -> dict[str, Any]:
    return next((each for each in status.get("conditions") or () if each["type"] == kind), {})


def test_a_new_image_restarts_in_place(node: Node) -> None:
    node.run("changes", "grep one /etc/image")
    before = node.pod("changes")["status"]
    node.pullet.kubectl("set", "image", "pod/changes", "c=busybox:2").ok()
    after = node.wait("changes", lambda status: status["containerStatuses"][0]["restartCount"] == 1)["status"]
    assert node.run("changes", "cat /etc/image") == "two\n"
    assert after["podIP"] == before["podIP"]
    assert node.events("changes", "Killing") == ["Container c definition changed, will be restarted"]


def test_grace_and_pre_stop(node: Node) -> None:
    node.run("graceful", "true")
    started = time.monotonic()
    node.pullet.kubectl("delete", "pod", "graceful").ok()
    assert 1.0 < time.monotonic() - started < 8.0
    assert (node.directory / "hostpath" / "last-words").read_text() == "pre-stop\nterminated\n"


def test_a_stop_signal_of_its_own_and_a_grace_period_cut_short(node: Node) -> None:
    node.run("lingers", "true")
    node.pullet.kubectl("delete", "pod", "lingers", "--wait=false").ok()
    asked = node.directory / "hostpath" / "lingers"
    deadline = time.monotonic() + SECONDS
    while not asked.exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    node.pullet.kubectl("delete", "pod", "lingers", "--grace-period=1", f"--timeout={SECONDS:.0f}s").ok()
    assert asked.read_text().startswith("asked\n")


def test_the_node_is_killed_and_its_pods_go_on(node: Node) -> None:
    """Adoption: nothing restarts, logs go on, and a pod that was being deleted is still deleted."""
    before = node.wait("ticks", lambda status: _state(status, "running"))["status"]["containerStatuses"][0]
    node.run("stubborn", "true")
    node.pullet.kubectl("delete", "pod", "stubborn", "--wait=false").ok()
    node.pullet.kill()
    node.pullet.start()
    after = node.pod("ticks")["status"]["containerStatuses"][0]
    assert (after["containerID"], after["restartCount"]) == (before["containerID"], 0)
    seen = node.logs("ticks").splitlines()
    node.pullet.kubectl("wait", "--for=delete", "pod/stubborn", "--timeout=30s").ok()
    ticks = node.logs("ticks").splitlines()
    assert len(ticks) > len(seen)
    assert ticks == [f"tick {number}" for number in range(1, len(ticks) + 1)]


def test_going_down_gives_pods_their_grace(node: Node) -> None:
    """The last test of this node."""
    node.run("farewell", "true")
    assert node.pullet.pullet("down", "--grace-period", "20").ok() == "stopped\n"
    assert node.pullet.wait_end() == 0
    assert (node.directory / "hostpath" / "farewell").read_text() == "pre-stop\nterminated\n"
