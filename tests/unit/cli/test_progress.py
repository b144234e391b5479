"""The display of a pull: moving on a terminal, plain lines when piped."""

from __future__ import annotations

import io
from typing import Any

import pytest

from pullet.cli.progress import PullDisplay
from pullet.cli.pulling import show_pull

DIGESTS = [f"sha256:{number:064x}" for number in (1, 2)]
IMAGE = "docker.io/library/app:1"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def progress(*layers: tuple[str, int]) -> dict[str, Any]:
    lines = [
        {"digest": digest, "phase": phase, "done_bytes": done, "total_bytes": 1000}
        for digest, (phase, done) in zip(DIGESTS, layers, strict=True)
    ]
    return {"kind": "progress", "image": IMAGE, "phase": "pulling", "layers": lines}


MESSAGES = (
    progress(("Already exists", 1000), ("Waiting", 0)),
    progress(("Already exists", 1000), ("Downloading", 500)),
    progress(("Already exists", 1000), ("Pull complete", 1000)),
    progress(("Already exists", 1000), ("Pull complete", 1000)),
    {"kind": "pulled", "image": IMAGE, "image_id": "sha256:1", "digest": "sha256:abc", "is_new": True,
     "downloaded_bytes": 1000, "elapsed_seconds": 0.5},
)  # fmt: skip
LAST = ["Digest: sha256:abc", "Status: Downloaded newer image for app:1"]


def shown(out: io.StringIO) -> str:
    with PullDisplay(out) as display:
        for message in MESSAGES:
            show_pull(display, message, "app:1")
    return out.getvalue()


def test_piped_each_line_comes_once_and_nothing_moves() -> None:
    lines = shown(io.StringIO()).splitlines()
    assert [line.partition(": ")[2] for line in lines[:2]] == ["Already exists", "Pull complete"]
    assert lines[2:4] == LAST
    assert len(lines) == 5
    assert "\x1b" not in "".join(lines)


def test_on_a_terminal_a_bar_moves_and_the_last_lines_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    text = shown(Terminal())
    assert "Downloading [===============>" in text
    assert "500" in text
    end = text[text.rindex("Downloading") :]
    for line in ("Already exists", "Pull complete", *LAST):
        assert line in end
