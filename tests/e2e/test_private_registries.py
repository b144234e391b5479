"""A private registry, from the user's side: secrets, logins, who may use what is there, and where no secret may be.

One node, one htpasswd registry, the steps in order; at the end every place that could have kept a secret is searched.
"""

from __future__ import annotations

import base64
import json
import os
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.harness import Pullet, pullet_command, running, scratch_directory
from tests.golden.registry_process import docker_registry

from pullet.registry.push import push_image
from pullet.testing.fake_registry import FakeRegistry
from pullet.testing.images import busybox_image
from pullet.testing.registry_faults import FakeAuth, Fault

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]

PASSWORD, WRONG = "s3cret", "wr0ng-and-pl4nted"
PLANTED = (
    PASSWORD,
    WRONG,
    base64.b64encode(f"alice:{PASSWORD}".encode()).decode(),
    base64.b64encode(f"alice:{WRONG}".encode()).decode().rstrip("="),
)


@dataclass
class ProcessArguments:
    """Command lines and environments of pullet's processes, sampled while the tests run."""

    root: Path
    seen: set[bytes] = field(default_factory=set)
    _done: threading.Event = field(default_factory=threading.Event)

    def watch(self) -> None:
        while not self._done.wait(0.02):
            for process in Path("/proc").iterdir():
                if not process.name.isdigit():
                    continue
                try:
                    words = (process / "cmdline").read_bytes()
                    if b"pullet" in words and b"kubectl" not in words:
                        self.seen.add(words + (process / "environ").read_bytes())
                except OSError:
                    continue  # it ended while we looked

    def stop(self) -> None:
        self._done.set()


@dataclass(frozen=True, kw_only=True)
class World:
    pullet: Pullet
    host: str
    arguments: ProcessArguments

    @property
    def image(self) -> str:
        return f"{self.host}/team/app:1.0"

    def run_pod(self, name: str, *, secret: str = "", policy: str = "IfNotPresent", account: str = "") -> None:
        pod: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name},
            "spec": {
                "terminationGracePeriodSeconds": 0,
                "containers": [{"name": "c", "image": self.image, "imagePullPolicy": policy}],
            },
        }
        if account:
            pod["spec"]["serviceAccountName"] = account
        if secret:
            pod["spec"]["imagePullSecrets"] = [{"name": secret}]
        self.pullet.kubectl("apply", "-f", "-", stdin=json.dumps(pod)).ok()

    def wait_for(self, name: str, want: str, *, seconds: float = 20) -> str:
        """Wait until the container runs (`running`) or waits with a reason; gives the waiting message."""
        deadline = time.monotonic() + seconds
        state: dict[str, Any] = {}
        while time.monotonic() < deadline:
            pod = json.loads(self.pullet.kubectl("get", "pod", name, "-o", "json").ok())
            for status in pod["status"].get("containerStatuses", ()):
                state = status["state"]
                if want in state:
                    return ""
                if state.get("waiting", {}).get("reason") == want:
                    return str(state["waiting"].get("message", ""))
            time.sleep(0.1)
        raise AssertionError(f"pod {name} is not {want} but {state}")

    def create_secret(self, name: str, password: str) -> None:
        self.pullet.kubectl(
            "create", "secret", "docker-registry", name, f"--docker-server={self.host}",
            "--docker-username=alice", f"--docker-password={password}",
        ).ok()  # fmt: skip


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with scratch_directory("private") as directory, docker_registry(directory / "registry", with_password=True) as hub:
        push_image(f"http://127.0.0.1:{hub.port}", "team/app", "1.0", busybox_image(), user=("alice", PASSWORD))
        arguments = ProcessArguments(directory / "root")
        watcher = threading.Thread(target=arguments.watch)
        watcher.start()
        try:
            pullet = Pullet(directory / "root", arguments=["--log-level", "debug"])
            with running(pullet):
                yield World(pullet=pullet, host=f"127.0.0.1:{hub.port}", arguments=arguments)
        finally:
            arguments.stop()
            watcher.join()


def test_a_private_registry_step_by_step(world: World) -> None:
    without_a_secret_the_pull_is_refused_and_the_next_step_told(world)
    a_wrong_secret_is_refused(world)
    the_right_secret_pulls(world)
    the_image_is_no_free_gift_for_other_pods(world)
    a_login_of_the_node_opens_it_for_every_pod(world)
    images_in_use_stay_and_the_plan_says_so(world)
    no_secret_is_anywhere_but_where_it_must_be(world)
    an_abort_leaves_no_core_file(world)


