"""One pull for the command line: the node is asked, what it tells is shown. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pullet.cli.progress import PullDisplay
from pullet.cli.show import human_size


def show_messages(messages: Iterable[dict[str, Any]], image: str, *, quiet: bool) -> None:
    """Show a pull of `image`, as the user wrote it: live or line by line, or with `quiet` the image's name alone."""
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
