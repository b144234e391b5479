"""The page about the test kit: its example runs, what it names is there."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[3] / "docs" / "testing.md").read_text()
ROWS = re.findall(r"^\| (.+?) \| `(\w+)` \|", PAGE, re.MULTILINE)


@pytest.mark.parametrize("example", re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
def test_the_example_runs(example: str) -> None:
    exec(compile(example, "docs/testing.md", "exec"), {})


@pytest.mark.parametrize(("names", "module"), ROWS)
def test_what_is_named_is_there(names: str, module: str) -> None:
    found = importlib.import_module(f"pullet.testing.{module}")
    for name in re.findall(r"`(\w+)`", names):
        assert hasattr(found, name)


def test_rows_are_read() -> None:
    assert len(ROWS) >= 10
