"""What the engine must find again after a restart, as JSON files; each is either the old or the new whole.

sandboxes/<id>/sandbox.json      written before anything of the sandbox is made; `phase` says how far it got
sandboxes/<id>/ns/{net,ipc,uts}  its namespaces      resolv.conf hosts hostname shm/
containers/<id>/container.json   written last: a directory without it is half made (or half removed)
containers/<id>/ending.json      how it ended, once the engine has seen it
containers/<id>/...              the bundle and the monitor's files (see pullet.ociruntime.monitor)
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from pullet.base.decodable import decodable
from pullet.base.values import Value
from pullet.cri.types import ContainerConfig, PodSandboxConfig
from pullet.kit.atomic_file import write_atomic

T = TypeVar("T")


class SandboxPhase(StrEnum):
    """How far a sandbox got. Only READY and STOPPED are shown."""

    CREATING = "creating"
    READY = "ready"
    STOPPED = "stopped"


class SandboxRecord(Value, kw_only=True):
    """One sandbox on disk. `network_results` is what the CNI plugins want back."""

    id: str
    config: PodSandboxConfig
    created_at: int
    phase: SandboxPhase
    ips: tuple[str, ...] = ()
    network_results: Mapping[str, Any] = msgspec.field(default_factory=dict)


class ContainerRecord(Value, kw_only=True):
    """One container on disk: what was decided when it was created, never changed."""

    id: str
    sandbox_id: str
    pod_uid: str
    config: ContainerConfig
    created_at: int
    image_id: str
    image_name: str  # as the runtime calls it: docker.io/library/x:tag, or the id
    image_ref: str  # first repo digest, or the id
    cgroups_path: str
    stop_signal: str
    log_path: str  # absolute; empty: no log
    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()


class Ending(Value, kw_only=True):
    """How a container ended."""

    exit_code: int
    reason: str
    message: str = ""
    started_at: int = 0
    finished_at: int = 0


class StateFiles:
    """The directories of one engine. All methods block."""

    def __init__(self, root: Path) -> None:
        self.sandboxes = root / "sandboxes"
        self.containers = root / "containers"
        for directory in (self.sandboxes, self.containers):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def sandbox(self, sandbox_id: str) -> Path:
        """Directory of a sandbox."""
        return self.sandboxes / sandbox_id

    def container(self, container_id: str) -> Path:
        """Directory of a container; also its bundle."""
        return self.containers / container_id

    def write_sandbox(self, record: SandboxRecord) -> None:
        """Make the directory if need be, and the record durable."""
        directory = self.sandbox(record.id)
        directory.mkdir(mode=0o700, exist_ok=True)
        write_atomic(directory / "sandbox.json", msgspec.json.encode(record))

    def read_sandbox(self, sandbox_id: str) -> SandboxRecord | None:
        """None when it is not there, or not to be understood."""
        return _read(self.sandbox(sandbox_id) / "sandbox.json", SandboxRecord)

    def write_container(self, record: ContainerRecord) -> None:
        """The commit of a container: from now on it exists."""
        write_atomic(self.container(record.id) / "container.json", msgspec.json.encode(record))

    def read_container(self, container_id: str) -> ContainerRecord | None:
        """None when it is half made."""
        return _read(self.container(container_id) / "container.json", ContainerRecord)

    def write_ending(self, container_id: str, ending: Ending) -> None:
        """Keep how it ended."""
        write_atomic(self.container(container_id) / "ending.json", msgspec.json.encode(ending))

    def read_ending(self, container_id: str) -> Ending | None:
        """None while it has not ended."""
        return _read(self.container(container_id) / "ending.json", Ending)

    def forget_container(self, container_id: str) -> None:
        """Take back the commit: whatever happens now, the next start removes the rest."""
        (self.container(container_id) / "container.json").unlink(missing_ok=True)

    def forget_sandbox(self, sandbox_id: str) -> None:
        """As `forget_container`."""
        (self.sandbox(sandbox_id) / "sandbox.json").unlink(missing_ok=True)

    def remove_directory(self, directory: Path) -> None:
        """Delete it with all in it; nothing may be mounted inside. Absent is success."""
        if directory.exists():
            shutil.rmtree(directory)

    def sweep_temporary(self) -> None:
        """Delete what an interrupted `write_atomic` left beside the records."""
        for directory in (*self.sandboxes.iterdir(), *self.containers.iterdir()):
            for file in directory.glob(".*.json.*.tmp"):
                file.unlink(missing_ok=True)

    def ids(self, directory: Path) -> Iterator[str]:
        """Names of the directories in `self.sandboxes` or `self.containers`."""
        yield from sorted(path.name for path in directory.iterdir() if path.is_dir())


def _read(path: Path, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=decodable(kind))
    except (FileNotFoundError, msgspec.DecodeError):
        return None
