"""`pullet kubeconfig`."""

from __future__ import annotations

from pathlib import Path

import click

from pullet.base.errors import UsageError
from pullet.cli.options import root_option


@click.command(epilog="Example: export KUBECONFIG=$(pullet kubeconfig --path); kubectl get nodes")
@root_option
@click.option("--path", "only_path", is_flag=True, help="Print where the file is instead of what it holds.")
def command(root: Path, *, only_path: bool) -> None:
    """Print the kubeconfig that kubectl needs."""
    path = root / "kubeconfig"
    if not path.exists():
        raise UsageError(f"there is no {path}: start a node with `pullet up` first, or name another with --root")
    click.echo(str(path) if only_path else path.read_text(), nl=only_path)
