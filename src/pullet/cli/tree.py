"""The command tree. A command's module is imported only when it is the one that runs."""

from __future__ import annotations

import importlib

import click

COMMANDS = {
    "up": "Start a node (or several) with its API server and registry.",
    "down": "Stop the node, its pods and everything it started.",
    "status": "What runs here, and what the node says of itself.",
    "kubeconfig": "Print the kubeconfig that kubectl needs.",
    "run": "Run pods from manifests and watch them start.",
    "demo": "The main job: pods of every pull policy, and why each was or was not pulled.",
    "images": "Images on the node: ls, pull, rm, inspect, import, export, df, gc, access.",
    "store": "The layers under the images: check, and mend.",
    "login": "Keep a registry login for the node, after trying it.",
    "logout": "Forget a registry login of the node.",
    "why": "Why a container's image was or was not pulled.",
    "config": "Show the configuration in force.",
    "version": "Print the version.",
}
_MODULES = {"config": "config_show"}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"pullet.cli.{_MODULES.get(cmd_name, cmd_name)}")
        command = module.command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """A Kubernetes node whose heart is the image pull.

    Start with `pullet demo`, or with `pullet up -d` and kubectl.
    """


def run() -> int:
    """Run what the command line says; gives the exit code. Raises PulletError, KeyboardInterrupt."""
    try:
        return int(cli.main(standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        return 2
    except click.Abort:
        return 130
