"""`pullet images pull` before the command tree is imported: that takes longer than many a pull.

Only the plain form is known here, `images pull [-q] [--root DIR] [--node NAME] IMAGE`. Everything else (help, mistakes)
is for the command tree, which does the same.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pullet.cli.pulling import pull_and_show
from pullet.control.protocol import DEFAULT_ROOT


class PullCall(NamedTuple):
    """What was asked for."""

    image: str
    quiet: bool = False
    root: str = ""
    node: str = ""


def parse_pull(words: Sequence[str]) -> PullCall | None:
    """The call, if these words of the command line are a plain one."""
    if tuple(words[:2]) != ("images", "pull"):
        return None
    image, quiet, values, left = "", False, {"--root": "", "--node": ""}, iter(words[2:])
    for word in left:
        name, equals, value = word.partition("=")
        if name in values:
            values[name] = value if equals else next(left, "")
        elif word in {"-q", "--quiet"}:
            quiet = True
        elif word.startswith("-") or image:
            return None
        else:
            image = word
    return PullCall(image, quiet, values["--root"], values["--node"]) if image else None


def pull_quickly(words: Sequence[str]) -> bool:
    """Whether the words were a plain pull, which is then done. Raises as `pull_and_show`."""
    call = parse_pull(words)
    if call is None:
        return False
    root = Path(call.root or os.environ.get("PULLET_ROOT") or DEFAULT_ROOT)
    pull_and_show(root, call.node, call.image, quiet=call.quiet)
    return True