def without_a_secret_the_pull_is_refused_and_the_next_step_told(world: World) -> None:
    world.run_pod("without")
    message = world.wait_for("without", "ErrImagePull")
    assert "no basic auth credentials" in message
    why = world.pullet.pullet("why", "without").ok()
    assert "add an imagePullSecret for this registry" in why


def a_wrong_secret_is_refused(world: World) -> None:
    world.create_secret("wrong", WRONG)
    world.run_pod("wrong", secret="wrong")
    world.wait_for("wrong", "ErrImagePull")
    why = json.loads(world.pullet.pullet("why", "wrong", "-o", "json").ok())
    assert "renew the pull secret" in why[0]["next_step"]


def the_right_secret_pulls(world: World) -> None:
    world.create_secret("right", PASSWORD)
    world.run_pod("right", secret="right")
    world.wait_for("right", "running")
    (last,) = json.loads(world.pullet.pullet("why", "right", "-o", "json").ok())
    assert last["outcome"] == "pulled"
    assert last["credential"] == f"secret default/right (key {world.host})"
    assert len(last["credential_fingerprint"]) == 12


def the_image_is_no_free_gift_for_other_pods(world: World) -> None:
    access = json.loads(world.pullet.pullet("images", "access", world.image, "-o", "json").ok())
    assert access["who"] == "pods with a credential on record"
    assert access["recorded"] == [{"name": f"{world.host}/team/app", "openers": ["secret default/right"]}]
    world.run_pod("thief")
    world.wait_for("thief", "ErrImagePull")
    world.run_pod("friend", secret="right")
    world.wait_for("friend", "running")
    (last,) = json.loads(world.pullet.pullet("why", "friend", "-o", "json").ok())
    assert last["outcome"] == "used-local"


def a_login_of_the_node_opens_it_for_every_pod(world: World) -> None:
    refused = world.pullet.pullet("login", world.host, "-u", "alice", "--password-stdin", stdin=WRONG)
    assert refused.code == 1
    assert "check user and password" in refused.stderr
    world.pullet.pullet("login", world.host, "-u", "alice", "--password-stdin", stdin=PASSWORD).ok()
    world.run_pod("node-login", policy="Always")
    world.wait_for("node-login", "running")
    access = json.loads(world.pullet.pullet("images", "access", world.image, "-o", "json").ok())
    assert access["who"] == "every pod"
    world.run_pod("anybody")
    world.wait_for("anybody", "running")
    world.pullet.pullet("logout", world.host).ok()
    assert world.pullet.pullet("images", "pull", world.image).code == 1


def images_in_use_stay_and_the_plan_says_so(world: World) -> None:
    plan = json.loads(world.pullet.pullet("images", "gc", "--all", "--plan", "-o", "json").ok())
    (verdict,) = plan["images"]
    assert not verdict["is_removed"]
    assert verdict["why"].startswith("in use by a container of pod default/")
    assert "the store is in order" in world.pullet.pullet("store", "check").ok()


def no_secret_is_anywhere_but_where_it_must_be(world: World) -> None:
    pullet = world.pullet
    listings: tuple[tuple[str, ...], ...] = (
        ("get", "pods,events,nodes,serviceaccounts", "-A", "-o", "json"),
        ("get", "--raw", "/metrics"),
        ("describe", "pods", "-A"),
    )
    for words in listings:
        assert_nothing_planted(f"kubectl {' '.join(words)}", pullet.kubectl(*words).stdout.encode())
    assert_nothing_planted("described secrets", pullet.kubectl("describe", "secrets").ok().encode())
    for pod in ("without", "wrong", "right", "friend", "node-login"):
        assert_nothing_planted("why", pullet.pullet("why", pod, "--all", "-o", "json").ok().encode())
    listings = (("images", "ls"), ("images", "df"), ("status",), ("images", "access", world.image))
    for words in listings:
        assert_nothing_planted(" ".join(words), pullet.pullet(*words, "-o", "json").ok().encode())
    assert_nothing_planted("the log", pullet.log_path.read_bytes())
    assert world.arguments.seen
    for seen in world.arguments.seen:
        assert_nothing_planted("process arguments and environments", seen)
    searched = 0
    for path in world.pullet.root.rglob("*"):
        inside = path.relative_to(world.pullet.root).parts
        if inside[0] == "apiserver" or "ns" in inside or not path.is_file() or path.is_symlink():
            continue  # the API server keeps Secrets, as etcd does; name spaces have no bytes
        searched += 1
        assert_nothing_planted(str(path), path.read_bytes())
    assert searched > 10


def an_abort_leaves_no_core_file(world: World) -> None:
    """The node's memory holds every secret, so it may not be written anywhere, whatever the limits say."""
    assert_dies_without_core(world.pullet.pid)
    world.pullet.wait_end()
    world.pullet.start()  # whose end takes away what still runs


