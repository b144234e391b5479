"""`pullet why`: the facts, the decision and the outcome of the last pulls of a pod."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from pullet.base.errors import UsageError
from pullet.cli.options import node_option, output_option, root_option
from pullet.cli.show import human_size, short_digest
from pullet.control.client import ControlClient


@click.command(epilog="Example: pullet why web-0 -n shop")
@click.argument("pod")
@click.option("-n", "--namespace", default="default", show_default=True)
@click.option("-c", "--container", default="", help="Only this container.")
@click.option("--all", "show_all", is_flag=True, help="Every pass that is still recorded, not only the last.")
@root_option
@node_option
@output_option
def command(pod: str, namespace: str, container: str, *, show_all: bool, root: Path, node: str, output: str) -> None:
    """Why a container's image was or was not pulled."""
    pod = pod.removeprefix("pod/").removeprefix("pods/")
    client = ControlClient(root, node=node)
    passes = client.call("GET", "/v1/why", namespace=namespace, pod=pod, container=container)
    if not passes:
        raise UsageError(
            f"nothing is recorded for pod {namespace}/{pod}: no image of it was looked at on this node yet "
            "(is it scheduled? `kubectl describe pod` tells)"
        )
    if not show_all:
        passes = last_of_each(passes)
    if output == "json":
        click.echo(json.dumps(passes, indent=2))
        return
    click.echo("\n\n".join(explain(one) for one in passes))


def last_of_each(passes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The newest pass of each container; `passes` is newest first."""
    seen: dict[tuple[str, str], dict[str, Any]] = {}
    for one in passes:
        seen.setdefault((one["container"], one["image"]), one)
    return list(seen.values())


def explain(one: dict[str, Any]) -> str:
    """One pass as a person would tell it."""
    lines = [f"{one['namespace']}/{one['pod']} container {one['container']}: image {one['image']}"]
    lines += [f"  {step}" for step in one["trace"]]
    lines.append(f"  → {one['summary']}")
    if one.get("credential"):
        lines.append(f"  credential: {one['credential']}")
    if one.get("manifest_digest"):
        index = f" (index {short_digest(one['index_digest'])})" if one.get("index_digest") else ""
        lines.append(f"  manifest: {one['manifest_digest']}{index}")
    lines += [
        f"  {attempt['method']} {attempt['url']} → {attempt['status'] or attempt['error']} in "
        f"{attempt['elapsed_seconds'] * 1000:.0f} ms"
        for attempt in one.get("endpoints", ())
    ]
    if one.get("downloaded_bytes") or one.get("reused_bytes"):
        lines.append(
            f"  downloaded {human_size(one['downloaded_bytes'])}, already here {human_size(one['reused_bytes'])}"
        )
    if logins := one.get("details", {}).get("mirror_logins"):
        lines.append(f"  mirror login: {logins}")
    if limit := one.get("details", {}).get("rate_limit_remaining"):
        lines.append(f"  the registry allows {limit} more")
    if one.get("error"):
        lines.append(f"  error: {one['error']}")
    lines += [f"  {label}: {one[key]}" for label, key in (("cause", "cause"), ("next", "next_step")) if one.get(key)]
    return "\n".join(lines)
