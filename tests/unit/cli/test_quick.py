"""Which command lines are pulled without the command tree: those the tree would understand in the same way."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pullet.cli.quick import PullCall, parse_pull


@pytest.mark.parametrize(
    ("words", "call"),
    [
        ("images pull nginx", PullCall("nginx")),
        ("images pull -q nginx:1 --root /r", PullCall("nginx:1", quiet=True, root="/r")),
        ("images pull --quiet --root=/r=x --node n2 nginx", PullCall("nginx", quiet=True, root="/r=x", node="n2")),
    ],
)
def test_plain_pulls(words: str, call: PullCall) -> None:
    assert parse_pull(words.split()) == call


@pytest.mark.parametrize(
    "words",
    ["", "images", "images ls", "images pull", "images pull --help", "images pull -q", "images pull a b",
     "images pull a --no-such", "images pull -qx a", "images pull -- a", "store pull a", "images pull --root /r"],
)  # fmt: skip
def test_everything_else_is_for_the_command_tree(words: str) -> None:
    assert parse_pull(words.split()) is None


def test_no_node_means_a_cold_pull_which_a_broken_name_ends(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pullet", "images", "pull", "--root", str(tmp_path), "Not/An/Image"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode in {1, 2}
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


def test_a_plain_pull_imports_no_command_tree() -> None:
    heavy = ("click", "rich", "asyncio", "dataclasses")
    code = f"import sys, pullet.cli.main; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
