"""What the machine is: cores, memory, disk, kernel, names. Everything blocks; ask once, or on worker threads."""

from __future__ import annotations

import os
import re
from pathlib import Path

from pullet.base.values import Value

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386", "ppc64le": "ppc64le"}


class Machine(Value, kw_only=True):
    """Facts that do not change while the node runs."""

    cpus: int
    memory_bytes: int
    swap_bytes: int
    architecture: str
    kernel_version: str
    os_image: str
    machine_id: str
    system_uuid: str
    boot_id: str


EMPTY_MACHINE = Machine(
    cpus=0,
    memory_bytes=0,
    swap_bytes=0,
    architecture="",
    kernel_version="",
    os_image="",
    machine_id="",
    system_uuid="",
    boot_id="",
)


def read_machine(root: Path = Path("/")) -> Machine:
    """Read the facts below `root` (`/proc`, `/etc`, `/sys`)."""
    uname = os.uname()
    memory = _text(root / "proc/meminfo")
    machine_id = _text(root / "etc/machine-id") or _text(root / "var/lib/dbus/machine-id")
    return Machine(
        cpus=len(os.sched_getaffinity(0)),
        memory_bytes=_kibibytes(memory, "MemTotal"),
        swap_bytes=_kibibytes(memory, "SwapTotal"),
        architecture=ARCHITECTURES.get(uname.machine, uname.machine),
        kernel_version=uname.release,
        os_image=_os_image(_text(root / "etc/os-release")),
        machine_id=machine_id,
        system_uuid=_text(root / "sys/class/dmi/id/product_uuid") or machine_id,
        boot_id=_text(root / "proc/sys/kernel/random/boot_id"),
    )


class DiskSpace(Value):
    """A file system; `available_bytes` is what non-root users get."""

    capacity_bytes: int
    available_bytes: int
    inodes: int


def read_disk_space(path: Path) -> DiskSpace:
    """The file system that holds `path`. Raises OSError."""
    found = os.statvfs(path)
    return DiskSpace(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize, found.f_files)


def read_memory_space(root: Path = Path("/")) -> tuple[int, int]:
    """Bytes of memory, and how much of it is left when files that nobody looked at again are dropped; 0, 0: not known.

    Source: kubernetes, memory.available: capacity without the working set of everything.
    """
    meminfo = _text(root / "proc/meminfo")
    free, droppable = _kibibytes(meminfo, "MemFree"), _kibibytes(meminfo, r"Inactive\(file\)")
    return (_kibibytes(meminfo, "MemTotal"), free + droppable) if free else (0, 0)


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _kibibytes(meminfo: str, name: str) -> int:
    match = re.search(rf"^{name}:\s+(\d+) kB$", meminfo, re.MULTILINE)
    return int(match[1]) * 1024 if match else 0


def _os_image(release: str) -> str:
    match = re.search(r'^PRETTY_NAME="?([^"\n]*)"?$', release, re.MULTILINE)
    return match[1] if match else "Linux"
