"""The family of errors: every member has a reason that tools can match on and words that people can read."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator

from tests.architecture.source_tree import SOURCE, docstring, dotted, modules

from pullet.base.errors import PulletError


def _family() -> list[type[PulletError]]:
    for module in modules():
        if module.name != "__main__.py" and not module.is_relative_to(SOURCE / "testing"):
            importlib.import_module(dotted(module))
    members = set(_below(PulletError))
    return sorted((one for one in members if one.__module__.startswith("pullet.")), key=lambda one: one.__qualname__)


def _below(one: type[PulletError]) -> Iterator[type[PulletError]]:
    for child in one.__subclasses__():
        yield child
        yield from _below(child)


def test_every_error_says_what_went_wrong() -> None:
    assert [one for one in _family() if not inspect.getdoc(one)] == []
    assert [one for one in _family() if not one.__name__.endswith("Error")] == []


def test_every_leaf_has_a_reason_that_tools_can_match_on() -> None:
    reasons = {one: one.reason for one in _family() if not one.__subclasses__()}
    assert {one: reason for one, reason in reasons.items() if not re.fullmatch(r"[A-Z][A-Za-z0-9]+", reason)} == {}
    assert [one for one, reason in reasons.items() if reason == PulletError.reason] == [], "the root's reason is none"


def test_the_drawing_of_the_family_names_every_branch() -> None:
    drawing = docstring(SOURCE / "base" / "errors.py")
    branches = {one.__module__.split(".")[1] for one in _family()} - {"base", "kit", "cli"}
    assert {branch for branch in branches if not re.search(rf"\b{branch}\b", drawing)} == set()
