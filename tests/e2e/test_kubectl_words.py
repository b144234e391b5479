"""Stock kubectl against the API server alone: a table of command lines with what they print.

Runs with every kubectl found: the one on PATH, and those that KUBECTL_BINARIES names (separated by colons).
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pullet.apiserver.server import ApiServer
from pullet.apiserver.settings import ApiServerSettings
from pullet.kit.process import run_command

pytestmark = [pytest.mark.root, pytest.mark.timeout(240)]


def binaries() -> list[str]:
    """Every kubectl there is to try, each once."""
    named = [path for path in os.environ.get("KUBECTL_BINARIES", "").split(":") if path]
    found = [shutil.which("kubectl"), *named]
    return list(dict.fromkeys(path for path in found if path))


@dataclass
class Kubectl:
    """One kubectl with a home and a kubeconfig of its own."""

    path: str
    home: Path
    kubeconfig: Path
    environment: dict[str, str] = field(default_factory=dict)

    async def __call__(self, arguments: str | list[str], stdin: str = "") -> tuple[int, str]:
        """Exit code and output, stdout before stderr, ages and generated names made equal."""
        argv = arguments.split() if isinstance(arguments, str) else arguments
        result = await run_command(
            [self.path, *argv],
            stdin=stdin.encode() if stdin else None,
            environment={
                "HOME": str(self.home),
                "KUBECONFIG": str(self.kubeconfig),
                "PATH": os.environ["PATH"],
                **self.environment,
            },
            directory=self.home,
        )
        return result.exit_code, normalised((result.stdout + result.stderr).decode())

    async def minor(self) -> int:
        """The client's minor version."""
        text = await self.ok("version --client -o json")
        return int(re.sub(r"\D", "", json.loads(text)["clientVersion"]["minor"]))

    async def ok(self, arguments: str | list[str], stdin: str = "") -> str:
        code, text = await self(arguments, stdin)
        assert code == 0, text
        return text


def normalised(text: str) -> str:
    text = re.sub(r"kube-api-access-[a-z0-9]{5}", "kube-api-access-XXXXX", text)
    text = re.sub(r"(?m)^WARNING: version difference .*\n", "", text)
    return re.sub(r"(?<=\s)\d+m?\d*s(?=\s|$)", "AGE", text)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ApiServer]:
    settings = ApiServerSettings(port=0, admission_plugins=["AlwaysPullImages"] if "on" in tmp_path.name else [])
    async with ApiServer(root=tmp_path / "apiserver", settings=settings) as server:
        running = asyncio.create_task(server.run())
        yield server
        running.cancel()
        await asyncio.wait([running])


@pytest.fixture(params=binaries(), ids=lambda path: path.replace("/", "_"))
async def kubectl(request: pytest.FixtureRequest, server: ApiServer, tmp_path: Path) -> Kubectl:
    home = tmp_path / "home"
    made = Kubectl(request.param, home, server.kubeconfig_path)
    await asyncio.get_running_loop().run_in_executor(None, home.mkdir)
    await made.ok("create serviceaccount default")
    return made


def pod(name: str = "x", **container: object) -> str:
    spec = {"containers": [{"name": "x", "image": "nginx:1", **container}]}
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})


def pod_with(**spec: object) -> str:
    body = json.loads(pod())
    body["spec"] |= spec
    return json.dumps(body)


POLICIES = 'supported values: "Always", "IfNotPresent", "Never"'
REFUSED = [  # as a real cluster of 1.36 answered them
    (pod(imagePullPolicy="always"), f'spec.containers[0].imagePullPolicy: Unsupported value: "always": {POLICIES}'),
    (
        pod(imagePullPolicy="Sometimes"),
        f'spec.containers[0].imagePullPolicy: Unsupported value: "Sometimes": {POLICIES}',
    ),
    (pod(image=""), "spec.containers[0].image: Required value"),
    (
        pod(image=" nginx"),
        'spec.containers[0].image: Invalid value: " nginx": must not have leading or trailing whitespace',
    ),
    (
        pod_with(initContainers=[{"name": "i", "image": "busybox", "imagePullPolicy": "Foo"}]),
        f'spec.initContainers[0].imagePullPolicy: Unsupported value: "Foo": {POLICIES}',
    ),
    (
        pod_with(volumes=[{"name": "v", "image": {"reference": "a:1", "pullPolicy": "Foo"}}]),
        f'spec.volumes[0].image.pullPolicy: Unsupported value: "Foo": {POLICIES}',
    ),
    (pod_with(volumes=[{"name": "v", "image": {}}]), "spec.volumes[0].image.reference: Required value"),
    (pod_with(containers=[]), "spec.containers: Required value"),
]


async def test_bad_pods_are_refused_in_the_servers_words(kubectl: Kubectl) -> None:
    for manifest, text in REFUSED:
        code, printed = await kubectl("create --validate=false --dry-run=server -f -", manifest)
        assert (code, printed.strip()) == (1, f'The Pod "x" is invalid: {text}'), manifest


