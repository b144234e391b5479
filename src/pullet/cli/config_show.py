"""`pullet config show`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from pullet.cli.options import output_option
from pullet.cli.show import table


@click.group(epilog="Example: pullet config show --config pullet.yaml")
def command() -> None:
    """Show the configuration in force."""


@command.command("show", epilog="Example: pullet config show --config pullet.yaml")
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="Configuration file (YAML).")
@output_option
def show(config_file: Path | None, output: str) -> None:
    """Print every setting with its value and where the value came from."""
    from pullet.config import origins

    rows = origins(config_file, {})
    if output == "json":
        click.echo(
            json.dumps([{"name": name, "value": value, "origin": origin} for name, value, origin in rows], indent=2)
        )
        return
    click.echo(table(("NAME", "VALUE", "ORIGIN"), rows))
