"""`pullet down`: stop the node and what it started."""

from __future__ import annotations

import time
from pathlib import Path

import click

from pullet.base.errors import UsageError
from pullet.cli.options import root_option
from pullet.control.client import ControlClient

WAIT_SECONDS = 90.0


@click.command(epilog="Example: pullet down --keep-pods   # containers go on; the next `pullet up` adopts them")
@root_option
@click.option("--keep-pods", is_flag=True, help="Leave the containers running for the next `pullet up`.")
def command(root: Path, *, keep_pods: bool) -> None:
    """Stop the node, its pods and everything it started."""
    client = ControlClient(root)
    client.call("POST", "/v1/down", {"stop_pods": not keep_pods})
    deadline = time.monotonic() + WAIT_SECONDS
    while client.is_running():
        if time.monotonic() > deadline:
            raise UsageError(f"the node at {root} did not stop within {WAIT_SECONDS:.0f} s; see {root / 'pullet.log'}")
        time.sleep(0.05)
    click.echo("stopped" + ("; its containers keep running" if keep_pods else ""))
