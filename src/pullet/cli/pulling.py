"""One pull for the command line: the node is asked, what it tells is shown. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Any

from pullet.cli.progress import PullDisplay
from pullet.cli.show import human_size
from pullet.control.client import ControlClient, NodeNotRunningError


def pull_messages(root: Path, node: str, image: str) -> Generator[dict[str, Any], None, None]:
    """What the running node tells of its pull, or a pull without one.

    Raises:
        RemoteError, NodeGoneError: of the running node.
        UsageError, CriError: of the pull without one.
    """
    try:
        yield from ControlClient(root, node=node).stream("POST", "/v1/images/pull", {"image": image})
    except NodeNotRunningError:  # told before anything was asked
        from pullet.cli.cold import pull_cold

        yield from pull_cold(root, node, image)


def pull_and_show(root: Path, node: str, image: str, *, quiet: bool) -> None:
    """Pull `image`, as the user wrote it, and show it: live or line by line, or with `quiet` the image's name alone.

    Raises:
        As `pull_messages`.
    """
    with closing(pull_messages(root, node, image)) as messages:
        if quiet:
            for message in messages:
                if message["kind"] == "pulled":
                    print(message["image"])
            return
        with PullDisplay() as display:
            for message in messages:
                show_pull(display, message, image)


def show_pull(display: PullDisplay, message: dict[str, Any], image: str) -> None:
    """Show one message of the pull of `image`."""
    if message["kind"] == "progress":
        display.update(message)
        return
    display.done(message["image"])
    if message["digest"]:
        display.say(f"Digest: {message['digest']}")
    new = "Downloaded newer image for" if message["is_new"] else "Image is up to date for"
    display.say(f"Status: {new} {image}")
    display.say(f"{message['image']} ({human_size(message['downloaded_bytes'])} in {message['elapsed_seconds']:.2f} s)")
