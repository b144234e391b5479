"""Every point where a process may be made to die is died at by some test."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
POINTS = sorted(
    {
        name
        for path in (ROOT / "src").rglob("*.py")
        for name in re.findall(r'faults\.hit\("([^"]+)"\)', path.read_text())
    }
)
TESTS = "".join(path.read_text() for path in sorted((ROOT / "tests").rglob("test_*.py")))


@pytest.mark.parametrize("point", POINTS)
def test_point_is_in_a_test(point: str) -> None:
    assert f'"{point}' in TESTS
