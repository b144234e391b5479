"""Control groups of containers: which kind the machine has, out-of-memory kills, killing and removing a group.

The OCI runtime makes the groups and sets the limits; here is only what it does not do. All blocking, all small files.
Source: kernel Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Final

ROOT: Final = Path("/sys/fs/cgroup")


class CgroupMode(StrEnum):
    """How the machine mounts control groups."""

    UNIFIED = "v2"
    LEGACY = "v1"
    HYBRID = "hybrid"  # v1 controllers beside an empty v2 tree


def detect_mode(root: Path = ROOT) -> CgroupMode:
    """Which kind is mounted below `root`."""
    if (root / "cgroup.controllers").exists():
        return CgroupMode.UNIFIED
    return CgroupMode.HYBRID if (root / "unified" / "cgroup.procs").exists() else CgroupMode.LEGACY


def v2_keeps_controllers(root: Path = ROOT) -> bool:
    """Whether a hybrid machine left controllers in its v2 tree, which crun refuses to run on."""
    with suppress(OSError):
        return bool((root / "unified" / "cgroup.controllers").read_text().strip())
    return False


def oom_kill_count(cgroups_path: str, root: Path = ROOT) -> int:
    """How often the kernel killed in this group for memory; 0 when the group is gone."""
    relative = cgroups_path.lstrip("/")
    for file in (root / relative / "memory.events", root / "memory" / relative / "memory.oom_control"):
        with suppress(OSError):
            for line in file.read_text().splitlines():
                name, _, value = line.partition(" ")
                if name == "oom_kill":
                    return int(value)
    return 0


def memory_working_set(cgroups_path: str, root: Path = ROOT) -> int:
    """Bytes the group uses without what the kernel could drop at once; 0 when the group is gone."""
    relative = cgroups_path.lstrip("/")
    for directory, usage, droppable in (
        (root / relative, "memory.current", "inactive_file"),
        (root / "memory" / relative, "memory.usage_in_bytes", "total_inactive_file"),
    ):
        with suppress(OSError):
            used = int((directory / usage).read_text())
            for line in (directory / "memory.stat").read_text().splitlines():
                name, _, value = line.partition(" ")
                if name == droppable:
                    return max(used - int(value), 0)
    return 0


def processes(cgroups_path: str, root: Path = ROOT) -> set[int]:
    """Pids in the group and below it."""
    found: set[int] = set()
    for directory in _directories(cgroups_path, root):
        for procs in directory.rglob("cgroup.procs"):
            with suppress(OSError):
                found.update(int(line) for line in procs.read_text().split())
    return found


def kill(cgroups_path: str, root: Path = ROOT) -> bool:
    """SIGKILL everything in the group; False when nothing was there."""
    unified = root / cgroups_path.lstrip("/") / "cgroup.kill"
    pids = processes(cgroups_path, root)
    if pids:
        with suppress(OSError):
            unified.write_text("1")
            return True
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return bool(pids)


def remove_empty(cgroups_path: str, root: Path = ROOT) -> None:
    """Remove the group from every hierarchy if it is empty; its parents stay, another group may be on its way there."""
    for directory in _directories(cgroups_path, root):
        with suppress(OSError):
            directory.rmdir()


def _directories(cgroups_path: str, root: Path) -> Iterator[Path]:
    relative = cgroups_path.strip("/")
    if not relative:
        return  # never the machine's own group
    candidates = [root / relative]
    if not (root / "cgroup.controllers").exists():
        with suppress(OSError):
            candidates = [hierarchy / relative for hierarchy in root.iterdir() if not hierarchy.is_symlink()]
    yield from (path for path in candidates if path.is_dir())
