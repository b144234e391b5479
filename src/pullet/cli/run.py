"""`pullet run`: manifests in, running pods out, everything that happens shown on the way."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from pullet.base.errors import UsageError
from pullet.cli.launch import ephemeral_node
from pullet.cli.manifests import Manifest, load_manifests
from pullet.cli.options import root_option
from pullet.cli.progress import PullDisplay
from pullet.cli.root_user import need_root_user
from pullet.cli.verdict import Verdict
from pullet.cli.watching import PodWatch
from pullet.control.client import ControlClient
from pullet.kit.clock import SystemClock
from pullet.kit.worker_threads import WorkerThreads
from pullet.kube.scheme import PODS
from pullet.kube.status import AlreadyExistsError
from pullet.kubeclient.client import ApiClient

POLICIES = ("Always", "IfNotPresent", "Never")


@click.command(epilog="Example: pullet run -f pod.yaml --policy IfNotPresent")
@click.option(
    "-f", "--filename", "files", multiple=True, required=True, help="Manifest file, directory, or - for stdin."
)
@click.option("-n", "--namespace", default="default", show_default=True, help="For objects that name none.")
@click.option("--policy", type=click.Choice(POLICIES), help="Use this imagePullPolicy for every container.")
@click.option("--timeout", "timeout_seconds", type=float, default=120.0, show_default=True, help="Seconds to wait.")
@click.option("--ephemeral", is_flag=True, help="Use a node of its own that is gone afterwards, even if one runs.")
@root_option
def command(
    files: tuple[str, ...], namespace: str, policy: str | None, timeout_seconds: float, *, ephemeral: bool, root: Path
) -> None:
    """Run pods from manifests and watch them start.

    Without a running node, one is started for the occasion. Exit code 1 when a pod cannot start.
    """
    manifests = load_manifests(files)
    for manifest in manifests:
        manifest.body["metadata"].setdefault("namespace", namespace)
        if policy is not None:
            set_pull_policy(manifest.body, policy)
    if not any(manifest.resource is PODS for manifest in manifests):
        raise UsageError("there is no Pod among these manifests; for other kinds use `kubectl apply`")
    use_running = not ephemeral and ControlClient(root).is_running()
    if not use_running:
        need_root_user("pullet run (without a running node)")
    with nullcontext(root) if use_running else ephemeral_node() as where:
        verdicts = asyncio.run(_run(where, manifests, timeout_seconds))
    if failed := [verdict for verdict in verdicts if verdict.problem]:
        for verdict in failed:
            click.echo(f"pod/{verdict.pod} cannot start: {verdict.status}: {verdict.problem}", err=True)
        raise SystemExit(1)


def set_pull_policy(pod: dict[str, Any], policy: str) -> None:
    """Write the policy into every container of a pod manifest."""
    spec = pod.get("spec") or {}
    for group in ("initContainers", "containers"):
        for container in spec.get(group) or ():
            container["imagePullPolicy"] = policy


async def _run(root: Path, manifests: list[Manifest], timeout_seconds: float) -> list[Verdict]:
    threads = WorkerThreads("run", 1)
    api = await ApiClient.open(
        root / "kubeconfig", threads=threads, user_agent="pullet-run", field_manager="pullet-run"
    )
    found: dict[str, Verdict] = {}
    try:
        with PullDisplay(indent=" " * 9) as display:
            namespaces: dict[str, set[str]] = {}
            for manifest in manifests:
                name = await create(api, manifest, display)
                if manifest.resource is PODS:
                    namespaces.setdefault(manifest.body["metadata"]["namespace"], set()).add(name)
            for namespace, pods in namespaces.items():
                watch = PodWatch(
                    api=api,
                    root=root,
                    namespace=namespace,
                    is_wanted=pods.__contains__,
                    display=display,
                    clock=SystemClock(),
                )
                found |= await watch.until_settled(pods, timeout_seconds=timeout_seconds)
                for pod in pods - found.keys():
                    found[pod] = Verdict(pod, "Pending", f"no decision within {timeout_seconds:g} s")
    finally:
        await api.aclose()
        threads.close()
    return list(found.values())


async def create(api: ApiClient, manifest: Manifest, display: PullDisplay) -> str:
    """Create the object, or take it over with server-side apply when it is there already; gives its name."""
    namespace = manifest.body["metadata"].get("namespace") if manifest.resource.namespaced else None
    kind = manifest.resource.singular
    try:
        created = await api.create(manifest.resource, namespace, manifest.body)
    except AlreadyExistsError:
        await api.patch(manifest.resource, namespace, manifest.name, manifest.body, kind="apply", force=True)
        display.say(f"{kind}/{manifest.name} configured")
        return manifest.name
    display.say(f"{kind}/{created['metadata']['name']} created")
    return str(created["metadata"]["name"])
