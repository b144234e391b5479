"""What the tests of the tree look at: the packages, modules and text files of the project."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).parents[2]
SOURCE = PROJECT / "src" / "pullet"
TEXT_SUFFIXES = frozenset({".py", ".md", ".sh", ".toml", ".yaml", ".yml", ".json", ".txt", ".cfg", ""})
NOT_OURS = frozenset({".git", ".venv", "build", "dist", "__pycache__", ".cache"})


def packages() -> list[Path]:
    """Every package folder below src/pullet, itself left out."""
    return sorted(path.parent for path in SOURCE.rglob("__init__.py") if path.parent != SOURCE)


def modules() -> list[Path]:
    """Every Python file of the shipped package."""
    return sorted(SOURCE.rglob("*.py"))


def docstring(module: Path) -> str:
    """The module's docstring; empty if there is none."""
    return ast.get_docstring(ast.parse(module.read_text())) or ""


def dotted(module: Path) -> str:
    """pullet.oci.digest."""
    return ".".join(module.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__")


def text_files() -> Iterator[Path]:
    """Every text file that belongs to the project, wherever it came from: a clone, an archive, a working tree."""
    folders = ["src", "tests", "docs", "bench", "examples", "scripts", ".ci"]
    for start in [*(PROJECT / name for name in folders), *PROJECT.iterdir()]:
        for path in [start] if start.is_file() else start.rglob("*") if start.name in folders else []:
            if path.is_file() and path.suffix in TEXT_SUFFIXES and not NOT_OURS & {*path.relative_to(PROJECT).parts}:
                yield path
