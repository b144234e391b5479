"""`pullet images df|gc|access`: what takes the disk, what may go, who may use what."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from pullet.cli.options import node_option, output_option, root_option
from pullet.cli.show import human_size, short_digest, table
from pullet.control.client import ControlClient


@click.command("df", epilog="Example: pullet images df")
@root_option
@node_option
@output_option
def df(root: Path, node: str, output: str) -> None:
    """Show what each image takes on disk, its own and shared with others."""
    usage = ControlClient(root, node=node).call("GET", "/v1/store/usage")
    if output == "json":
        click.echo(json.dumps(usage, indent=2))
        return
    rows = [
        (
            next(iter(image["names"]), "<none>"),
            short_digest(image["id"]),
            human_size(image["unique_bytes"]),
            human_size(image["shared_bytes"]),
            image["last_used_at"] or "never",
            "yes" if image["is_pinned"] else "",
        )
        for image in usage["images"]
    ]
    click.echo(table(("IMAGE", "IMAGE ID", "UNIQUE", "SHARED", "LAST USED", "PINNED"), rows))
    click.echo(
        f"{usage['layer_count']} layers {human_size(usage['layer_bytes'])}, "
        f"{usage['blob_count']} blobs {human_size(usage['blob_bytes'])}, "
        f"nobody needs {human_size(usage['orphan_bytes'])}; "
        f"disk: {human_size(usage['available_bytes'])} of {human_size(usage['capacity_bytes'])} free"
    )


@click.command("gc", epilog="Example: pullet images gc --all --plan")
@click.option("--plan", "is_plan", is_flag=True, help="Only say what would go, why, and what it frees.")
@click.option("--all", "removes_all", is_flag=True, help="Every unused image, however full the disk is.")
@root_option
@node_option
@output_option
def gc(root: Path, node: str, output: str, *, is_plan: bool, removes_all: bool) -> None:
    """Collect images now, by the node's thresholds and ages. Images in use and pinned ones always stay."""
    body = {"is_plan": is_plan, "removes_all_unused": removes_all}
    answer = ControlClient(root, node=node).call("POST", "/v1/images/gc", body)
    if output == "json":
        click.echo(json.dumps(answer, indent=2))
        return
    rows = [_verdict_row(verdict) for verdict in answer["images"]]
    click.echo(table(("", "IMAGE", "UNIQUE", "SHARED", "WHY"), rows))
    verb = "would free" if is_plan else "freed"
    click.echo(f"{verb} {human_size(answer['freed_bytes'])}; the disk is {answer['usage_percent']} % full")


def _verdict_row(verdict: dict[str, Any]) -> tuple[str, ...]:
    return (
        "remove" if verdict["is_removed"] else "keep",
        next(iter(verdict["names"]), short_digest(verdict["id"])),
        human_size(verdict["unique_bytes"]),
        human_size(verdict["shared_bytes"]),
        verdict["why"],
    )


@click.command("access", epilog="Example: pullet images access registry.example.com/team/app:1.0")
@click.argument("image")
@root_option
@node_option
@output_option
def access(image: str, root: Path, node: str, output: str) -> None:
    """Show which pods may use a present image without pulling it, and why. Names are told apart as pods write them."""
    answer = ControlClient(root, node=node).call("GET", "/v1/images/access", image=image)
    if output == "json":
        click.echo(json.dumps(answer, indent=2))
        return
    click.echo(f"{answer['name']} ({short_digest(answer['id'])}): {answer['who']}")
    click.echo(f"  because {answer['why']}")
    for recorded in answer["recorded"]:
        click.echo(f"  on record for {recorded['name']}: {', '.join(recorded['openers']) or 'nobody'}")
