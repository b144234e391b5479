"""What must not stand in the project's files: this or that machine's paths, and work left undone."""

from __future__ import annotations

import re

import pytest
from tests.architecture.source_tree import PROJECT, text_files

# spelled in pieces, so that this file does not find itself
MACHINE_PATHS = re.compile("|".join((r"(?<![\w.}/>])/" + r"work/", r"/tmp/" + r"bash_jobs", r"/home/" + r"\w+/")))
UNDONE = re.compile(r"\b(?:" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK")) + r")\b")
FILES = list(text_files())


def _lines(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{path.relative_to(PROJECT)}:{number}: {line.strip()[:120]}"
        for path in FILES
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if pattern.search(line)
    ]


def test_no_path_of_one_machine() -> None:
    assert _lines(MACHINE_PATHS) == []


def test_nothing_is_left_undone() -> None:
    assert _lines(UNDONE) == []


@pytest.mark.parametrize("name", ["README.md", "LICENSE", "Makefile", "docs/architecture.md", "docs/differences.md"])
def test_the_documents_are_there(name: str) -> None:
    assert (PROJECT / name).stat().st_size > 0


def test_every_link_of_the_documents_leads_somewhere() -> None:
    links = [
        (path, target)
        for path in FILES
        if path.suffix == ".md"
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", path.read_text())
    ]
    assert [
        f"{path.relative_to(PROJECT)}: {target}" for path, target in links if not (path.parent / target).exists()
    ] == []
