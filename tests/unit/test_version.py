"""The version the code knows is the package's."""

from __future__ import annotations

from importlib.metadata import version

from pullet import __version__


def test_code_and_package_have_one_version() -> None:
    assert __version__ == version("pullet")
