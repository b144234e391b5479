"""Terminals and forwarded ports of a pod, as kubectl of either dialect and the Python clients ask for them."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from tests.e2e.harness import Pullet, running, scratch_directory
from tests.e2e.kubectls import choices, resolve
from tests.e2e.terminals import Typist

from pullet.apiserver.node_client import NodeAddress, NodeSocket
from pullet.oci.image_builder import oci_archive
from pullet.testing.images import busybox_image

pytestmark = [pytest.mark.root, pytest.mark.timeout(90)]

POD = """
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: busybox:1
    command: [busybox, httpd, -f, -p, "80", -h, /etc]
    ports: [{containerPort: 80, hostPort: 28080}]
  - {name: sum, image: "busybox:1", command: [busybox, nc, -ll, -p, "9000", -e, busybox, sha256sum]}
"""


@pytest.fixture(scope="module")
def node() -> Iterator[Pullet]:
    with scratch_directory("streams") as directory:
        archive = directory / "image.tar"
        archive.write_bytes(oci_archive({"docker.io/library/busybox:1": busybox_image(text="hello")}))
        with running(Pullet(directory / "root")) as pullet:
            pullet.pullet("images", "import", str(archive)).ok()
            pullet.kubectl("apply", "-f", "-", stdin=POD).ok()
            pullet.kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=30s").ok()
            yield pullet


@pytest.mark.parametrize("choice", choices())
def test_a_terminal_has_a_size_and_a_keyboard(node: Pullet, choice: str) -> None:
    words = [str(resolve(choice).path), "exec", "-it", "web", "-c", "c", "--", "sh"]
    typist = Typist(words, node.kubectl_environment())
    typist.expect(rb"/ # ")
    typist.resize(33, 101)
    typist.type("while [ \"$(busybox stty size)\" != '33 101' ]; do :; done; echo size-$((33+1))\n")
    typist.expect(rb"\nsize-34")
    typist.type("sleep 1000\n")
    typist.expect(rb"sleep 1000")
    time.sleep(0.3)
    typist.type("\x03exit 5\n")
    assert typist.end() == 5


@pytest.mark.parametrize("choice", choices())
def test_a_forwarded_port_may_be_closed_by_halves(node: Pullet, choice: str) -> None:
    """All of a large upload arrives, and its answer after it."""
    data = os.urandom(1 << 20) * 100
    words = [str(resolve(choice).path), "port-forward", "pod/web", ":9000"]
    with subprocess.Popen(words, env=node.kubectl_environment(), stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline().partition("->")[0].rpartition(":")[2])
            with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                answer = b"".join(iter(lambda: connection.recv(4096), b""))
        finally:
            process.terminate()
    assert answer.decode().split()[0] == hashlib.sha256(data).hexdigest()


def test_a_port_of_the_machine(node: Pullet) -> None:
    with socket.create_connection(("127.0.0.1", 28080), timeout=10) as connection:
        connection.sendall(b"GET /image HTTP/1.0\r\n\r\n")
        assert b"".join(iter(lambda: connection.recv(4096), b"")).endswith(b"\r\n\r\nhello\n")


@pytest.fixture(scope="module")
def api(node: Pullet, tmp_path_factory: pytest.TempPathFactory) -> NodeAddress:
    """Where the API server is, for a WebSocket of ours."""
    config = yaml.safe_load(node.kubeconfig.read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    paths: dict[str, Path] = {}
    for name in ("client-certificate", "client-key"):
        paths[name] = tmp_path_factory.mktemp("tls") / name
        paths[name].write_bytes(base64.b64decode(user[f"{name}-data"]))
    authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
    context = ssl.create_default_context(cadata=authority)
    context.load_cert_chain(paths["client-certificate"], paths["client-key"])
    url = urlsplit(cluster["server"])
    return NodeAddress(str(url.hostname), int(url.port or 443), context)


@pytest.mark.parametrize("protocols", [["v4.channel.k8s.io"], []])
async def test_ports_in_the_channels_of_one_websocket(api: NodeAddress, protocols: list[str]) -> None:
    web = await NodeSocket.open(api, "/api/v1/namespaces/default/pods/web/portforward?ports=80,9", protocols)
    await web.send(b"\x00GET /image HTTP/1.0\r\n\r\n")
    said = dict.fromkeys(range(4), b"")
    while (message := await web.receive()) is not None:
        said[message[0]] += message[1:]
    await web.close()
    assert said[0].startswith(b"\x50\x00HTTP/1.1 200 OK")
    assert said[0].endswith(b"hello\n")
    assert said[1] == b"\x50\x00"
    assert said[2] == b"\x09\x00"
    assert re.fullmatch(
        rb"\x09\x00error forwarding port 9 to pod (\w{64}), uid : "
        rb'failed to execute portforward in network namespace "/\S+/net": failed to connect to localhost:9 '
        rb'inside namespace "\1", IPv4: dial tcp4 127\.0\.0\.1:9: connect: connection refused '
        rb"IPv6 dial tcp6 \[::1\]:9: connect: connection refused ",
        said[3],
    ), said[3]
