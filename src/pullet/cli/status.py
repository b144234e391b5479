"""`pullet status`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from pullet.cli.options import output_option, root_option
from pullet.control.client import ControlClient


@click.command(epilog="Example: pullet status -o json")
@root_option
@output_option
def command(root: Path, output: str) -> None:
    """What runs here, and what the node says of itself."""
    status = ControlClient(root).call("GET", "/v1/status")
    if output == "json":
        click.echo(json.dumps(status, indent=2))
        return
    click.echo(f"pullet {status['version']}, pid {status['pid']}, up since {status['started_at']}")
    for label, key in (
        ("root", "root"),
        ("API server", "api_server"),
        ("registry", "registry"),
        ("kubeconfig", "kubeconfig"),
    ):
        click.echo(f"  {label + ':':13}{status[key]}")
    for node in status["nodes"]:
        click.echo(f"node {node['name']}")
        for name, value in node["details"].items():
            click.echo(f"  {name.replace('_', ' ') + ':':13}{value}")
