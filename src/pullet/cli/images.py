"""`pullet images`: what is on the node, with a pull that shows its progress."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from pullet.base.errors import UsageError
from pullet.cli.options import node_option, output_option, root_option
from pullet.cli.pulling import pull_and_show
from pullet.cli.show import human_size, short_digest, table
from pullet.control.client import ControlClient

_MAINTENANCE = ("df", "gc", "access")


class _Group(click.Group):
    """Imports what looks after the disk only when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), *_MAINTENANCE]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _MAINTENANCE:
            return super().get_command(ctx, cmd_name)
        from pullet.cli import images_maintenance

        found = getattr(images_maintenance, cmd_name)
        assert isinstance(found, click.Command)
        return found


@click.group(cls=_Group, epilog="Example: pullet images pull nginx:1.17.1; pullet images ls")
def command() -> None:
    """Images on the node."""


@command.command("ls", epilog="Example: pullet images ls -o json")
@root_option
@node_option
@output_option
def ls(root: Path, node: str, output: str) -> None:
    """List the images."""
    rows = ControlClient(root, node=node).call("GET", "/v1/images")
    if output == "json":
        click.echo(json.dumps(rows, indent=2))
        return
    click.echo(table(("REPOSITORY", "TAG", "IMAGE ID", "SIZE"), list(_table_rows(rows))))


def _table_rows(rows: list[dict[str, Any]]) -> Iterator[tuple[str, str, str, str]]:
    for row in rows:
        names = row["repo_tags"] or [f"{name.partition('@')[0]}:<none>" for name in row["repo_digests"][:1]]
        for name in names or ["<none>:<none>"]:
            repository, _, tag = name.rpartition(":")
            yield repository, tag, short_digest(row["id"]), human_size(row["size_bytes"])


@command.command("pull", epilog="Example: pullet images pull nginx:1.17.1")
@click.argument("image")
@click.option("-q", "--quiet", is_flag=True, help="Print only the image's name.")
@root_option
@node_option
def pull(image: str, *, quiet: bool, root: Path, node: str) -> None:
    """Pull an image, with or without a running node."""
    pull_and_show(root, node, image, quiet=quiet)


@command.command("rm", epilog="Example: pullet images rm nginx:1.17.1")
@click.argument("images", nargs=-1, required=True)
@root_option
@node_option
def rm(images: tuple[str, ...], root: Path, node: str) -> None:
    """Remove images with all their names; layers go when nothing needs them."""
    client = ControlClient(root, node=node)
    for image in images:
        removed = client.call("DELETE", "/v1/images", image=image)
        for name in [*removed["repo_tags"], *removed["repo_digests"]]:
            click.echo(f"Untagged: {name}")
        click.echo(f"Deleted: {removed['id']}")


@command.command("inspect", epilog="Example: pullet images inspect nginx:1.17.1 -o json")
@click.argument("image")
@root_option
@node_option
@output_option
def inspect(image: str, root: Path, node: str, output: str) -> None:
    """Show an image's layers with compressed, uncompressed and shared bytes, and its configuration."""
    details = ControlClient(root, node=node).call("GET", "/v1/images/inspect", image=image)
    if output == "json":
        click.echo(json.dumps(details, indent=2))
        return
    click.echo(f"Image:     {', '.join(details['repo_tags']) or details['id']}")
    click.echo(f"ID:        {details['id']}")
    for digest in details["repo_digests"]:
        click.echo(f"Digest:    {digest}")
    click.echo(f"Platform:  {details['platform']}")
    click.echo(f"Created:   {details['created'] or '<none>'}")
    settings = details["config"].get("config") or {}
    for name in ("Entrypoint", "Cmd", "User", "WorkingDir"):
        if settings.get(name):
            click.echo(
                f"{name + ':':11}{settings[name] if isinstance(settings[name], str) else json.dumps(settings[name])}"
            )
    rows = [
        (
            short_digest(layer["digest"]),
            short_digest(layer["diff_id"]),
            human_size(layer["compressed_bytes"]),
            human_size(layer["uncompressed_bytes"]),
            human_size(layer["shared_bytes"]),
        )
        for layer in details["layers"]
    ]
    click.echo(table(("LAYER", "DIFF ID", "COMPRESSED", "UNCOMPRESSED", "SHARED"), rows))


@command.command("export", epilog="Example: pullet images export -f nginx.tar nginx:1.17.1")
@click.argument("images", nargs=-1, required=True)
@click.option("-f", "--file", "path", type=click.Path(path_type=Path), required=True, help="The archive to write.")
@click.option("--format", "archive_format", type=click.Choice(["oci-archive", "docker-archive"]), default="oci-archive")
@root_option
@node_option
def export(images: tuple[str, ...], path: Path, archive_format: str, root: Path, node: str) -> None:
    """Write images to an archive that docker, podman and skopeo read."""
    if path.exists():
        raise UsageError(f"{path} exists already: remove it first or name another file")
    body = {"images": list(images), "path": str(path.absolute()), "format": archive_format}
    ControlClient(root, node=node).call("POST", "/v1/images/export", body)
    click.echo(f"wrote {path} ({human_size(path.stat().st_size)})")


@command.command("import", epilog="Example: docker save nginx:1.17.1 -o nginx.tar; pullet images import nginx.tar")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--name", default="", help="What to call the image, where the archive does not say or says otherwise.")
@root_option
@node_option
def import_(path: Path, name: str, root: Path, node: str) -> None:
    """Read the images of an archive (OCI layout or docker-archive) or of an OCI layout's directory into the node."""
    if not path.exists():
        raise UsageError(f"{path}: no such file")
    body = {"path": str(path.absolute()), "name": name}
    for imported in ControlClient(root, node=node).call("POST", "/v1/images/import", body):
        click.echo(f"Imported: {imported}")
