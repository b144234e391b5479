"""`pullet logout`: forget a login of the node."""

from __future__ import annotations

from pathlib import Path

import click

from pullet.assembly.image_settings import node_root
from pullet.base.errors import UsageError
from pullet.cli.node_directory import choose_node
from pullet.cli.options import node_option, root_option
from pullet.config import load_settings
from pullet.credentials.login_file import parse_login_address, remove_login


@click.command(epilog="Example: pullet logout registry.example.com")
@click.argument("registry")
@root_option
@node_option
def command(registry: str, *, root: Path, node: str) -> None:
    """Forget the node's login at REGISTRY. Images that it pulled stay, and stay usable for pods of the node."""
    address = parse_login_address(registry)
    settings = load_settings(None, {"root": str(root)})
    directory = node_root(settings, choose_node(settings, node))
    if not remove_login(directory, address.key):
        raise UsageError(f"the node has no login at {address.domain} in {directory}/config.json")
    click.echo(f"logged out of {address.domain}")
