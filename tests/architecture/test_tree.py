"""The folders say what the documents say: sizes, maps, names."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from tests.architecture.source_tree import PROJECT, SOURCE, docstring, dotted, modules, packages

MAX_LINES = 500
EMPTY_NAMES = frozenset({"utils", "util", "helpers", "helper", "common", "manager", "data", "misc", "base_classes"})


@pytest.mark.parametrize("module", modules(), ids=dotted)
def test_no_file_is_too_long_to_read(module: Path) -> None:
    generated = "generated" in module.read_text()[:400]
    assert generated or len(module.read_text().splitlines()) <= MAX_LINES


@pytest.mark.parametrize("module", modules(), ids=dotted)
def test_every_module_says_what_it_is(module: Path) -> None:
    assert len(docstring(module)) > 10


@pytest.mark.parametrize("package", packages(), ids=lambda path: dotted(path / "__init__.py"))
def test_a_package_is_a_map_of_its_modules_and_nothing_else(package: Path) -> None:
    tree = ast.parse((package / "__init__.py").read_text())
    assert len(tree.body) == 1, "an __init__.py holds its docstring only"
    words = set(re.findall(r"\w+", docstring(package / "__init__.py")))
    inside = {path.stem for path in package.glob("*.py")} | {path.parent.name for path in package.glob("*/__init__.py")}
    assert inside - {"__init__", "__main__"} - words == set(), "modules that the package's docstring does not name"


@pytest.mark.parametrize("module", modules(), ids=dotted)
def test_a_name_is_a_word_of_the_field(module: Path) -> None:
    assert module.stem not in EMPTY_NAMES


def test_the_architecture_page_names_every_package() -> None:
    page = (PROJECT / "docs" / "architecture.md").read_text()
    missing = [
        str(package.relative_to(SOURCE))
        for package in packages()
        if not re.search(rf"(?<![\w/]){re.escape(str(package.relative_to(SOURCE)))}(?![\w])", page)
    ]
    assert missing == []


def test_the_architecture_page_names_no_package_that_is_gone() -> None:
    page = (PROJECT / "docs" / "architecture.md").read_text()
    named = set(re.findall(r"^\s*([a-z]\w*)/\s", page, re.MULTILINE))
    there = {path.name for path in [*packages(), *modules(), *PROJECT.iterdir()]} | {path.stem for path in modules()}
    assert named - there == set()


def test_unit_tests_mirror_the_packages() -> None:
    folders = [path for path in (PROJECT / "tests" / "unit").iterdir() if path.is_dir() and path.name != "__pycache__"]
    assert {path.name for path in folders} <= {path.name for path in packages()} | {"config", "assembly"}
