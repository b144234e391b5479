"""`pullet up`: the node, its API server and its registry."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import click

from pullet.cli.launch import LOG_NAME, start_detached
from pullet.cli.options import root_option
from pullet.cli.root_user import need_root_user


@click.command(epilog="Example: pullet up -d && export KUBECONFIG=$(pullet kubeconfig --path) && kubectl get nodes")
@root_option
@click.option("-d", "--detach", is_flag=True, help="Go to the background when the node is ready.")
@click.option("--nodes", type=click.IntRange(1, 16), help="How many nodes, each with a store of its own.  [default: 1]")
@click.option("--node-name", help="Name of the node (numbered where there are several).  [default: the host name]")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Port of the API server; 0 = any free one.  [default: 6443]"
)
@click.option(
    "--registry-port", type=click.IntRange(0, 65535), help="Port of the registry; 0 = any free one.  [default: 5000]"
)
@click.option(
    "--listen-address",
    help="Address the API server listens on; anything but loopback opens it to the network.  [default: 127.0.0.1]",
)
@click.option(
    "--api-for-pods",
    is_flag=True,
    default=None,
    help="Let pods reach the API server: it listens on their bridge too, and they are told where (in-cluster config).",
)
@click.option("--registry-mirrors", help="Hosts that the embedded registry stands in for, e.g. docker.io.")
@click.option("--enable-admission-plugins", help="Comma separated, e.g. AlwaysPullImages.")
@click.option("--kubernetes-version", help="Word events and messages as that release did, e.g. 1.28.")
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="Configuration file (YAML).")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info")
@click.option("--log-style", type=click.Choice(["text", "json"]), default="text")
def command(
    root: Path,
    *,
    detach: bool,
    config_file: Path | None,
    log_level: str,
    log_style: Literal["text", "json"],
    **flags: Any,
) -> None:
    """Start a node (or several) with its API server and registry.

    In the foreground, Ctrl-C ends the node and leaves its containers running for the next `pullet up`;
    `pullet down` stops everything.
    """
    need_root_user("pullet up")
    if detach:
        given = {f"--{name.replace('_', '-')}": value for name, value in flags.items() if value is not None}
        arguments = [name if value is True else f"{name}={value}" for name, value in given.items()]
        arguments += [f"--log-level={log_level}", f"--log-style={log_style}"]
        if config_file is not None:
            arguments.append(f"--config={config_file.absolute()}")
        pid = start_detached(root, arguments)
        click.echo(f"pullet is up (pid {pid}); log: {root / LOG_NAME}")
        click.echo(f"export KUBECONFIG={root / 'kubeconfig'}")
        return
    from pullet.assembly.foreground import run_foreground
    from pullet.config import load_settings

    settings = load_settings(config_file, {"root": str(root), **flags})
    run_foreground(settings, log_level=log_level, log_style=log_style, announce=click.echo)