async def test_a_misspelled_field_and_a_wrong_type_are_told_apart(kubectl: Kubectl) -> None:
    if await kubectl.minor() < 25:  # validates by itself, in its own words
        code, printed = await kubectl("create --dry-run=server -f -", pod(imagepullpolicy="Always"))
        assert code == 1
        assert 'unknown field "imagepullpolicy"' in printed
        return
    code, printed = await kubectl("create --dry-run=server -f -", pod(imagepullpolicy="Always"))
    assert (code, printed.strip()) == (
        1,
        'Error from server (BadRequest): error when creating "STDIN": Pod in version "v1" cannot be handled as a Pod: '
        'strict decoding error: unknown field "spec.containers[0].imagepullpolicy"',
    )
    code, printed = await kubectl("create --dry-run=server -f -", pod(imagePullPolicy=1))
    assert (code, printed.strip()) == (
        1,
        'Error from server (BadRequest): error when creating "STDIN": Pod in version "v1" cannot be handled as a Pod: '
        "json: cannot unmarshal number into Go struct field Container.spec.containers.imagePullPolicy of type "
        "v1.PullPolicy",
    )


@dataclass
class Step:
    """A command line and all it prints; `None` accepts any output of a success."""

    line: str
    printed: str | None
    code: int = 0
    stdin: str = ""


def table(text: str) -> str:
    """Several lines, written indented in this file."""
    lines = [line for line in text.splitlines() if line.strip()]
    indent = min(len(line) - len(line.lstrip()) for line in lines)
    return "\n".join(line[indent:].rstrip() for line in lines)


STEPS = [
    Step("get pods", "No resources found in default namespace."),
    Step("apply -f -", "pod/x created", stdin=pod()),
    Step("apply -f -", "pod/x unchanged", stdin=pod()),
    Step(
        "get pods",
        table("""
        NAME   READY   STATUS    RESTARTS   AGE
        x      0/1     Pending   0          AGE
        """),
    ),
    Step(
        "get pods -o wide",
        table("""
        NAME   READY   STATUS    RESTARTS   AGE   IP       NODE     NOMINATED NODE   READINESS GATES
        x      0/1     Pending   0          AGE    <none>   <none>   <none>           <none>
        """),
    ),
    Step("get po x -o jsonpath={.spec.containers[0].imagePullPolicy}", "IfNotPresent"),
    Step("get pods -o name", "pod/x"),
    Step("get po,cm --no-headers -A", None),
    Step("label pod x tier=web", "pod/x labeled"),
    Step("label pod x tier=db", "error: 'tier' already has a value (web), and --overwrite is false", code=1),
    Step("annotate pod x note=hello", "pod/x annotated"),
    Step("get pods -l tier=web -o name", "pod/x"),
    Step("get pods -l tier!=web -o name", ""),
    Step("get pods --field-selector status.phase=Running -o name", ""),
    Step("set image pod/x x=nginx:2", "pod/x image updated"),
    Step("create -f -",
         'Error from server (AlreadyExists): error when creating "STDIN": pods "x" already exists', 1, pod()),
    Step("get pod nosuch", 'Error from server (NotFound): pods "nosuch" not found', code=1),
    Step("get foo", 'error: the server doesn\'t have a resource type "foo"', code=1),
    Step("delete pod x", None),
    Step("delete pod x", 'Error from server (NotFound): pods "x" not found', code=1),
    Step("create namespace team", "namespace/team created"),
    Step("get ns team -o jsonpath={.status.phase}{.metadata.labels}", 'Active{"kubernetes.io/metadata.name":"team"}'),
    Step("create secret generic s --from-literal=a=b", "secret/s created"),
    Step("get secret s -o jsonpath={.type}{.data.a}", "OpaqueYg=="),
    Step("create secret docker-registry r --docker-server=a.example --docker-username=u --docker-password=p",
         "secret/r created"),
    Step("create configmap c --from-literal=k=v", "configmap/c created"),
    Step("create serviceaccount robot", "serviceaccount/robot created"),
    Step("get sa robot", "NAME    AGE\nrobot   AGE"),
    Step("create deployment web --image=nginx:1 --replicas=0", "deployment.apps/web created"),
    Step("get deploy web -o jsonpath={.spec.replicas}{.spec.template.metadata.creationTimestamp}", "0"),
    Step("scale deployment web --replicas=3", "deployment.apps/web scaled"),
    Step("scale deployment web --current-replicas=1 --replicas=2",
         "error: Expected replicas to be 1, was 3", code=1),
    Step("get deploy", "NAME   READY   UP-TO-DATE   AVAILABLE   AGE\nweb    0/3     0            0           AGE"),
    Step("set image deployment/web nginx=nginx:2", "deployment.apps/web image updated"),
    Step("rollout pause deployment web", "deployment.apps/web paused"),
    Step("rollout pause deployment web", "error: deployments.apps \"web\" is already paused", code=1),
    Step("rollout resume deployment web", "deployment.apps/web resumed"),
    Step("rollout restart deployment web", "deployment.apps/web restarted"),
    Step("delete deployment web --cascade=foreground --wait=false", None),
    Step("create job j --image=busybox:1", "job.batch/j created"),
    Step("get job j -o jsonpath={.spec.completions}{.spec.backoffLimit}", "16"),
    Step("run r --image=nginx:1 --restart=Never", "pod/r created"),
    Step("patch pod r --type=merge -p {\"metadata\":{\"labels\":{\"a\":\"b\"}}}", "pod/r patched"),
    Step("patch pod r -p {\"spec\":{\"containers\":[{\"name\":\"r\",\"image\":\"\"}]}}",
         'The Pod "r" is invalid: spec.containers[0].image: Required value', code=1),
    Step("auth can-i create pods", "yes"),
    Step("auth can-i list pods --as=nobody", "no", code=1),
    Step("api-versions", None),
    Step("api-resources --namespaced=false -o name", None),
    Step("explain pod.spec.containers.imagePullPolicy", None),
    Step("get --raw /livez", "ok"),
    Step("delete pods --all", None),
    Step("get pods --all-namespaces", "No resources found"),
    Step("cluster-info", None),
]  # fmt: skip


