"""`pullet demo`: the main job on real parts, narrated.

A node of its own comes up, its embedded registry stands in for docker.io, and pods of every pull policy are applied
with the image absent and with the image present. Stock kubectl prints what it would print anywhere.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from pullet.base.errors import UsageError
from pullet.cli.demo_cases import CASES, Case, pod_manifest
from pullet.cli.demo_images import write_demo_archives
from pullet.cli.launch import ephemeral_node
from pullet.cli.manifests import Manifest
from pullet.cli.progress import PullDisplay
from pullet.cli.root_user import need_root_user
from pullet.cli.run import create
from pullet.cli.show import table
from pullet.cli.verdict import Verdict
from pullet.cli.watching import PodWatch
from pullet.cli.why import explain, last_of_each
from pullet.control.client import ControlClient
from pullet.kit.clock import SystemClock
from pullet.kit.worker_threads import WorkerThreads
from pullet.kube.scheme import PODS
from pullet.kubeclient.client import ApiClient

SETTLE_SECONDS = 60.0


@click.command(epilog="Example: pullet demo --kubernetes-version 1.28   # the events as that release worded them")
@click.option("--kubernetes-version", default="1.36", show_default=True, help="Whose wording events use.")
@click.option("--quick", is_flag=True, help="nginx only, without the tomcat cases.")
def command(kubernetes_version: str, *, quick: bool) -> None:
    """The main job: pods of every pull policy, and why each was or was not pulled."""
    need_root_user("pullet demo")
    started = time.monotonic()
    arguments = [
        "--node-name=demo",
        "--registry-mirrors=docker.io",
        f"--kubernetes-version={kubernetes_version}",
        "--log-level=warning",
    ]
    with ExitStack() as stack:
        root = stack.enter_context(ephemeral_node(arguments))
        images = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pullet-demo-")))
        status = ControlClient(root).call("GET", "/v1/status")
        click.echo(f"node demo is Ready after {time.monotonic() - started:.1f} s")
        click.echo(f"  API server {status['api_server']}, registry {status['registry']} standing in for docker.io")
        archives = write_demo_archives(images, status["registry"])
        click.echo(f"  pushed into the registry: {', '.join(archives.pushed)}\n")
        cases = [case for case in CASES if not quick or case.family == "nginx"]
        demo = _Demo(root, archives.archives)
        asyncio.run(demo.play(cases))
        _show(root, cases)
        if demo.surprises:
            click.echo("error: not every pod did what its policy promises:\n" + "\n".join(demo.surprises), err=True)
            raise SystemExit(1)


class _Demo:
    def __init__(self, root: Path, archives: dict[str, Path]) -> None:
        self._root = root
        self._archives = archives
        self._client = ControlClient(root)
        self._threads = WorkerThreads("demo", 1)
        self._display = PullDisplay(indent=" " * 9)
        self.surprises: list[str] = []

    async def play(self, cases: list[Case]) -> None:
        api = await ApiClient.open(self._root / "kubeconfig", threads=self._threads, user_agent="pullet-demo")
        try:
            with self._display:
                for number, case in enumerate(cases, 1):
                    self._display.say(f"━━ {number}. {case.title}")
                    await self._play_case(api, case)
                    self._display.say("")
        finally:
            await api.aclose()
            self._threads.close()

    async def _play_case(self, api: ApiClient, case: Case) -> None:
        await self._threads.run(self._forget, case.image)
        self._display.say(f"   {case.image} is absent:")
        await self._run_pod(api, case, "absent")
        if case.policy == "Never":
            await self._threads.run(self._import, case.image)
            self._display.say(f"   {case.image} was imported (pullet images import); the next sync sees it:")
            await self._until_running(api, f"{case.pod}-absent")
            return
        self._display.say(f"   {case.image} is present:")
        await self._run_pod(api, case, "present")

    async def _run_pod(self, api: ApiClient, case: Case, moment: str) -> None:
        body = pod_manifest(case)
        body["metadata"] |= {"name": f"{case.pod}-{moment}", "namespace": "default"}
        name = await create(api, Manifest("demo", PODS, body), self._display)
        verdicts = await self._watch(api, name).until_settled([name], timeout_seconds=SETTLE_SECONDS)
        found = verdicts.get(name, Verdict(name, "Pending", f"no decision within {SETTLE_SECONDS:g} s"))
        expected = "ErrImageNeverPull" if (case.policy, moment) == ("Never", "absent") else "Running"
        if found.status != expected:
            self.surprises.append(f"  pod/{name} should be {expected} and is {found.status}: {found.problem}")

    async def _until_running(self, api: ApiClient, name: str) -> None:
        deadline = SystemClock().monotonic() + SETTLE_SECONDS
        while SystemClock().monotonic() < deadline:
            pod = await api.get(PODS, "default", name)
            if pod.get("status", {}).get("phase") == "Running":
                self._display.say(f"   pod/{name} is Running")
                return
            await SystemClock().sleep(0.3)
        raise UsageError(f"pod/{name} did not start although its image is there")

    def _watch(self, api: ApiClient, name: str) -> PodWatch:
        return PodWatch(
            api=api,
            root=self._root,
            namespace="default",
            is_wanted=name.__eq__,
            display=self._display,
            clock=SystemClock(),
        )

    def _forget(self, image: str) -> None:
        rows: list[dict[str, Any]] = self._client.call("GET", "/v1/images")
        if any(name.endswith(f"/{image}") for row in rows for name in row["repo_tags"]):
            self._client.call("DELETE", "/v1/images", image=image)

    def _import(self, image: str) -> None:
        self._client.call("POST", "/v1/images/import", {"path": str(self._archives[image])})


def _show(root: Path, cases: list[Case]) -> None:
    _kubectl(root, "get", "pods", "-o", "wide")
    _kubectl(root, "describe", "pod", f"{cases[-1].pod}-absent")
    client = ControlClient(root)

    def last_passes(pod: str) -> list[dict[str, Any]]:
        return last_of_each(client.call("GET", "/v1/why", namespace="default", pod=pod, container=""))

    rows = [
        (one["pod"], one["image"], one["policy"], one["summary"])
        for case in cases
        for moment in ("absent", "present")
        for one in last_passes(f"{case.pod}-{moment}")
    ]
    click.echo("Why each image was or was not pulled, last pass of each container:")
    click.echo(table(("POD", "IMAGE", "POLICY", "WHY"), rows))
    for moment in ("absent", "present"):
        click.echo(f"\n$ pullet why {cases[0].pod}-{moment}")
        click.echo("\n\n".join(explain(one) for one in last_passes(f"{cases[0].pod}-{moment}")))


def _kubectl(root: Path, *arguments: str) -> None:
    """Print the command as a user would type it, and what stock kubectl says."""
    if shutil.which("kubectl") is None:
        click.echo("(kubectl is not installed here: skipping `kubectl " + " ".join(arguments) + "`)")
        return
    click.echo(f"$ kubectl {' '.join(arguments)}")
    with tempfile.TemporaryDirectory(prefix="pullet-kubectl-") as cache:
        environment = {**os.environ, "KUBECONFIG": str(root / "kubeconfig"), "HOME": cache}
        result = subprocess.run(["kubectl", *arguments], env=environment, check=False, capture_output=True, text=True)
    click.echo(result.stdout + result.stderr)
    if result.returncode:
        raise UsageError(f"kubectl {' '.join(arguments)} failed with code {result.returncode}")
