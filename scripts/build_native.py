"""Compiles what is C in pullet, where there is a C compiler. Without one pullet is whole, its unpacking slower.

`python scripts/build_native.py` builds in place, if the source is newer than what is there; the package's build
(`pip install .`) runs the same as a hook of hatchling.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

STORE = Path("src/pullet/store")
SOURCES, LIBRARY = ("tar_scan.c", "tree_files.c"), "libpullet_store.so"
FLAGS = ("-O2", "-Wall", "-Wextra", "-shared", "-fPIC")


def build(root: Path) -> bool:
    """Whether the library is there, and new, when this is done."""
    sources, library = [root / STORE / name for name in SOURCES], root / STORE / LIBRARY
    newest = max(path.stat().st_mtime for path in (*sources, *(root / STORE).glob("*.h")))
    if library.exists() and library.stat().st_mtime >= newest:
        return True
    compiler = shutil.which("cc")
    new = library.with_suffix(".new")
    if compiler is None or subprocess.run([compiler, *FLAGS, "-o", new, *sources], check=False).returncode:
        library.unlink(missing_ok=True)
        return False
    new.replace(library)
    return True


class NativeHook(BuildHookInterface[Any]):
    """A wheel with the library is for one kind of machine, and for every Python 3."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if build(Path(self.root)):
            platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
            build_data.update(pure_python=False, tag=f"py3-none-{platform}")


if __name__ == "__main__" and not build(Path(__file__).parent.parent):
    print("no C compiler (cc) works here: Python alone unpacks, more slowly", file=sys.stderr)
