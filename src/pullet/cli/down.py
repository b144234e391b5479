"""`pullet down`: stop the node and what it started."""

from __future__ import annotations

import time
from pathlib import Path

import click

from pullet.base.errors import UsageError
from pullet.cli.options import root_option
from pullet.control.client import ControlClient

WAIT_SECONDS = 60.0  # beyond the grace period
TELL_SECONDS = 3.0


@click.command(epilog="Example: pullet down --keep-pods   # containers go on; the next `pullet up` adopts them")
@root_option
@click.option("--keep-pods", is_flag=True, help="Leave the containers running for the next `pullet up`.")
@click.option(
    "--grace-period",
    type=click.IntRange(0),
    default=30,
    metavar="SECONDS",
    help="Longest time for containers to end by themselves, below what their pods say; 0 kills them.  [default: 30]",
)
def command(root: Path, *, keep_pods: bool, grace_period: int) -> None:
    """Stop the node, its pods and everything it started.

    Containers get their preStop hook and stop signal, and their pod's terminationGracePeriodSeconds to end.
    """
    client = ControlClient(root)
    client.call("POST", "/v1/down", {"stop_pods": not keep_pods, "grace_seconds": grace_period})
    patience = WAIT_SECONDS + grace_period
    began = time.monotonic()
    is_told = keep_pods or not grace_period
    while client.is_running():
        if not is_told and time.monotonic() > began + TELL_SECONDS:
            click.echo(f"containers have up to {grace_period} s to end; --grace-period 0 kills them", err=True)
            is_told = True
        if time.monotonic() > began + patience:
            raise UsageError(f"the node at {root} did not stop within {patience:.0f} s; see {root / 'pullet.log'}")
        time.sleep(0.05)
    click.echo("stopped" + ("; its containers keep running" if keep_pods else ""))
