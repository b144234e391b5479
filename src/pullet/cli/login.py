"""`pullet login`: a registry login for the node itself, tried out before it is kept."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import ClassVar

import click

from pullet.assembly.image_settings import hosts_config, node_root
from pullet.base.errors import PulletError, UsageError
from pullet.base.redact import Secret
from pullet.cli.node_directory import choose_node
from pullet.cli.options import node_option, root_option
from pullet.config import load_settings
from pullet.credentials.login_file import parse_login_address, save_login
from pullet.kit.clock import SystemClock
from pullet.kit.secrecy import forbid_core_dumps
from pullet.registry.auth import Credential
from pullet.registry.client import RegistryClient
from pullet.registry.errors import RegistryError, RegistryUnavailableError, UnauthorizedError
from pullet.registry.transport import Caller


class LoginFailedError(PulletError):
    """The registry did not accept the login, or could not be asked; nothing was written."""

    reason: ClassVar[str] = "LoginFailed"

    def __init__(self, message: str, *, next_step: str = "") -> None:
        super().__init__(message)
        self.next_step = next_step


@click.command(epilog="Example: pullet login registry.example.com -u deploy --password-stdin < token")
@click.argument("registry")
@click.option("-u", "--username", default="", help="Asked for if not given.")
@click.option("--password-stdin", is_flag=True, help="Read the password (or token) from standard input.")
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="Configuration file (YAML) of the node.")
@root_option
@node_option
def command(
    registry: str, *, username: str, password_stdin: bool, config_file: Path | None, root: Path, node: str
) -> None:
    """Log the node in at REGISTRY, for the pulls of every pod on it.

    The login is shown to the registry first and kept only if it is accepted: in the node's own config.json, readable
    for its owner alone. A running node uses it from its next pull on. For a single pod use an imagePullSecret.
    """
    forbid_core_dumps()
    address = parse_login_address(registry)
    settings = load_settings(config_file, {"root": str(root)})
    username = username or click.prompt("Username", err=True)
    password = _password(from_stdin=password_stdin)
    client = RegistryClient(hosts_config(settings, ""), clock=SystemClock())
    try:
        was_asked = client.check_login(
            address.domain, Caller(credential=Credential(username=username, password=password))
        )
    except RegistryError as error:
        raise LoginFailedError(f"login to {address.domain} failed: {error}", next_step=_next_step(error)) from None
    finally:
        client.close()
    directory = node_root(settings, choose_node(settings, node))
    path = save_login(directory, address.key, username=username, password=password)
    if not was_asked:
        click.echo(f"note: {address.domain} asks nobody who they are, so the login could not be tried", err=True)
    click.echo(f"logged in at {address.domain} as {username}; kept in {path}")


def _password(*, from_stdin: bool) -> Secret:
    if from_stdin:
        password = sys.stdin.read().rstrip("\r\n")
    elif sys.stdin.isatty():
        password = click.prompt("Password", hide_input=True, err=True)
    else:
        raise UsageError("there is no terminal to ask for the password at: give it with --password-stdin")
    if not password:
        raise UsageError("the password is empty")
    return Secret(password)


def _next_step(error: RegistryError) -> str:
    match error:
        case UnauthorizedError():
            return "check user and password; many registries want an access token instead of the account's password"
        case RegistryUnavailableError() if error.next_step:
            return error.next_step
        case RegistryUnavailableError():
            return f"check that {error.host} is reachable from this node"
        case _:
            return ""