async def test_a_table_of_command_lines(kubectl: Kubectl) -> None:
    for step in STEPS:
        code, printed = await kubectl(step.line, step.stdin)
        assert code == step.code, f"{step.line}\n{printed}"
        if step.printed is not None:
            shown = "\n".join(line.rstrip() for line in printed.strip().splitlines())
            assert shown == step.printed, step.line


async def test_applies_from_the_client_and_then_from_the_server_keep_their_fields(kubectl: Kubectl) -> None:
    def deployment(**values: str) -> str:
        env = [{"name": name, "value": value} for name, value in values.items()]
        labels = {"app": "web"}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "w", "image": "w:1", "env": env}]}}
        spec = {"selector": {"matchLabels": labels}, "template": template}
        return json.dumps({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec})

    names = "get deploy web -o jsonpath={.spec.template.spec.containers[0].env[*].name}"
    assert (await kubectl.ok("apply -f -", deployment(A="1", B="2"))).strip() == "deployment.apps/web created"
    assert (await kubectl.ok("apply -f -", deployment(A="1"))).strip() == "deployment.apps/web configured"
    assert await kubectl.ok(names) == "A"
    printed = await kubectl.ok("apply --server-side --force-conflicts -f -", deployment(B="2"))
    assert printed.strip() == "deployment.apps/web serverside-applied"
    assert "B" in await kubectl.ok(names)
    await kubectl.ok("scale deployment web --replicas=4")
    body = json.loads(deployment(B="2"))
    body["spec"]["replicas"] = 1
    code, printed = await kubectl("apply --server-side -f -", json.dumps(body))
    assert code == 1
    assert "Apply failed with 1 conflict: conflict with" in printed
    assert ".spec.replicas" in printed


async def test_describe_events_and_a_watch(kubectl: Kubectl, server: ApiServer) -> None:
    await kubectl.ok("create -f -", pod("p"))
    event = {
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": "p.1"}, "type": "Warning", "reason": "Failed",
        "message": "Error: ErrImagePull", "count": 6, "source": {"component": "kubelet", "host": "n1"},
        "firstTimestamp": "2020-01-01T00:00:00Z", "lastTimestamp": "2020-01-01T00:00:53Z",
        "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default", "apiVersion": "v1",
                           "uid": await kubectl.ok("get pod p -o jsonpath={.metadata.uid}")},
    }  # fmt: skip
    await kubectl.ok("create -f -", json.dumps(event))
    described = await kubectl.ok("describe pod p")
    assert re.search(r"Warning  Failed  \S+ \(x6 over \S+\)  kubelet  Error: ErrImagePull", described), described
    assert re.search(r"(?m)^Name:\s+p$", described)
    events = await kubectl.ok("get events")
    assert "pod/p" in events
    async with asyncio.timeout(20):
        watch = asyncio.create_task(kubectl("get pods -w --request-timeout=3s"))
        await asyncio.sleep(1)
        await kubectl.ok("delete pod p")
        _, seen = await watch
    assert seen.count("Pending") == 2, seen


async def test_drain_evicts_through_the_api(kubectl: Kubectl) -> None:
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}}
    await kubectl.ok("create -f -", json.dumps(node))
    bound = json.loads(pod("p"))
    bound["spec"]["nodeName"] = "n1"
    bound["spec"]["terminationGracePeriodSeconds"] = 0
    await kubectl.ok("create -f -", json.dumps(bound))
    assert (await kubectl.ok("cordon n1")).strip() == "node/n1 cordoned"
    assert "SchedulingDisabled" in await kubectl.ok("get nodes")
    printed = await kubectl.ok("drain n1 --force --timeout=10s")
    assert "pod/p evicted" in printed, printed
    assert (await kubectl.ok("uncordon n1")).strip() == "node/n1 uncordoned"
    assert (await kubectl.ok("taint nodes n1 a=b:NoSchedule")).strip() == "node/n1 tainted"
