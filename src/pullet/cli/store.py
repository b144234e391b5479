"""`pullet store`: is what is on disk what it should be?"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from pullet.cli.options import node_option, output_option, root_option
from pullet.cli.show import short_digest, table
from pullet.control.client import ControlClient


@click.group(epilog="Example: pullet store check")
def command() -> None:
    """The layers and blobs under the images."""


_HARMLESS = frozenset({"orphan layer", "orphan blob"})


@command.command("check", epilog="Example: pullet store check --repair")
@click.option("--repair", is_flag=True, help="Remove what is corrupt or needed by nobody, and fetch again what lacks.")
@root_option
@node_option
@output_option
def check(root: Path, node: str, output: str, *, repair: bool) -> None:
    """Hash everything in the store again and compare it with the images.

    Ends with 1 while something is wrong; orphans, which go by themselves when the disk is short, are not.
    Works with and without a running node.
    """
    client = ControlClient(root, node=node)
    if client.is_running():
        answer = client.call("POST", "/v1/store/check", {"repair": repair})
    else:
        from pullet.cli.cold import check_cold

        answer = check_cold(root, node, repair=repair)
    if output == "json":
        click.echo(json.dumps(answer, indent=2))
    else:
        _tell(answer)
    if any(not finding["is_repaired"] and finding["kind"] not in _HARMLESS for finding in answer["findings"]):
        sys.exit(1)


def _tell(answer: dict[str, Any]) -> None:
    if not answer["findings"]:
        click.echo("the store is in order")
        return
    rows = [
        (each["kind"], short_digest(each["key"]), each["detail"], "mended" if each["is_repaired"] else "")
        for each in answer["findings"]
    ]
    click.echo(table(("FINDING", "DIGEST", "WHAT", ""), rows))
    for each in answer["mended"]:
        click.echo(f"image {short_digest(each['image'])}: {each['how']}")
