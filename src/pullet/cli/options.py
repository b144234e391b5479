"""Options that commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from pullet.control.protocol import DEFAULT_ROOT

Command = TypeVar("Command", bound=Callable[..., object])


def root_option(command: Command) -> Command:
    """`--root DIR`, the directory that holds everything of one pullet."""
    return click.option(
        "--root",
        type=click.Path(path_type=Path),
        default=DEFAULT_ROOT,
        envvar="PULLET_ROOT",
        show_default=True,
        help="Directory that holds everything of this pullet.",
    )(command)


def node_option(command: Command) -> Command:
    """`--node NAME`, where several nodes run at one root."""
    return click.option("--node", default="", help="Which node, where there are several.")(command)


def output_option(command: Command) -> Command:
    """`-o json` for commands that list data."""
    return click.option(
        "-o", "--output", type=click.Choice(["table", "json"]), default="table", help="Table for people or JSON."
    )(command)
