"""The words for a command that is not there, or cannot be run."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pullet.engine.executable_lookup import missing_executable


@pytest.fixture
def container(tmp_path: Path) -> Path:
    """A running container whose file system is this machine's."""
    (tmp_path / "bin").mkdir()
    for name, mode in (("tool", 0o755), ("text", 0o644)):
        (tmp_path / "bin" / name).touch(mode)
    (tmp_path / "bin" / "link").symlink_to("tool")
    directory = tmp_path / "container"
    directory.mkdir()
    process = {"cwd": str(tmp_path), "env": ["HOME=/", f"PATH=/nosuch:{tmp_path}/bin"]}
    (directory / "config.json").write_text(json.dumps({"process": process}))
    (directory / "init.pid").write_text(str(os.getpid()))
    return directory


@pytest.mark.parametrize("command", ["tool", "link", "bin/tool", "./bin/link"])
def test_what_can_be_run(container: Path, command: str) -> None:
    assert missing_executable(container, command) == ""


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("nosuch", 'exec: "nosuch": executable file not found in $PATH'),
        ("text", 'exec: "text": executable file not found in $PATH'),
        ("bin/text", 'exec: "bin/text": permission denied'),
        ("./bin", 'exec: "./bin": is a directory'),
        ("/nosuch/tool", 'exec: "/nosuch/tool": stat /nosuch/tool: no such file or directory'),
        ("bin/text/tool", 'exec: "bin/text/tool": stat bin/text/tool: not a directory'),
    ],
)
def test_what_cannot_be_run(container: Path, command: str, problem: str) -> None:
    assert missing_executable(container, command) == problem


def test_of_a_container_that_has_ended_the_runtime_speaks(container: Path) -> None:
    (container / "init.pid").unlink()
    assert missing_executable(container, "nosuch") == ""
