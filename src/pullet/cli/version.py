"""`pullet version`."""

from __future__ import annotations

from importlib.metadata import version

import click


@click.command(epilog="Example: pullet version")
def command() -> None:
    """Print the version."""
    click.echo(f"pullet {version('pullet')}")
