"""Which kubectl binaries the tests drive: the one on PATH, Debian's, and those named by KUBECTL_BINARIES.

KUBECTL_BINARIES is a list of paths, separated by colons. Debian's kubernetes-client (1.20 in Debian 12) is fetched by
apt-get into a cache directory, without installing it, unless it is the one on PATH.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

CACHE = Path(os.environ.get("XDG_CACHE_HOME", "/var/cache")) / "pullet-tests"
DEBIAN = "debian"
ON_PATH = "path"


@dataclass(frozen=True, slots=True)
class Kubectl:
    """A binary and its version."""

    path: Path
    version: tuple[int, int]

    @property
    def word(self) -> str:
        """Fit for a name: v1-20."""
        return f"v{self.version[0]}-{self.version[1]}"


@cache
def kubectl_at(path: Path) -> Kubectl:
    """Ask a binary for its version."""
    text = subprocess.run(
        [str(path), "version", "--client", "-o", "json"], capture_output=True, check=True, timeout=60
    ).stdout
    version = json.loads(text)["clientVersion"]
    return Kubectl(path, (int(version["major"]), int(version["minor"].rstrip("+"))))


def on_path() -> Path:
    """The kubectl of PATH."""
    found = shutil.which("kubectl")
    assert found, "these tests need kubectl on PATH"
    return Path(found).resolve()


def choices() -> list[str]:
    """Names of the binaries to drive; `resolve` gives the binary."""
    path = shutil.which("kubectl")
    found = [] if path is None else [ON_PATH]
    is_debians = path is not None and kubectl_at(Path(path)).version == (1, 20)
    if not is_debians:
        found.append(DEBIAN)
    return found + [word for word in os.environ.get("KUBECTL_BINARIES", "").split(":") if word]


def resolve(choice: str) -> Kubectl:
    """The binary of a name that `choices` gave."""
    if choice == ON_PATH:
        return kubectl_at(on_path())
    return kubectl_at(debian_kubectl() if choice == DEBIAN else Path(choice))


def debian_kubectl() -> Path:
    """Debian's own kubectl, unpacked in the cache directory."""
    unpacked = CACHE / "kubernetes-client"
    if not unpacked.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=CACHE) as scratch:
            subprocess.run(["apt-get", "download", "kubernetes-client"], cwd=scratch, check=True, capture_output=True)
            [package] = Path(scratch).glob("kubernetes-client_*.deb")
            subprocess.run(["dpkg", "-x", str(package), f"{scratch}/unpacked"], check=True, capture_output=True)
            Path(scratch, "unpacked").rename(unpacked)
    return unpacked / "usr" / "bin" / "kubectl"
