"""`pullet version`."""

from __future__ import annotations

import click

from pullet import __version__


@click.command(epilog="Example: pullet version")
def command() -> None:
    """Print the version."""
    click.echo(f"pullet {__version__}")