def assert_dies_without_core(pid: int) -> None:
    """Abort a child of ours, whose limits allow a core of any size."""
    resource.prlimit(pid, resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    os.kill(pid, signal.SIGABRT)
    ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert ended is not None
    assert (ended.si_code, ended.si_status) == (os.CLD_KILLED, signal.SIGABRT), "it dumped its core"


def assert_nothing_planted(where: str, data: bytes) -> None:
    found = [secret for secret in PLANTED if secret.encode() in data]
    assert not found, f"{where} holds a secret"


PROVIDER = """\
#!/usr/bin/env python3
import base64, json, sys
request = json.load(sys.stdin)
claims = request["serviceAccountToken"].split(".")[1]
claims = json.loads(base64.urlsafe_b64decode(claims + "==="))
answers = {
    "kind": "CredentialProviderResponse", "apiVersion": request["apiVersion"],
    "cacheKeyType": "Registry", "cacheDuration": "1h", "auth": {},
}
is_right = claims["sub"] == "system:serviceaccount:default:puller" and claims["aud"] == ["registry.test"]
if is_right and request["serviceAccountAnnotations"] == {"registry.test/user": "alice"}:
    answers["auth"]["127.0.0.1:%(port)d/team"] = {"username": "alice", "password": "%(password)s"}
json.dump(answers, sys.stdout)
"""


def test_a_credential_provider_acts_in_the_name_of_the_pods_service_account() -> None:
    with scratch_directory("provider") as directory, docker_registry(directory / "registry", with_password=True) as hub:
        push_image(f"http://127.0.0.1:{hub.port}", "team/app", "1.0", busybox_image(), user=("alice", PASSWORD))
        config = provider_config(directory, hub.port)
        with running(Pullet(directory / "root", config=config)) as pullet:
            world = World(pullet=pullet, host=f"127.0.0.1:{hub.port}", arguments=ProcessArguments(directory))
            account = {
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "metadata": {"name": "puller", "annotations": {"registry.test/user": "alice"}},
            }
            pullet.kubectl("apply", "-f", "-", stdin=json.dumps(account)).ok()
            world.run_pod("chosen", account="puller")
            world.wait_for("chosen", "running")
            (last,) = json.loads(pullet.pullet("why", "chosen", "-o", "json").ok())
            assert last["credential"] == f"credential provider keeper (key 127.0.0.1:{hub.port}/team)"
            access = json.loads(pullet.pullet("images", "access", world.image, "-o", "json").ok())
            assert access["recorded"][0]["openers"] == ["service account default/puller"]
            world.run_pod("other")
            world.wait_for("other", "ErrImagePull")
            assert_nothing_planted("the log", pullet.log_path.read_bytes())


def provider_config(directory: Path, port: int) -> dict[str, Any]:
    """The node's configuration for a provider that answers one account alone."""
    program = directory / "bin" / "keeper"
    program.parent.mkdir()
    program.write_text(PROVIDER % {"port": port, "password": PASSWORD})
    program.chmod(0o755)
    providers = {
        "kind": "CredentialProviderConfig",
        "apiVersion": "kubelet.config.k8s.io/v1",
        "providers": [
            {
                "name": "keeper",
                "matchImages": [f"127.0.0.1:{port}"],
                "defaultCacheDuration": "1h",
                "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
                "tokenAttributes": {
                    "serviceAccountTokenAudience": "registry.test",
                    "requireServiceAccount": True,
                    "cacheType": "ServiceAccount",
                    "requiredServiceAccountAnnotationKeys": ["registry.test/user"],
                },
            }
        ],
    }
    (directory / "providers.json").write_text(json.dumps(providers))
    return {
        "imageCredentialProviderConfig": str(directory / "providers.json"),
        "imageCredentialProviderBinDir": str(program.parent),
    }


def test_an_abort_of_a_login_leaves_no_core_file(tmp_path: Path) -> None:
    with FakeRegistry(auth=FakeAuth(scheme="basic", users={"alice": PASSWORD})) as registry:
        registry.inject(Fault(delay_seconds=120))
        command = pullet_command("login", registry.host, "-u", "alice", "--password-stdin", "--root", str(tmp_path))
        with subprocess.Popen(command, stdin=subprocess.PIPE) as login:
            assert login.stdin is not None
            login.stdin.write(PASSWORD.encode())
            login.stdin.close()
            deadline = time.monotonic() + 60
            while not registry.connections:
                assert time.monotonic() < deadline, "the login asked nobody"
                time.sleep(0.01)
            assert_dies_without_core(login.pid)
    assert not any(PASSWORD.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
