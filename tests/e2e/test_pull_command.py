"""A pull without a node whose output goes nowhere, or that is interrupted: no traceback, nothing half done left."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.harness import pullet_command, run, scratch_directory

from pullet.testing.fake_registry import FakeRegistry
from pullet.testing.images import tiny_image
from pullet.testing.registry_faults import Fault

pytestmark = pytest.mark.root


@pytest.fixture
def root() -> Iterator[Path]:
    with scratch_directory("pull") as directory:
        yield directory


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as one:
        one.push(tiny_image("hello"), "team/app", "1")
        yield one


def pull(registry: FakeRegistry, root: Path) -> list[str]:
    return pullet_command("images", "pull", "--root", str(root), f"{registry.host}/team/app:1")


@pytest.mark.parametrize(
    ("output", "code", "complaint"),
    [
        (">&-", 0, ""),
        (">/dev/full", 1, "error: the output cannot be written: No space left on device\n"),
        ("| true", 1, ""),
    ],
    ids=["closed", "full", "nobody reads"],
)
def test_output_that_goes_nowhere(registry: FakeRegistry, root: Path, output: str, code: int, complaint: str) -> None:
    words = " ".join(pull(registry, root))
    ran = run(["bash", "-c", f"set -o pipefail; {words} {output}"])
    assert (ran.code, ran.stderr) == (code, complaint)


@pytest.mark.parametrize("times", [1, 2])
def test_interrupted(registry: FakeRegistry, root: Path, times: int) -> None:
    slow = registry.inject(Fault(path="/blobs/", bytes_per_second=5))
    command = subprocess.Popen(pull(registry, root), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 20
    while not slow.hits:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    for _ in range(times):
        command.send_signal(signal.SIGINT)
    out, errors = command.communicate(timeout=20)
    assert (command.returncode, out, errors) == (130, "", "")
    assert [str(path) for path in root.rglob("layers/tmp/*")] == []
    registry.clear_faults()
    again = run(pull(registry, root))
    assert (again.code, again.stderr) == (0, "")
