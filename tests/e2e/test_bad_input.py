"""What a user is told when something is wrong, word for word: what, where, and what would be right."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.e2e.harness import Pullet, pullet_command, run, running, scratch_directory
from tests.golden.images import ImageSpec, PushedImages, Pusher
from tests.golden.registry_process import docker_registry, free_port
from tests.golden.request_log import RequestLog
from tests.golden.stage import write_hosts

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]

POD = """\
apiVersion: v1
kind: Pod
metadata:
  name: x
spec:
  containers:
  - name: x
    image: {image}
    {rest}
"""


@dataclass(frozen=True, kw_only=True)
class World:
    """A node, a registry that it reaches as docker.io, and one that answers http where https is configured."""

    pullet: Pullet
    plain_http: str
    nobody_there: int


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with (
        scratch_directory("bad-input") as directory,
        docker_registry(directory / "registry") as registry,
        RequestLog(registry.port).serving() as log,
    ):
        pusher = Pusher(registry, PushedImages())
        pusher.push(ImageSpec(name="small:1", is_index=False))
        pusher.close()
        hosts = directory / "certs.d"
        write_hosts(hosts, "docker.io", f"http://{log.address}")
        write_hosts(hosts, "registry.example.com", f"https://{log.address}")
        with running(Pullet(directory / "node", config={"registryHosts": str(hosts)})) as pullet:
            yield World(pullet=pullet, plain_http=log.address, nobody_there=free_port())


def refusal(pullet: Pullet, text: str) -> str:
    """What `kubectl apply` says of a manifest that must be refused."""
    ran = pullet.kubectl("apply", "-f", "-", stdin=text, namespace="default")
    assert ran.code == 1, ran
    return ran.stderr.strip()


# manifests


def test_broken_yaml_names_file_and_line(tmp_path: Path) -> None:
    file = tmp_path / "pod.yaml"
    file.write_text("apiVersion: v1\nkind: Pod\nmetadata:\n  name: x\n   labels: {}\n")
    ran = run(pullet_command("run", "-f", str(file)))
    assert ran.code == 2
    assert ran.stderr.startswith(f"error: {file}:5: not valid YAML: mapping values are not allowed here"), ran.stderr


def test_broken_yaml_through_kubectl_names_the_line(world: World) -> None:
    text = refusal(world.pullet, "apiVersion: v1\nkind: Pod\nmetadata:\n  name: x\n   labels: {}\n")
    assert re.fullmatch(
        r"error: error parsing STDIN: error converting YAML to JSON: yaml: line [45]: "
        r"mapping values are not allowed in this context",
        text,
    ), text


def test_unknown_kind(world: World, tmp_path: Path) -> None:
    text = refusal(world.pullet, "apiVersion: v1\nkind: Pood\nmetadata:\n  name: x\n")
    assert 'no matches for kind "Pood" in version "v1"' in text
    file = tmp_path / "pood.yaml"
    file.write_text("apiVersion: v1\nkind: Pood\nmetadata:\n  name: x\n")
    ran = run(pullet_command("run", "-f", str(file)))
    assert (ran.code, ran.stderr) == (2, f'error: {file}:1: no matches for kind "Pood" in version "v1"\n')


def test_unknown_field(world: World) -> None:
    text = refusal(world.pullet, POD.format(image="small:1", rest="imagepullpolicy: Never"))
    if text.startswith("Error from server"):  # kubectl 1.25 and later leave it to the server
        assert text == (
            'Error from server (BadRequest): error when creating "STDIN": Pod in version "v1" cannot be handled as a '
            'Pod: strict decoding error: unknown field "spec.containers[0].imagepullpolicy"'
        )
    else:
        assert 'unknown field "imagepullpolicy" in io.k8s.api.core.v1.Container' in text


@pytest.mark.parametrize(
    ("image", "rest", "complaint"),
    [
        (
            "small:1",
            "imagePullPolicy: always",
            'spec.containers[0].imagePullPolicy: Unsupported value: "always": '
            'supported values: "Always", "IfNotPresent", "Never"',
        ),
        ('""', "", "spec.containers[0].image: Required value"),
        (
            '" nginx"',
            "",
            'spec.containers[0].image: Invalid value: " nginx": must not have leading or trailing whitespace',
        ),
        (
            "small:1",
            "ports: [{containerPort: 70000}]",
            "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
        ),
    ],
)
def test_invalid_pod(world: World, image: str, rest: str, complaint: str) -> None:
    assert refusal(world.pullet, POD.format(image=image, rest=rest)) == f'The Pod "x" is invalid: {complaint}'


def test_policy_of_the_wrong_type(world: World) -> None:
    text = refusal(world.pullet, POD.format(image="small:1", rest="imagePullPolicy: 5"))
    assert (
        text.endswith(
            "json: cannot unmarshal number into Go struct field Container.spec.containers.imagePullPolicy of type "
            "v1.PullPolicy"
        )
        or "imagePullPolicy" in text
    )  # kubectl before 1.25 refuses it by itself


# registries


def test_registry_down(world: World) -> None:
    image = f"127.0.0.1:{world.nobody_there}/app:1.0"
    ran = world.pullet.pullet("images", "pull", image)
    assert ran.code == 1
    assert ran.stderr.splitlines()[0] == (
        f'error: failed to pull and unpack image "{image}": failed to resolve reference "{image}": '
        f'failed to do request: Head "http://127.0.0.1:{world.nobody_there}/v2/app/manifests/1.0": '
        f"dial tcp 127.0.0.1:{world.nobody_there}: connect: connection refused"
    )


def test_tls_spoken_to_a_plain_http_registry_names_the_setting(world: World) -> None:
    image = "registry.example.com/app:1.0"
    ran = world.pullet.pullet("images", "pull", image)
    assert ran.code == 1
    first, *advice = ran.stderr.splitlines()
    assert first == (
        f'error: failed to pull and unpack image "{image}": failed to resolve reference "{image}": '
        f'failed to do request: Head "https://{world.plain_http}/v2/app/manifests/1.0?ns=registry.example.com": '
        "http: server gave HTTP response to HTTPS client"
    )
    words = "\n".join(advice)
    assert f"write `http://{world.plain_http}` where certs.d/registry.example.com/hosts.toml names it" in words


def test_image_that_is_not_there(world: World) -> None:
    ran = world.pullet.pullet("images", "pull", "small:2")
    assert ran.code == 1
    assert ran.stderr.splitlines()[0] == (
        'error: failed to pull and unpack image "docker.io/library/small:2": failed to resolve reference '
        '"docker.io/library/small:2": docker.io/library/small:2: not found'
    )


@pytest.mark.parametrize(
    ("image", "complaint"),
    [
        ("Nginx:1.17.1", "invalid reference format: repository name (library/Nginx) must be lowercase"),
        ("nginx::1", "invalid reference format"),
    ],
)
def test_image_name_that_cannot_be(world: World, image: str, complaint: str) -> None:
    ran = world.pullet.pullet("images", "pull", image)
    assert ran.code in (1, 2)
    assert ran.stderr.splitlines()[0].endswith(complaint), ran.stderr


# starting the node


def test_port_taken(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for option, other, what in (
            ("--port", "--registry-port", "the API server"),
            ("--registry-port", "--port", "the registry"),
        ):
            ran = run(pullet_command("up", "--root", str(tmp_path / "root"), option, str(port), other, "0"))
            assert ran.code == 2, ran
            assert last_line(ran.stderr) == (
                f"error: port {port} on 127.0.0.1 is taken, so {what} cannot listen there: choose another with {option}"
            )


def test_second_up_on_the_same_root(world: World) -> None:
    root = world.pullet.root
    ran = run(pullet_command("up", "--root", str(root), "--port", "0", "--registry-port", "0"))
    assert ran.code == 2, ran
    assert last_line(ran.stderr) == (
        f"error: {root} is in use by another pullet (pid {world.pullet.pid}): "
        f"stop it with `pullet down --root {root}`, or give this one another --root"
    )
    assert world.pullet.kubectl("get", "nodes").code == 0, "the first one goes on"


def test_up_without_root_rights() -> None:
    words = (
        "import os; import pullet.cli.main, pullet.cli.tree, pullet.cli.up; os.setuid(65534); pullet.cli.main.main()"
    )
    ran = run([sys.executable, "-c", words, "up"])
    assert (ran.code, ran.stderr) == (
        2,
        "error: pullet up needs root (mounts, network namespaces, cgroups): run it with sudo\n",
    )


def test_up_without_an_oci_runtime(tmp_path: Path) -> None:
    hidden = [path for name in ("crun", "runc") if (path := shutil.which(name, path="/usr/bin:/usr/sbin:/bin"))]
    mask = "; ".join(f"mount --bind /dev/null {path}" for path in hidden)
    command = pullet_command("up", "--root", str(tmp_path / "root"), "--port", "0", "--registry-port", "0")
    ran = run(["unshare", "--mount", "sh", "-ec", f'{mask}; exec "$@"', "sh", *command])
    assert ran.code in (1, 2), ran
    assert last_line(ran.stderr) == (
        "error: no OCI runtime on this machine: neither crun nor runc is in PATH. Install one: apt-get install crun"
    )


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("nodeNmae: a\n", "invalid configuration: Object contains unknown field `nodeNmae`"),
        ("port: [\n", ":2: not valid YAML: "),
        ("port: many\n", "invalid configuration: Expected `int`, got `str` - at `$.port`"),
        ("kubelet: {registryPullQPS: -1}\n", "registryPullQPS"),
    ],
)
def test_configuration_that_cannot_be(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "pullet.yaml"
    file.write_text(text)
    ran = run(pullet_command("up", "--root", str(tmp_path / "root"), "--config", str(file)))
    assert ran.code == 2, ran
    assert last_line(ran.stderr).startswith(f"error: {file}" if "registryPullQPS" not in complaint else "error: ")
    assert complaint in last_line(ran.stderr)


def test_commands_without_a_node(tmp_path: Path) -> None:
    root = tmp_path / "nowhere"
    for arguments in (("status",), ("images", "ls"), ("why", "x"), ("down",)):
        ran = run(pullet_command(*arguments, "--root", str(root)))
        assert ran.code == 2, (arguments, ran)
        assert ran.stderr.startswith(f"error: no node is running at {root}: start one with `pullet up`"), ran.stderr


# the disk


def test_disk_full_says_so_and_leaves_nothing_behind() -> None:
    with scratch_directory("disk-full") as directory, docker_registry(directory / "registry") as registry:
        pusher = Pusher(registry, PushedImages())
        pusher.push(ImageSpec(name="big:1", is_index=False, padding_bytes=96 << 20))
        pusher.push(ImageSpec(name="small:1", is_index=False))
        pusher.close()
        root = directory / "node"
        root.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "pullet-test", str(root)], check=True)
        write_hosts(directory / "certs.d", "docker.io", f"http://127.0.0.1:{registry.port}")
        try:
            pullet = Pullet(root, config={"registryHosts": str(directory / "certs.d")})
            pullet.start()
            ran = pullet.pullet("images", "pull", "big:1")
            assert ran.code == 1
            first = ran.stderr.splitlines()[0]
            assert 'failed to pull and unpack image "docker.io/library/big:1": ' in first
            assert "no space left on device" in first
            assert str(root) in ran.stderr, "which disk is full"
            pullet.pullet("images", "pull", "small:1").ok()
            assert shutil.disk_usage(root).used < 48 << 20, "what the failed pull wrote is gone"
            pullet.down()
        finally:
            if pullet.is_running():
                pullet.kill()
            subprocess.run(["umount", "-l", str(root)], check=True)


def last_line(text: str) -> str:
    return text.strip().splitlines()[-1] if text.strip() else ""
